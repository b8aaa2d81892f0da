"""What conv runs on: a packed weight's memory and the kernels, or under NUMBA_DISABLE_JIT=1 the numpy reference."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import astuple
from functools import cache
from typing import Any

import numpy as np

from ...arguments.geometry import Geometry
from ...kernels.activations.reference import ACTIVATIONS
from ...kernels.base.jit import address, entry
from ...kernels.base.memory import POST_OPS_SIGNATURE
from ...kernels.conv import call as convolution_call
from ...kernels.conv import reference as reference_convolution
from ...kernels.conv.context import ConvDescriptor
from ...kernels.gemm import pack
from ...kernels.isa.base import InstructionSet
from ...kernels.objects.view import ADDRESS, NUMBER
from ...kernels.threads.partition import MACS_PER_US, share
from ...runtime import cpu, kernel_table, scratch, threads
from ...runtime.backend import choose
from ...runtime.memory import aligned_zeros
from ...runtime.post_ops import post_ops_kernel
from ...runtime.signatures import WORD

#: Multiply-adds from which a second thread may pay.
FOR_TWO = int(2 * convolution_call.WORTH_US * MACS_PER_US)


@cache
def _entry() -> Callable:
    return entry(convolution_call.convolution_entry, (ADDRESS, ADDRESS, ADDRESS, WORD, WORD, WORD, NUMBER, WORD))


class CompiledLayout:
    """q int8 [O, C / groups, KH, KW], scale and bias float32 [O] as row panels of `isa`.

    Attributes
    ----------
    descriptor : int64 array
        See kernels/conv/context.py. A view of the block that holds the panels: it outlives this object safely.
    k : int
        Products of an output.
    nbytes : int
        Panels with their padding, the rows' words, and the descriptor.
    """

    def __init__(self, q: np.ndarray, scale: np.ndarray, bias: np.ndarray, geometry: Geometry, isa: InstructionSet):
        outputs, own, k_high, k_wide = q.shape
        k = own * k_high * k_wide
        self._shape, self._groups, self._isa, self.k = q.shape, geometry.groups, isa, k
        self._words = pack.padded_k(k, 0) // isa.k_per_word
        # One block for all: inside jitted code only the descriptor is left, and it keeps alive what it points to.
        ends = np.cumsum([ConvDescriptor.lines(), 4 * outputs * self._words, 12 * outputs])
        room = aligned_zeros(int(ends[-1]))
        descriptor, panels, rows = np.split(room, ends[:-1])
        self._panels, self._rows = panels.view(np.int32), rows.view(np.int32).reshape(3, outputs)
        self.nbytes = room.nbytes
        for rows, block in self._blocks():
            padded = np.zeros((len(block), self._words * isa.k_per_word), np.int8)
            padded[:, :k] = q[rows].reshape(len(block), k)
            wide = padded if isa.k_per_word == 4 else padded.astype(np.int16)
            block[...] = wide.view(np.int32)
        self._rows[0] = q.reshape(outputs, -1).sum(axis=1, dtype=np.int64)
        self._rows[1:].view(np.float32)[...] = scale, bias

        self.descriptor = words = descriptor.view(np.int64)
        (step_y, step_x), ((top, bottom), (left, right)) = geometry.stride, geometry.padding
        ConvDescriptor.fill(
            words, worker=kernel_table.worker_address("conv", isa), pool=threads.POOL,
            quantize=kernel_table.worker_address("quantize", isa),
            last_cache=cpu.last_cache_bytes(), l2_bytes=cpu.l2_bytes(),
            weights=self._panels.ctypes.data, rows=self._rows.ctypes.data,
            outputs=outputs, channels=own * geometry.groups, groups=geometry.groups, k_high=k_high, k_wide=k_wide,
            step_y=step_y, step_x=step_x, top=top, bottom=bottom, left=left, right=right,
            dilate_y=geometry.dilation[0], dilate_x=geometry.dilation[1],
            nr=isa.columns, mr=isa.max_rows, k_per_word=isa.k_per_word,
            words=pack.multiplied_k(k, 0) // isa.k_per_word, slots=scratch.ADDRESS,
        )  # fmt: skip
        self.run = _entry()

    def _blocks(self) -> Any:
        """Row panels: which outputs, and their words as an array [rows, words] to write or read."""
        each, place = self._shape[0] // self._groups, 0
        for group in range(self._groups):
            panels = -(-each // self._isa.max_rows)
            for p in range(panels):
                first, height = share.py_func(p, panels, each)
                block = self._panels[place : place + height * self._words].reshape(self._words, height).T
                yield slice(group * each + first, group * each + first + height), block
                place += height * self._words

    def unpack(self) -> tuple[np.ndarray, np.ndarray]:
        """q and scale again."""
        q = np.empty(self._shape, np.int8)
        k = q[0].size
        for rows, block in self._blocks():
            values = np.ascontiguousarray(block).view(np.int8 if self._isa.k_per_word == 4 else np.int16)
            q[rows] = values[:, :k].reshape(-1, *self._shape[1:])
        return q, self._rows[1].view(np.float32).copy()


@cache
def _post_ops(activation: str) -> int:
    return address(post_ops_kernel(activation, None, False), POST_OPS_SIGNATURE)


def _compiled(x: np.ndarray, layout: Any, activation: str | None, out: np.ndarray, count: int) -> None:
    images, _, height, width = x.shape
    if count > 1 or (count == 0 and out.size * layout.k + x.size >= FOR_TWO):
        threads.ready(count)
    post_ops = 0 if activation is None else _post_ops(activation)
    layout.run(x, out, layout.descriptor, images, height, width, post_ops, count)


class ReferenceLayout:
    """Stands in for a packed layout: the integers as they are."""

    def __init__(self, q: np.ndarray, scale: np.ndarray, bias: np.ndarray, geometry: Geometry, isa: Any):
        self.parts = q, scale, bias, *astuple(geometry)
        self.nbytes = q.nbytes + scale.nbytes + bias.nbytes
        self.descriptor = np.empty(0, np.int64)

    def unpack(self) -> tuple[np.ndarray, np.ndarray]:
        return self.parts[0].copy(), self.parts[1].copy()


def _reference(x: np.ndarray, layout: Any, activation: str | None, out: np.ndarray, count: int) -> None:
    y = reference_convolution.convolve(x, *layout.parts)
    out[...] = y if activation is None else ACTIVATIONS[activation](y)


Layout: Any = choose(CompiledLayout, ReferenceLayout)
#: Fill float32 out [N, O, OH, OW] from float32 x [N, C, H, W], both contiguous; `count` threads, 0 chooses.
convolve: Callable[[np.ndarray, Any, str | None, np.ndarray, int], None] = choose(_compiled, _reference)
