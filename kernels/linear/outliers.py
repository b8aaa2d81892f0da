"""Columns of x that stay float32 (`outliers=` of pack_linear): they widen no row's range, and are added separately.

    y[r, n] = (the linear of x and W, each 0 in these columns) + t
    t = fma(x[r, c], W[n, c], t)        for the columns c in ascending order, from t = 0

A weight says of them what follows; `outliers` of its descriptor leads there:

    ┌ count ┬ mask ┬ weights ┬ places … ───────────────┐     words of 8 bytes
    │       │  │   │  │      │ bytes to each column     │
    └───────┴──┼───┴──┼──────┴─────────────────────────┘
               │      └─▶ float32 [N / 16] [COUNT] [16], whole panels, from a cache line on
               └────────▶ int32 [K], 0 in these columns, else -1

x is not changed. The range pass reads it through the mask. The conversion turns these columns into some bytes, which
are multiplied by weights that are 0. The sums t are added to a strip of out while it is in L1, before its post-ops.
Like LLM.int8() (Dettmers et al., 2022), whose columns change from call to call.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache

import numpy as np

from ..base.jit import kernel
from ..base.memory import ALIGN, is_null, load_int, null, offset
from ..base.record import Pointer, Record
from ..isa.base import InstructionSet
from ..quantize.emit import LANES
from .emit_outliers import add_products


class Outliers(Record):
    count: int
    mask: Pointer
    weights: Pointer


#: Words before the places.
PLACES = Outliers.size


def block_bytes(columns: tuple[int, ...], padded_n: int, k: int) -> list[int]:
    """Bytes of W, the mask and the words, each whole cache lines; 0 where there are no outliers."""
    count = len(columns)
    parts = (4 * count * padded_n, 4 * k, 8 * (PLACES + count)) if count else (0, 0, 0)
    return [-(-part // ALIGN) * ALIGN for part in parts]


def fill_block(parts: list[np.ndarray], columns: tuple[int, ...], floats: np.ndarray) -> int:
    """Write `floats` [columns, N] and the rest into the parts of `block_bytes`; returns the words' address."""
    weights, mask, words = parts[0].view(np.float32), parts[1].view(np.int32), parts[2].view(np.int64)
    mask[:], mask[list(columns)] = -1, 0
    count, n = floats.shape
    padded = np.zeros((count, len(weights) // count), np.float32)
    padded[:, :n] = floats
    weights[:] = padded.reshape(count, -1, LANES).swapaxes(0, 1).reshape(-1)
    Outliers.fill(words, count=count, mask=mask.ctypes.data, weights=weights.ctypes.data)
    words[PLACES : PLACES + count] = [4 * column for column in columns]
    return words.ctypes.data


def floats_of(weights: np.ndarray, count: int, n: int) -> np.ndarray:
    """float32 [count, N] of the bytes of W."""
    if count == 0:
        return np.empty((0, n), np.float32)
    blocks = weights.view(np.float32).reshape(-1, count, LANES)
    return blocks.swapaxes(0, 1).reshape(count, len(blocks) * LANES)[:, :n]


@kernel
def mask_of(context):
    """Address of the mask of a context or descriptor; NULL where there are no outliers."""
    block = context.outliers
    return null() if is_null(block) else Outliers(block).mask


@kernel
def same_columns(first, second):
    """Whether two descriptors have the same outliers: then they take the same integers of x."""
    a, b = first.outliers, second.outliers
    if is_null(a) or is_null(b):
        return is_null(a) and is_null(b)
    count = Outliers(a).count
    if count != Outliers(b).count:
        return False
    i, end = PLACES, PLACES + count
    while i < end and load_int(a, i) == load_int(b, i):
        i += 1
    return i == end


@cache
def outlier_adder(isa: InstructionSet) -> Callable:
    """``add_outliers(context, first, rows, begin, columns, corner)`` for weight panels of that set's width."""
    add = add_products(isa.columns // LANES)

    @kernel(variant=isa.name)
    def add_outliers(context, first, rows, begin, columns, corner):
        """out += t in rows first … first+rows, and `columns` columns from `begin` on, whose first value is at `corner`.

        `begin` is where a panel begins.
        """
        block, x_stride = Outliers(context.outliers), context.x_stride
        count, x = block.count, offset(context.x, first * x_stride)
        w = offset(block.weights, 4 * count * begin)
        out_stride = context.out_stride
        add(x, x_stride, rows, offset(block, 8 * PLACES), count, w, corner, out_stride, columns)

    return add_outliers
