"""Standalone quantize and dequantize of rows, on the helper threads.

    uint8 asymmetric   scale = (hi - lo) / 255, zero_point = clip(rint(-lo / scale), 0, 255)
                       q = clip(rint(x / scale) + zero_point, 0, 255)        ONNX DynamicQuantizeLinear-11, per row
    symmetric          scale = max|x| / 127, q = clip(rint(x / scale), -127, 127)
    int8               the uint8 grid moved by 128: q - 128, zero_point - 128; and the reverse for uint8 symmetric
    dequantize         (data - zero_point) · scale

All work on the uint8 grid (the least value is 1 for symmetric: 128 - 127) and flip the top bit for int8.

    enough rows      tasks are ranges of rows; some rows that fit a cache are ranged, then converted
    few long rows    tasks are parts of a row: one call of the pool for the ranges of all parts, one to convert them

A row longer than the cache is converted from its end: what the ranges read last is still near.
Output far beyond the last cache is stored past it (emit/rows.py).
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache

import numpy as np

from . import context as at
from .atomics import fetch_add_relaxed
from .blocking import share
from .emit.intrinsics import dequantize_row, quantize_row, rows_range
from .emit.isa import InstructionSet
from .emit.quantize import BOUNDS_STRIDE
from .emit.rows import BLOCK
from .jit import kernel
from .memory import (
    address_value,
    data_ptr,
    keep,
    load_f32,
    load_i32,
    load_int,
    load_ptr,
    load_u8,
    offset,
    stack_bytes,
    stack_zeros,
    store_f32,
    store_int,
    store_ptr,
    store_u8,
)
from .parallel import LINE, SETTING, next_task, run, worth_waking
from .quantize import BOUNDS_BYTES, find_ranges, row_parameters

#: A conversion's own words of the context, where a linear has its weight.
SCALES, SYMMETRIC, ZERO_BYTES, STREAM, PARTS, STEP, BOUNDS = range(at.WORDS, at.WORDS + 7)
assert BOUNDS < at.M
#: Steps: whole rows; the ranges of parts; converting parts.
ROWS, RANGES, CONVERT = range(3)
#: Words of a descriptor: what stays the same from call to call (WORKER and POOL are those of the context).
LAST_CACHE = 2
DESCRIPTOR_WORDS = 3

#: Values that one thread converts in a microsecond, in its cache; the least microseconds to give a thread; values from
#: which a second one may be asked.
VALUES_PER_US, WORTH_US = 15_000, 1.0
FOR_TWO = int(2 * WORTH_US * VALUES_PER_US)
#: Bytes of x that are ranged, then converted while as many are brought near: half of L1.
HELD = 1 << 14
#: Values of a part of a long row; the least that a part is worth; values of a task of rows.
PART, LEAST_PART, TASK = 1 << 16, 1 << 13, 1 << 17
#: Bytes that are brought near beyond those that a long row's part is at.
AHEAD = 1 << 12


@kernel
def fit(lo, hi, flag, symmetric):
    """Scale and zero point (of the uint8 grid) of a row from its range; `flag` is 0 or NaN."""
    scale, zero_point = row_parameters(lo, hi, flag)
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
    """(first value, values) of a part of a row: whole blocks but for the last."""
    first, count = share(part, parts, (k + BLOCK - 1) // BLOCK)
    return first * BLOCK, min(count * BLOCK, k - first * BLOCK)


@cache
def quantize_worker(isa: InstructionSet) -> Callable:
    """The worker of one instruction set."""
    emitted = quantize_row(isa)

    @kernel(variant=isa.name)
    def convert(context, row, first, count, ahead):
        """Values first … first+count of a row, whose scale and zero point are known."""
        x = offset(load_ptr(context, at.X), row * load_int(context, at.X_STRIDE) + 4 * first)
        out = offset(load_ptr(context, at.OUT), row * load_int(context, at.OUT_STRIDE) + first)
        scale = offset(load_ptr(context, SCALES), 4 * row)
        zero, flip = np.int64(load_u8(load_ptr(context, at.X_ZERO), row)), load_int(context, at.X_FLIP)
        value = load_f32(scale, 0)
        if value == value:
            emitted(
                load_int(context, STREAM), x, count, scale, zero ^ flip, load_int(context, SYMMETRIC), flip, out, ahead
            )
        else:
            for i in range(count):
                store_u8(out, i, np.uint8(zero))

    @kernel(variant=isa.name)
    def quantize_rows(context, first, count, bounds):
        k, stride, symmetric = load_int(context, at.K), load_int(context, at.X_STRIDE), load_int(context, SYMMETRIC)
        x, flip = load_ptr(context, at.X), load_int(context, at.X_FLIP)
        together = HELD // (4 * k + 1)
        together = max(1, together) if together < 4 else min(BOUNDS_STRIDE, together // 4 * 4)
        parts = max(1, k // PART)
        row, end = first, first + count
        while row < end:
            height = min(together, end - row)
            find_ranges(offset(x, row * stride), stride, height, k, bounds)
            for r in range(height):
                scale, zero = fit(
                    load_f32(bounds, r), load_f32(bounds, r + BOUNDS_STRIDE), load_f32(bounds, r + 2 * BOUNDS_STRIDE),
                    symmetric,
                )  # fmt: skip
                store_f32(load_ptr(context, SCALES), row + r, scale)
                store_u8(load_ptr(context, at.X_ZERO), row + r, np.uint8(zero ^ flip))
                for part in range(parts):
                    begin, values = part_of(parts - 1 - part, parts, k)
                    convert(context, row + r, begin, values, height * stride if parts == 1 else AHEAD)
            row += height

    @kernel(variant=isa.name)
    def quantize_worker(context, index):
        step, threads, counters = load_int(context, STEP), load_int(context, at.THREADS), load_ptr(context, at.COUNTERS)
        tasks, parts = load_int(context, at.ROW_TASKS), load_int(context, PARTS)
        m, k = load_int(context, at.M), load_int(context, at.K)
        bounds = stack_bytes(BOUNDS_BYTES)
        done = 0
        task, victim = next_task(counters, index, threads, tasks, 0)
        while task >= 0:
            if step == ROWS:
                first, count = share(task, tasks, m)
                quantize_rows(context, first, count, bounds)
            elif step == RANGES:
                row = task // parts
                begin, values = part_of(task % parts, parts, k)
                x = offset(load_ptr(context, at.X), row * load_int(context, at.X_STRIDE) + 4 * begin)
                rows_range(1, x, 0, values, offset(load_ptr(context, BOUNDS), task * BOUNDS_BYTES))
            else:
                backwards = own_task(task, threads, tasks)
                begin, values = part_of(backwards % parts, parts, k)
                convert(context, backwards // parts, begin, values, AHEAD)
            done += 1
            task, victim = next_task(counters, index, threads, tasks, victim)
        fetch_add_relaxed(context, at.DONE, done)

    return quantize_worker


@cache
def dequantize_worker(isa: InstructionSet) -> Callable:
    """The worker of one instruction set."""
    emitted = dequantize_row(isa)

    @kernel(variant=isa.name)
    def convert_back(context, row, first, count):
        """Values first … first+count of a row."""
        data = offset(load_ptr(context, at.X), row * load_int(context, at.X_STRIDE) + first)
        out = offset(load_ptr(context, at.OUT), row * load_int(context, at.OUT_STRIDE) + 4 * first)
        zeros, flip = load_ptr(context, at.X_ZERO), load_int(context, at.X_FLIP)
        if load_int(context, ZERO_BYTES) == 1:
            zero = np.int64(load_u8(zeros, row)) ^ flip
        else:
            zero = np.int64(load_i32(zeros, row)) + flip
        emitted(load_int(context, STREAM), data, count, offset(load_ptr(context, SCALES), 4 * row), zero, flip, out, 0)

    @kernel(variant=isa.name)
    def dequantize_worker(context, index):
        step, threads, counters = load_int(context, STEP), load_int(context, at.THREADS), load_ptr(context, at.COUNTERS)
        tasks, parts = load_int(context, at.ROW_TASKS), load_int(context, PARTS)
        m, k = load_int(context, at.M), load_int(context, at.K)
        done = 0
        task, victim = next_task(counters, index, threads, tasks, 0)
        while task >= 0:
            if step == ROWS:
                first, count = share(task, tasks, m)
                for row in range(first, first + count):
                    convert_back(context, row, 0, k)
            else:
                begin, values = part_of(task % parts, parts, k)
                convert_back(context, task // parts, begin, values)
            done += 1
            task, victim = next_task(counters, index, threads, tasks, victim)
        fetch_add_relaxed(context, at.DONE, done)

    return dequantize_worker


@kernel
def cut(rows, k, threads):
    """(threads, tasks, parts): `parts` of every row where there are few rows, else 1 and tasks are ranges of rows."""
    parts = 1
    if 1 < threads and rows < 4 * threads:
        parts = max(1, min(k // LEAST_PART, max(4 * threads, k // PART)))
    tasks = rows * parts
    if parts == 1:
        tasks = 1 if threads == 1 else min(rows, max(4 * threads, rows * k // TASK))
    return min(threads, tasks), tasks, parts


@kernel
def start(context, step, tasks):
    """Run a step: counters from 0, nothing done yet."""
    threads = load_int(context, at.THREADS)
    for i in range(threads):
        store_int(context, at.SIZE + LINE * i, 0)
    store_int(context, at.DONE, 0)
    store_int(context, STEP, step)
    store_int(context, at.ROW_TASKS, tasks)
    run(context, threads, tasks)


@kernel
def quantize_into(
    x, x_stride, rows, k, out, out_stride, scales, zeros, symmetric, flip, worker, pool, last_cache, threads
):  # fmt: skip
    """uint8 out [rows, k], float32 scales [rows] and uint8 zeros [rows] from x; strides in bytes, k contiguous.

    All bytes are flipped by `flip`. `pool` may be 0 with one thread.
    """
    if rows == 0:
        return
    threads, tasks, parts = cut(rows, k, threads)
    context = stack_zeros(8 * (at.SIZE + LINE * threads))
    store_int(context, at.WORKER, worker)
    store_int(context, at.POOL, pool)
    store_int(context, at.M, rows)
    store_int(context, at.K, k)
    store_ptr(context, at.X, x)
    store_int(context, at.X_STRIDE, x_stride)
    store_int(context, at.X_FLIP, flip)
    store_ptr(context, at.X_ZERO, zeros)
    store_ptr(context, at.OUT, out)
    store_int(context, at.OUT_STRIDE, out_stride)
    store_ptr(context, SCALES, scales)
    store_int(context, SYMMETRIC, symmetric)
    store_int(context, STREAM, 1 if 4 * rows * k > 2 * last_cache else 0)
    store_int(context, PARTS, parts)
    store_int(context, at.THREADS, threads)
    store_ptr(context, at.COUNTERS, offset(context, 8 * at.SIZE))
    if parts == 1:
        start(context, ROWS, tasks)
        return
    room = np.empty(tasks * BOUNDS_BYTES // 4, np.float32)
    store_ptr(context, BOUNDS, data_ptr(room))
    start(context, RANGES, tasks)
    for row in range(rows):
        lo, hi, flag = np.float32(0), np.float32(0), np.float32(0)
        for part in range(row * parts, (row + 1) * parts):
            first = part * (BOUNDS_BYTES // 4)
            lo, hi = min(lo, room[first]), max(hi, room[first + BOUNDS_STRIDE])
            flag += room[first + 2 * BOUNDS_STRIDE]
        scale, zero = fit(lo, hi, flag, symmetric)
        store_f32(scales, row, scale)
        store_u8(zeros, row, np.uint8(zero ^ flip))
    keep(room)
    start(context, CONVERT, tasks)


@kernel
def dequantize_into(
    data, data_stride, rows, k, out, out_stride, scales, zeros, zero_bytes, flip, worker, pool, last_cache, threads
):  # fmt: skip
    """float32 out [rows, k] from bytes; `zeros` [rows] are bytes like data's, or int32 where `zero_bytes` is 4."""
    if rows == 0:
        return
    threads, tasks, parts = cut(rows, k, threads)
    context = stack_zeros(8 * (at.SIZE + LINE * threads))
    store_int(context, at.WORKER, worker)
    store_int(context, at.POOL, pool)
    store_int(context, at.M, rows)
    store_int(context, at.K, k)
    store_ptr(context, at.X, data)
    store_int(context, at.X_STRIDE, data_stride)
    store_int(context, at.X_FLIP, flip)
    store_ptr(context, at.X_ZERO, zeros)
    store_ptr(context, at.OUT, out)
    store_int(context, at.OUT_STRIDE, out_stride)
    store_ptr(context, SCALES, scales)
    store_int(context, ZERO_BYTES, zero_bytes)
    aligned = (address_value(out) | out_stride) % 4 == 0
    store_int(context, STREAM, 1 if aligned and 4 * rows * k > 2 * last_cache else 0)
    store_int(context, PARTS, parts)
    store_int(context, at.THREADS, threads)
    store_ptr(context, at.COUNTERS, offset(context, 8 * at.SIZE))
    start(context, ROWS if parts == 1 else CONVERT, tasks)


@kernel
def threads_for(values, descriptor, threads):
    """`threads`, or where that is 0 as many as the work is worth and the setting allows."""
    if threads == 0:
        threads = 1
        if values >= FOR_TWO:
            micros, pool = values / VALUES_PER_US, load_ptr(descriptor, at.POOL)
            threads = min(int(micros / WORTH_US), load_int(pool, SETTING))
            if threads > 1 and not worth_waking(pool, threads, micros):
                threads = 1
    return threads


@kernel
def quantize_entry(x, out, scales, zeros, symmetric, flip, descriptor, threads):
    """`quantize_into` on views and addresses."""
    words = descriptor.data
    quantize_into(
        x.data, x.row_stride, x.rows, x.columns, out.data, out.row_stride, scales.data, zeros.data, symmetric, flip,
        load_int(words, at.WORKER), load_int(words, at.POOL), load_int(words, LAST_CACHE),
        threads_for(x.rows * x.columns, words, threads),
    )  # fmt: skip


@kernel
def dequantize_entry(data, out, scales, zeros, zero_bytes, flip, descriptor, threads):
    """`dequantize_into` on views and addresses."""
    words = descriptor.data
    dequantize_into(
        data.data, data.row_stride, data.rows, data.columns, out.data, out.row_stride, scales.data, zeros.data,
        zero_bytes, flip, load_int(words, at.WORKER), load_int(words, at.POOL), load_int(words, LAST_CACHE),
        threads_for(data.rows * data.columns, words, threads),
    )  # fmt: skip
