"""Standalone quantize and dequantize of rows, on the helper threads.

    uint8 asymmetric   scale = (hi - lo) / 255, zero_point = clip(rint(-lo / scale), 0, 255)
                       q = clip(rint(x / scale) + zero_point, 0, 255)        ONNX DynamicQuantizeLinear-11, per row
    symmetric          scale = max|x| / 127, q = clip(rint(x / scale), -127, 127)
    int8               the uint8 grid shifted by 128: q - 128, zero_point - 128; and the reverse for uint8 symmetric
    dequantize         (data - zero_point) · scale

All work on the uint8 grid (the least value is 1 for symmetric: 128 - 127) and flip the top bit for int8.

    enough rows      tasks are ranges of rows; for some rows that fit a cache first the range, then the conversion
    few long rows    tasks are parts of a row: one call of the pool for the ranges of all parts, one to convert them

A row longer than the cache is converted from its end, because that part was read last and is still in the cache.
Output much larger than the last cache is stored past it (quantize/emit_rows.py).
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache

import numpy as np

from ..base.jit import kernel
from ..base.memory import (
    load_f32,
    load_i32,
    load_u8,
    null,
    offset,
    stack_bytes,
    store_f32,
    store_u8,
)
from ..isa.base import InstructionSet
from ..threads.partition import share
from ..threads.tasks import tasks_of
from .context import ConversionContext
from .emit import BOUNDS_STRIDE
from .emit_rows import BLOCK
from .intrinsics import dequantize_row, quantize_row, rows_range
from .qparams import BOUNDS_BYTES, BYTE, find_ranges, row_parameters

#: Steps: whole rows; the ranges of parts; converting parts.
ROWS, RANGES, CONVERT = range(3)
#: Bytes of x that are read for their range, then converted while as many are prefetched: half of L1.
HELD = 1 << 14
#: Values of a part of a long row.
PART = 1 << 16
#: Bytes that are prefetched ahead in a part of a long row.
AHEAD = 1 << 12


@kernel
def fit(lo, hi, flag, symmetric):
    """Scale and zero point (of the uint8 grid) of a row from its range; `flag` is 0 or NaN."""
    scale, zero_point = row_parameters(lo, hi, flag, BYTE)
    if symmetric:
        step = np.float32(max(-lo, hi) / np.float32(127))
        scale, zero_point = (np.float32(1) if step == np.float32(0) else step) + flag, np.int32(128)
    return scale, zero_point


@kernel
def own_task(task, threads, tasks):
    """Task `task` counted from the end of the share it is in."""
    owner = ((task + 1) * threads - 1) // tasks
    first, count = share(owner, threads, tasks)
    return first + count - 1 - (task - first)


@kernel
def part_of(part, parts, k):
    """(first value, values) of a part of a row: whole blocks, except for the last part."""
    first, count = share(part, parts, (k + BLOCK - 1) // BLOCK)
    return first * BLOCK, min(count * BLOCK, k - first * BLOCK)


@cache
def quantize_worker(isa: InstructionSet) -> Callable:
    """The worker of one instruction set."""
    emitted = quantize_row(isa)

    @kernel(variant=isa.name)
    def convert(context, row, first, count, ahead):
        """Values first … first+count of a row, whose scale and zero point are known."""
        x = offset(context.x, row * context.x_stride + 4 * first)
        out = offset(context.out, row * context.out_stride + first)
        scale = offset(context.scales, 4 * row)
        zero, flip = np.int64(load_u8(context.zeros, row)), context.flip
        value = load_f32(scale, 0)
        if value == value:
            emitted(
                context.stream, x, count, scale, zero ^ flip, context.symmetric, flip, out, ahead
            )
        else:
            for i in range(count):
                store_u8(out, i, np.uint8(zero))

    @kernel(variant=isa.name)
    def quantize_rows(context, first, count, bounds):
        k, stride, symmetric = context.k, context.x_stride, context.symmetric
        x, flip = context.x, context.flip
        together = HELD // (4 * k + 1)
        together = max(1, together) if together < 4 else min(BOUNDS_STRIDE, together // 4 * 4)
        parts = max(1, k // PART)
        row, end = first, first + count
        while row < end:
            height = min(together, end - row)
            find_ranges(offset(x, row * stride), stride, height, k, null(), bounds)
            for r in range(height):
                scale, zero = fit(
                    load_f32(bounds, r), load_f32(bounds, r + BOUNDS_STRIDE), load_f32(bounds, r + 2 * BOUNDS_STRIDE),
                    symmetric,
                )  # fmt: skip
                store_f32(context.scales, row + r, scale)
                store_u8(context.zeros, row + r, np.uint8(zero ^ flip))
                for part in range(parts):
                    begin, values = part_of(parts - 1 - part, parts, k)
                    convert(context, row + r, begin, values, height * stride if parts == 1 else AHEAD)
            row += height

    @kernel(variant=isa.name)
    def quantize_worker(context, index):
        context = ConversionContext(context)
        step, threads, tasks, parts = context.step, context.threads, context.tasks, context.parts
        k = context.k
        bounds = stack_bytes(BOUNDS_BYTES)
        for task in tasks_of(context, index):
            if step == ROWS:
                first, count = share(task, tasks, context.rows)
                quantize_rows(context, first, count, bounds)
            elif step == RANGES:
                row = task // parts
                begin, values = part_of(task % parts, parts, k)
                x = offset(context.x, row * context.x_stride + 4 * begin)
                rows_range(1, x, 0, values, offset(context.bounds, task * BOUNDS_BYTES))
            else:
                backwards = own_task(task, threads, tasks)
                begin, values = part_of(backwards % parts, parts, k)
                convert(context, backwards // parts, begin, values, AHEAD)

    return quantize_worker


@cache
def dequantize_worker(isa: InstructionSet) -> Callable:
    """The worker of one instruction set."""
    emitted = dequantize_row(isa)

    @kernel(variant=isa.name)
    def convert_back(context, row, first, count):
        """Values first … first+count of a row."""
        data = offset(context.x, row * context.x_stride + first)
        out = offset(context.out, row * context.out_stride + 4 * first)
        zeros, flip = context.zeros, context.flip
        if context.zero_bytes == 1:
            zero = np.int64(load_u8(zeros, row)) ^ flip
        else:
            zero = np.int64(load_i32(zeros, row)) + flip
        emitted(context.stream, data, count, offset(context.scales, 4 * row), zero, flip, out, 0)

    @kernel(variant=isa.name)
    def dequantize_worker(context, index):
        context = ConversionContext(context)
        step, tasks, parts, k = context.step, context.tasks, context.parts, context.k
        for task in tasks_of(context, index):
            if step == ROWS:
                first, count = share(task, tasks, context.rows)
                for row in range(first, first + count):
                    convert_back(context, row, 0, k)
            else:
                begin, values = part_of(task % parts, parts, k)
                convert_back(context, task // parts, begin, values)

    return dequantize_worker
