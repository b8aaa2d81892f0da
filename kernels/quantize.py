"""Standalone quantize and dequantize on rows of float32.

    uint8 asymmetric   scale = (hi - lo) / 255, zero_point = clip(rint(-lo / scale), 0, 255)
                       q = clip(rint(x / scale) + zero_point, 0, 255)        ONNX DynamicQuantizeLinear-11, per row
    symmetric          scale = max|x| / 127, q = clip(rint(x / scale), -127, 127)
    int8               the uint8 grid moved by 128: q - 128, zero_point - 128; and the reverse for uint8 symmetric

Both work on the uint8 grid (`low` is 1 for symmetric: 128 - 127) and flip the top bit on the way out for int8.
"""

from __future__ import annotations

import numpy as np
from numba import carray

from .emit.intrinsics import rows_range
from .emit.quantize import BOUNDS_STRIDE
from .jit import kernel
from .memory import data_ptr, offset, stack_bytes

BOUNDS_BYTES = 3 * BOUNDS_STRIDE * 4
F32_MAX = np.float32(np.finfo(np.float32).max)


@kernel
def row_parameters(lo, hi, flag):
    """Scale and zero point of a row from its range; NaN and 0 where the flag is NaN. No branches: rows vectorise."""
    spread = np.float32(hi - lo)
    parts = np.float32(np.float32(hi / np.float32(255)) - np.float32(lo / np.float32(255)))
    scale = parts if spread > F32_MAX else np.float32(spread / np.float32(255))
    flat = scale == np.float32(0)
    zero_point = np.rint(np.float32(-lo / scale))
    zero_point = min(max(zero_point, np.float32(0)), np.float32(255))
    zero_point = np.float32(0) if flat or flag != flag else zero_point
    return (np.float32(1) if flat else scale) + flag, np.int32(zero_point)


@kernel
def together(rows):
    """How many of `rows` rows are handled next."""
    return 4 if rows >= 4 else (2 if rows >= 2 else 1)


@kernel
def find_ranges(x, x_stride, rows, k, bounds):
    """lo, hi, flag of up to BOUNDS_STRIDE rows: float32 [3, BOUNDS_STRIDE] at `bounds`."""
    r = 0
    while r < rows:
        count = together(rows - r)
        rows_range(count, offset(x, r * x_stride), x_stride, k, offset(bounds, 4 * r))
        r += count


@kernel
def fit_rows(x, x_stride, rows, k, scales, zero_points):
    """Parameters of any number of rows: float32 at `scales`, int32 at `zero_points`."""
    room = stack_bytes(BOUNDS_BYTES)
    bounds = carray(room, (3, BOUNDS_STRIDE), np.float32)
    for first in range(0, rows, BOUNDS_STRIDE):
        count = min(BOUNDS_STRIDE, rows - first)
        find_ranges(offset(x, first * x_stride), x_stride, count, k, room)
        scale = carray(offset(scales, 4 * first), (count,), np.float32)
        zero_point = carray(offset(zero_points, 4 * first), (count,), np.int32)
        for r in range(count):
            scale[r], zero_point[r] = row_parameters(bounds[0, r], bounds[1, r], bounds[2, r])


@kernel
def tensor_parameters(x, x_stride, rows, k):
    """One scale and zero point for all of x [rows, k]."""
    lo, hi, flag = np.float32(0), np.float32(0), np.float32(0)
    room = stack_bytes(BOUNDS_BYTES)
    bounds = carray(room, (3, BOUNDS_STRIDE), np.float32)
    for first in range(0, rows, BOUNDS_STRIDE):
        count = min(BOUNDS_STRIDE, rows - first)
        find_ranges(offset(x, first * x_stride), x_stride, count, k, room)
        for r in range(count):
            lo, hi, flag = min(lo, bounds[0, r]), max(hi, bounds[1, r]), flag + bounds[2, r]
    return row_parameters(lo, hi, flag)


@kernel
def parameters(x, symmetric, scale, zero_point):
    """Fill scale [M] float32 and zero_point [M] int32 (uint8 grid) for the rows of x [M, K], last axis contiguous."""
    rows, stride, k = x.shape[0], x.strides[0], x.shape[1]
    if not symmetric:
        fit_rows(data_ptr(x), stride, rows, k, data_ptr(scale), data_ptr(zero_point))
        return
    room = stack_bytes(BOUNDS_BYTES)
    bounds = carray(room, (3, BOUNDS_STRIDE), np.float32)
    for first in range(0, rows, BOUNDS_STRIDE):
        count = min(BOUNDS_STRIDE, rows - first)
        find_ranges(offset(data_ptr(x), first * stride), stride, count, k, room)
        for r in range(count):
            step = np.float32(max(-bounds[0, r], bounds[1, r]) / np.float32(127))
            step = np.float32(1) if step == np.float32(0) else step
            scale[first + r] = step + bounds[2, r]  # the flag is 0 or NaN
            zero_point[first + r] = 128


@kernel
def convert(x, scale, zero_point, low, flip, out):
    """out [M, K] uint8 = clip(rint(x / scale) + zero_point, low, 255) ^ flip; where scale is NaN, the zero point."""
    for r in range(x.shape[0]):
        step, zero = scale[r], np.float32(zero_point[r])
        if step == step:
            for k in range(x.shape[1]):
                q = np.rint(np.float32(x[r, k] / step)) + zero
                out[r, k] = np.uint8(np.int32(min(max(q, np.float32(low)), np.float32(255)))) ^ np.uint8(flip)
        else:
            out[r, :] = np.uint8(zero_point[r]) ^ np.uint8(flip)


@kernel
def dequantize_rows(data, scale, zero_point, out):
    """out [M, K] float32 = (data - zero_point[m]) · scale[m]."""
    for r in range(data.shape[0]):
        zero, step = np.int32(zero_point[r]), scale[r]
        for k in range(data.shape[1]):
            out[r, k] = np.float32(np.int32(np.int32(data[r, k]) - zero)) * step
