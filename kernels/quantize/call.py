"""From arrays to a running conversion: fill a context, choose the cut, go. As linear/call.py for the linear.

Arrays come as addresses and strides in bytes; their last axes are contiguous. The caller keeps them alive for the
length of the call; nothing is kept beyond it.
"""

from __future__ import annotations

import numpy as np

from ..base import context as at
from ..base.jit import kernel
from ..base.memory import (
    address_value,
    allocate,
    insist,
    is_null,
    load_f32,
    load_int,
    load_ptr,
    offset,
    release,
    stack_zeros,
    store_f32,
    store_int,
    store_ptr,
    store_u8,
)
from ..threads.pool import LINE, run, worthwhile
from .emit import BOUNDS_STRIDE
from .qparams import BOUNDS_BYTES
from .worker import BOUNDS, CONVERT, PART, PARTS, RANGES, ROWS, SCALES, STEP, STREAM, SYMMETRIC, ZERO_BYTES, fit

#: Words of a descriptor: what stays the same from call to call (WORKER and POOL are those of the context).
LAST_CACHE = 2
DESCRIPTOR_WORDS = 3

#: Values that one thread converts in a microsecond, in its cache; the least microseconds to give a thread; values from
#: which a second one may be asked.
VALUES_PER_US, WORTH_US = 15_000, 1.0
FOR_TWO = int(2 * WORTH_US * VALUES_PER_US)
#: The least values that a part of a row is worth; values of a task of rows.
LEAST_PART, TASK = 1 << 13, 1 << 17


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
    """`parallel.run` a step: counters from 0, nothing done yet."""
    threads = load_int(context, at.THREADS)
    for i in range(threads):
        store_int(context, at.SIZE + LINE * i, 0)
    store_int(context, at.DONE, 0)
    store_int(context, STEP, step)
    store_int(context, at.ROW_TASKS, tasks)
    return run(context, threads, tasks)


@kernel
def fill(context, x, x_stride, rows, k, out, out_stride, scales, zeros, flip, worker, pool, threads, parts):
    """What both operations tell their workers."""
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
    store_int(context, PARTS, parts)
    store_int(context, at.THREADS, threads)
    store_ptr(context, at.COUNTERS, offset(context, 8 * at.SIZE))


@kernel
def quantize_into(
    x, x_stride, rows, k, out, out_stride, scales, zeros, symmetric, flip, worker, pool, last_cache, threads
):  # fmt: skip
    """uint8 out [rows, k], float32 scales [rows] and uint8 zeros [rows] from x; strides in bytes, k contiguous.

    All bytes are flipped by `flip`. `pool` may be 0 with one thread. Gives whether there was memory for it.
    """
    if rows == 0:
        return True
    threads, tasks, parts = cut(rows, k, threads)
    context = stack_zeros(8 * (at.SIZE + LINE * threads))
    fill(context, x, x_stride, rows, k, out, out_stride, scales, zeros, flip, worker, pool, threads, parts)
    store_int(context, SYMMETRIC, symmetric)
    store_int(context, STREAM, 1 if 4 * rows * k > 2 * last_cache else 0)
    if parts == 1:
        return start(context, ROWS, tasks)
    buffer = allocate(tasks * BOUNDS_BYTES)
    if is_null(buffer):
        return False
    store_ptr(context, BOUNDS, buffer)
    fine = start(context, RANGES, tasks)
    for row in range(rows):
        lo, hi, flag = np.float32(0), np.float32(0), np.float32(0)
        for part in range(row * parts, (row + 1) * parts):
            first = part * (BOUNDS_BYTES // 4)
            lo, hi = min(lo, load_f32(buffer, first)), max(hi, load_f32(buffer, first + BOUNDS_STRIDE))
            flag += load_f32(buffer, first + 2 * BOUNDS_STRIDE)
        scale, zero = fit(lo, hi, flag, symmetric)
        store_f32(scales, row, scale)
        store_u8(zeros, row, np.uint8(zero ^ flip))
    release(buffer)
    return start(context, CONVERT, tasks) and fine


@kernel
def dequantize_into(
    data, data_stride, rows, k, out, out_stride, scales, zeros, zero_bytes, flip, worker, pool, last_cache, threads
):  # fmt: skip
    """float32 out [rows, k] from bytes; `zeros` [rows] are bytes like data's, or int32 where `zero_bytes` is 4."""
    if rows == 0:
        return
    threads, tasks, parts = cut(rows, k, threads)
    context = stack_zeros(8 * (at.SIZE + LINE * threads))
    fill(context, data, data_stride, rows, k, out, out_stride, scales, zeros, flip, worker, pool, threads, parts)
    store_int(context, ZERO_BYTES, zero_bytes)
    aligned = (address_value(out) | out_stride) % 4 == 0  # else no row of out ever meets a cache line's start
    store_int(context, STREAM, 1 if aligned and 4 * rows * k > 2 * last_cache else 0)
    insist(start(context, ROWS if parts == 1 else CONVERT, tasks))


@kernel
def threads_for(values, descriptor, threads):
    return worthwhile(load_ptr(descriptor, at.POOL), threads, values / VALUES_PER_US, WORTH_US)


@kernel
def quantize_entry(x, out, scales, zeros, symmetric, flip, descriptor, threads):
    """`quantize_into` on views and addresses."""
    words = descriptor.data
    insist(quantize_into(
        x.data, x.row_stride, x.rows, x.columns, out.data, out.row_stride, scales.data, zeros.data, symmetric, flip,
        load_int(words, at.WORKER), load_int(words, at.POOL), load_int(words, LAST_CACHE),
        threads_for(x.rows * x.columns, words, threads),
    ))  # fmt: skip


@kernel
def dequantize_entry(data, out, scales, zeros, zero_bytes, flip, descriptor, threads):
    """`dequantize_into` on views and addresses."""
    words = descriptor.data
    dequantize_into(
        data.data, data.row_stride, data.rows, data.columns, out.data, out.row_stride, scales.data, zeros.data,
        zero_bytes, flip, load_int(words, at.WORKER), load_int(words, at.POOL), load_int(words, LAST_CACHE),
        threads_for(data.rows * data.columns, words, threads),
    )  # fmt: skip
