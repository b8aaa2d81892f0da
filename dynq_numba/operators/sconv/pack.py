"""A constant weight of a float32 convolution, packed once."""

from __future__ import annotations

import numpy as np

from ...arguments.checks import F32
from ...arguments.geometry import Geometry
from ...kernels.base.jit import JIT_ENABLED
from ...kernels.isa.base import InstructionSet
from ...kernels.isa.float32 import float32
from ...kernels.sconv.context import FloatConv
from ...kernels.threads.partition import share
from ...runtime import cpu, kernel_table, scratch, threads
from ...runtime.memory import aligned_zeros

#: Outputs of an input channel up to which a kernel of one input channel is depthwise: above, a tile is faster.
MOST_DEPTHWISE = 3


class FloatConvWeight:
    """A float32 weight [O, C / groups, KH, KW] and bias [O] or None, for an instruction set.

    Attributes
    ----------
    weight, bias, geometry :
        As given.
    operation : str
        Of the kernel table: "sconv" or "sconv_depthwise".
    fields : dict
        The fields of the record `FloatConv` that are the same in every call. They point into this object.
    """

    def __init__(self, weight: np.ndarray, bias: np.ndarray | None, geometry: Geometry, target: InstructionSet):
        self.weight, self.bias, self.geometry = weight, bias, geometry
        outputs, own, k_high, k_wide = weight.shape
        each, form = outputs // geometry.groups, float32(target)
        depthwise = own == 1 and each <= MOST_DEPTHWISE
        self.operation = "sconv_depthwise" if depthwise else "sconv"
        if not JIT_ENABLED:
            return
        self._room = aligned_zeros(4 * (weight.size + outputs)).view(F32)
        packed, biases = np.split(self._room, [weight.size])
        biases[:] = 0 if bias is None else bias
        _pack(weight.reshape(outputs, -1), each, 1 if depthwise else form.max_rows, packed)
        (step_y, step_x), ((top, bottom), (left, right)) = geometry.stride, geometry.padding
        self.fields = {
            "worker": kernel_table.worker_address(self.operation, target), "pool": threads.POOL,
            "slots": scratch.ADDRESS, "l2_bytes": cpu.l2_bytes(), "nr": form.columns, "mr": form.max_rows,
            "outputs": outputs, "channels": own * geometry.groups, "groups": geometry.groups,
            "k_high": k_high, "k_wide": k_wide, "step_y": step_y, "step_x": step_x,
            "top": top, "bottom": bottom, "left": left, "right": right,
            "dilate_y": geometry.dilation[0], "dilate_x": geometry.dilation[1], "depthwise": int(depthwise),
            "weights": packed.ctypes.data, "bias": biases.ctypes.data,
        }  # fmt: skip

    def record(self, x: np.ndarray, out: np.ndarray, residual: np.ndarray | None, post_ops: int) -> np.ndarray:
        """The FloatConv of contiguous float32 arrays, which must outlive it."""
        return FloatConv.array(
            **self.fields, x=x.ctypes.data, out=out.ctypes.data, images=len(x), height=x.shape[2], width=x.shape[3],
            residual=0 if residual is None else residual.ctypes.data, post_ops=post_ops,
        )  # fmt: skip


def _pack(matrix: np.ndarray, each: int, tallest: int, packed: np.ndarray) -> None:
    """Row panels [K][R] of [O, K], of groups of `each` outputs, one after another."""
    panels, place = -(-each // tallest), 0
    for first in range(0, len(matrix), each):
        for p in range(panels):
            row, height = share.py_func(p, panels, each)
            rows = matrix[first + row : first + row + height]
            packed[place : place + rows.size] = rows.T.ravel()
            place += rows.size
