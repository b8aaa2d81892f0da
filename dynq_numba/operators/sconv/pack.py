"""A constant weight of a float32 convolution, packed once."""

from __future__ import annotations

from typing import Any

import numpy as np

from ...arguments.checks import F32
from ...arguments.geometry import Geometry
from ...files.weight_cache import packed
from ...kernels.base.jit import JIT_ENABLED
from ...kernels.isa.base import InstructionSet
from ...kernels.isa.float32 import float32
from ...kernels.sconv.context import DEPTHWISE, PATCHES, WINOGRAD_2, WINOGRAD_4, FloatConv
from ...kernels.sconv.reference_winograd import LARGE, SMALL, weights_at_points
from ...kernels.threads.partition import share
from ...runtime import cpu, kernel_table, scratch, threads

#: Outputs of an input channel up to which a kernel of one input channel is depthwise: above, a tile is faster.
MOST_DEPTHWISE = 3
#: Channels of both sides, tiles of the result, and pixels of a tile of 2×2, from which Winograd's way is faster: below,
#: its transforms and what is empty of the tiles, and of their last panel, cost more than it saves.
WINOGRAD_CHANNELS, WINOGRAD_TILES, WINOGRAD_PIXELS = 8, 16, 3
#: The same of tiles of 4×4: channels; tiles, fewer than which do not make up for weights of four times the size; and of
#: the products, in vectors of 16 tiles, at most three quarters of those of tiles of 2×2.
LARGE_CHANNELS, LARGE_TILES, VECTOR = 16, 32, 16
#: Operations of the kernel table, by what the record says.
OPERATIONS = {
    PATCHES: "sconv", DEPTHWISE: "sconv_depthwise", WINOGRAD_2: "sconv_winograd", WINOGRAD_4: "sconv_winograd_4",
}  # fmt: skip
#: The tiles of Winograd's ways.
TILES = {WINOGRAD_2: SMALL, WINOGRAD_4: LARGE}


def way_of(shape: tuple[int, ...], geometry: Geometry, size: tuple[Any, Any] | None = None) -> int:
    """How to convolve with a weight [O, C / groups, KH, KW]: PATCHES, DEPTHWISE or Winograd's.

    Those of Winograd, whose bits are others, only if `size` says height and width of the result. The number of images
    does not count: an image has the same bits in every batch.
    """
    outputs, own, *taps = shape
    if own == 1 and outputs // geometry.groups <= MOST_DEPTHWISE:
        return DEPTHWISE
    plain = taps == [3, 3] and geometry == Geometry((1, 1), geometry.padding, (1, 1), 1)
    if not plain or min(outputs, own) < WINOGRAD_CHANNELS or size is None:
        return PATCHES
    small, large = (_tiles(size, tiles.size) for tiles in (SMALL, LARGE))
    if small < WINOGRAD_TILES or size[0] * size[1] < small * WINOGRAD_PIXELS:
        return PATCHES
    products = [tiles.square * ((count + VECTOR - 1) // VECTOR) for tiles, count in ((SMALL, small), (LARGE, large))]
    fewer = min(outputs, own) >= LARGE_CHANNELS and large >= LARGE_TILES and 4 * products[1] <= 3 * products[0]
    return WINOGRAD_4 if fewer else WINOGRAD_2


def _tiles(size: tuple[Any, Any], side: int) -> Any:
    return (size[0] + side - 1) // side * ((size[1] + side - 1) // side)


class FloatConvWeight:
    """A float32 weight [O, C / groups, KH, KW] and bias [O] or None, for an instruction set.

    Attributes
    ----------
    weight, bias, geometry :
        As given.
    way : int
        PATCHES, … (kernels/sconv/context.py); as given, or one of the first two, as `way_of` says.
    operation : str
        Of the kernel table.
    fields : dict
        The fields of the record `FloatConv` that are the same in every call. They point into this object.
    """

    def __init__(
        self, weight: np.ndarray, bias: np.ndarray | None, geometry: Geometry, target: InstructionSet,
        way: int | None = None,
    ):  # fmt: skip
        self.weight, self.bias, self.geometry = weight, bias, geometry
        outputs, own, k_high, k_wide = weight.shape
        form, self.way = float32(target), way_of(weight.shape, geometry) if way is None else way
        self.operation = OPERATIONS[self.way]
        if not JIT_ENABLED:
            return
        tiles = TILES.get(self.way)
        size, tallest = weight.size, 1 if self.way == DEPTHWISE else form.max_rows
        if tiles is not None:
            size = size // 9 * tiles.square

        def fill(room: np.ndarray) -> None:
            matrices = weight.reshape(1, outputs, -1) if tiles is None else weights_at_points(tiles, weight)
            panels, biases = np.split(room.view(F32), [size])
            biases[:] = 0 if bias is None else bias
            _pack(matrices, outputs // geometry.groups, tallest, panels)

        said = "sconv", weight.shape, geometry.groups, self.way, tallest
        self._room = packed(4 * (size + outputs), said, fill).view(F32)
        panels, biases = np.split(self._room, [size])
        (step_y, step_x), ((top, bottom), (left, right)) = geometry.stride, geometry.padding
        self.fields = {
            "worker": kernel_table.worker_address(self.operation, target), "pool": threads.POOL,
            "slots": scratch.ADDRESS, "l2_bytes": cpu.l2_bytes(), "nr": form.columns, "mr": form.max_rows,
            "outputs": outputs, "channels": own * geometry.groups, "groups": geometry.groups,
            "k_high": k_high, "k_wide": k_wide, "step_y": step_y, "step_x": step_x,
            "top": top, "bottom": bottom, "left": left, "right": right,
            "dilate_y": geometry.dilation[0], "dilate_x": geometry.dilation[1], "way": self.way,
            "weights": panels.ctypes.data, "bias": biases.ctypes.data,
        }  # fmt: skip

    def record(self, x: np.ndarray, out: np.ndarray, residual: np.ndarray | None, post_ops: int) -> np.ndarray:
        """The FloatConv of contiguous float32 arrays, which must outlive it."""
        return FloatConv.array(
            **self.fields, x=x.ctypes.data, out=out.ctypes.data, images=len(x), height=x.shape[2], width=x.shape[3],
            residual=0 if residual is None else residual.ctypes.data, post_ops=post_ops,
        )  # fmt: skip


def _pack(matrices: np.ndarray, each: int, tallest: int, packed: np.ndarray) -> None:
    """Row panels [M][K][R] of [M, O, K], of groups of `each` outputs, one after another."""
    panels, place = -(-each // tallest), 0
    for first in range(0, matrices.shape[1], each):
        for p in range(panels):
            row, height = share.py_func(p, panels, each)
            rows = matrices[:, first + row : first + row + height]
            packed[place : place + rows.size] = rows.transpose(0, 2, 1).ravel()
            place += rows.size
