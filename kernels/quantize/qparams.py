"""Scales and zero points of rows of float32 from their ranges (worker.py converts rows on their own).

    scale = (hi - lo) / steps, zero_point = clip(rint(-lo / scale), 0, steps)    ONNX DynamicQuantizeLinear-11, per row

`steps` is 255 for 8 bits and 65535 for 16, float32.

`mask` is the address of int32 [k]: 0 where x counts as 0, else -1. NULL if all of x counts.
"""

from __future__ import annotations

import numpy as np
from numba import carray

from ..base.jit import kernel
from ..base.memory import is_null, offset, stack_bytes
from .emit import BOUNDS_STRIDE
from .intrinsics import masked_range, rows_range

BOUNDS_BYTES = 3 * BOUNDS_STRIDE * 4
F32_MAX = np.float32(np.finfo(np.float32).max)
#: Steps by bits.
STEPS = {8: np.float32(255), 16: np.float32(65535)}
BYTE, HALF = STEPS[8], STEPS[16]


@kernel
def row_parameters(lo, hi, flag, steps):
    """Scale and zero point of a row from its range; NaN and 0 where the flag is NaN. No branches: rows vectorise."""
    spread = np.float32(hi - lo)
    parts = np.float32(np.float32(hi / steps) - np.float32(lo / steps))
    scale = parts if spread > F32_MAX else np.float32(spread / steps)
    flat = scale == np.float32(0)
    zero_point = np.rint(np.float32(-lo / scale))
    zero_point = min(max(zero_point, np.float32(0)), steps)
    zero_point = np.float32(0) if flat or flag != flag else zero_point
    return (np.float32(1) if flat else scale) + flag, np.int32(zero_point)


@kernel
def together(rows):
    """How many of `rows` rows are handled next."""
    return 4 if rows >= 4 else (2 if rows >= 2 else 1)


@kernel
def find_ranges(x, x_stride, rows, k, mask, bounds):
    """lo, hi, flag of up to BOUNDS_STRIDE rows: float32 [3, BOUNDS_STRIDE] at `bounds`."""
    r = 0
    while r < rows:
        count = together(rows - r)
        if is_null(mask):
            rows_range(count, offset(x, r * x_stride), x_stride, k, offset(bounds, 4 * r))
        else:
            masked_range(count, offset(x, r * x_stride), x_stride, k, mask, offset(bounds, 4 * r))
        r += count


@kernel
def fit_rows(x, x_stride, rows, k, mask, steps, scales, zero_points):
    """Parameters of any number of rows: float32 at `scales`, int32 at `zero_points`."""
    buffer = stack_bytes(BOUNDS_BYTES)
    bounds = carray(buffer, (3, BOUNDS_STRIDE), np.float32)
    for first in range(0, rows, BOUNDS_STRIDE):
        count = min(BOUNDS_STRIDE, rows - first)
        find_ranges(offset(x, first * x_stride), x_stride, count, k, mask, buffer)
        scale = carray(offset(scales, 4 * first), (count,), np.float32)
        zero_point = carray(offset(zero_points, 4 * first), (count,), np.int32)
        for r in range(count):
            scale[r], zero_point[r] = row_parameters(bounds[0, r], bounds[1, r], bounds[2, r], steps)


@kernel
def tensor_parameters(x, x_stride, rows, k, mask, steps):
    """One scale and zero point for all of x [rows, k]."""
    lo, hi, flag = np.float32(0), np.float32(0), np.float32(0)
    buffer = stack_bytes(BOUNDS_BYTES)
    bounds = carray(buffer, (3, BOUNDS_STRIDE), np.float32)
    for first in range(0, rows, BOUNDS_STRIDE):
        count = min(BOUNDS_STRIDE, rows - first)
        find_ranges(offset(x, first * x_stride), x_stride, count, k, mask, buffer)
        for r in range(count):
            lo, hi, flag = min(lo, bounds[0, r]), max(hi, bounds[1, r]), flag + bounds[2, r]
    return row_parameters(lo, hi, flag, steps)
