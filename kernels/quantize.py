"""Standalone quantize and dequantize on rows of float32.

    uint8 asymmetric   scale = (hi - lo) / 255, zero_point = clip(rint(-lo / scale), 0, 255)
                       q = clip(rint(x / scale) + zero_point, 0, 255)        ONNX DynamicQuantizeLinear-11, per row
    symmetric          scale = max|x| / 127, q = clip(rint(x / scale), -127, 127)
    int8               the uint8 grid moved by 128: q - 128, zero_point - 128; and the reverse for uint8 symmetric

Both work on the uint8 grid (`low` is 1 for symmetric: 128 - 127) and flip the top bit on the way out for int8.
"""

from __future__ import annotations

import numpy as np

from .emit.intrinsics import row_range
from .jit import kernel
from .memory import data_ptr, offset

F32_MAX = np.float32(np.finfo(np.float32).max)


@kernel
def row_parameters(lo, hi, total):
    """Scale and zero point of a row from its range; NaN and 0 where the row holds NaN or an infinity."""
    if total != total:
        return np.float32(np.nan), np.int32(0)
    spread = np.float32(hi - lo)
    scale = np.float32(spread / np.float32(255))
    if spread > F32_MAX:
        scale = np.float32(np.float32(hi / np.float32(255)) - np.float32(lo / np.float32(255)))
    if scale == np.float32(0):
        return np.float32(1), np.int32(0)
    zero_point = np.rint(np.float32(-lo / scale))
    return scale, np.int32(min(max(zero_point, np.float32(0)), np.float32(255)))


@kernel
def range_of_row(x, r, bounds):
    """bounds[0..2] = lo, hi, total of row r of x [M, K], last axis contiguous (see emit.quantize)."""
    row_range(offset(data_ptr(x), r * x.strides[0]), x.shape[1], data_ptr(bounds))


@kernel
def tensor_parameters(x):
    """One scale and zero point for all of x [M, K]."""
    lo, hi, total = np.float32(0), np.float32(0), np.float32(0)
    bounds = np.empty(3, np.float32)
    for r in range(x.shape[0]):
        range_of_row(x, r, bounds)
        lo, hi = min(lo, bounds[0]), max(hi, bounds[1])
        if bounds[2] != bounds[2]:
            total = np.float32(np.nan)
    return row_parameters(lo, hi, total)


@kernel
def parameters(x, symmetric, scale, zero_point):
    """Fill scale [M] float32 and zero_point [M] int32 (uint8 grid) for the rows of x [M, K], last axis contiguous."""
    bounds = np.empty(3, np.float32)
    for r in range(x.shape[0]):
        range_of_row(x, r, bounds)
        lo, hi, total = bounds[0], bounds[1], bounds[2]
        if symmetric:
            zero_point[r] = 128
            scale[r] = np.float32(max(-lo, hi) / np.float32(127))
            if scale[r] == 0:
                scale[r] = np.float32(1)
            if total != total:
                scale[r] = np.float32(np.nan)
        else:
            scale[r], zero_point[r] = row_parameters(lo, hi, total)


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
