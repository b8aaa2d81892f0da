"""From arrays to a running conversion: fill a context, choose the tasks, run. Like linear/call.py for the linear.

Arrays come as addresses and strides in bytes; their last axes are contiguous. The caller keeps them alive during the
call. Nothing is kept after it.
"""

from __future__ import annotations

import numpy as np

from ..base.context import LINE, Context, new_context
from ..base.jit import kernel
from ..base.memory import (
    address_value,
    allocate,
    insist,
    is_null,
    load_f32,
    release,
    store_f32,
    store_int,
    store_u8,
)
from ..threads.pool import run, worthwhile
from .context import ConversionContext, ConversionDescriptor
from .emit import BOUNDS_STRIDE
from .qparams import BOUNDS_BYTES
from .worker import CONVERT, PART, RANGES, ROWS, fit

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
    """`pool.run` a step: counters from 0, nothing done yet."""
    threads = context.threads
    for i in range(threads):
        store_int(context.counters, LINE * i, 0)
    context.done = 0
    context.step = step
    context.tasks = tasks
    return run(Context(context), threads)


@kernel
def fill(context, x, x_stride, rows, k, out, out_stride, scales, zeros, flip, worker, pool, parts):
    """What both operations tell their workers."""
    context.worker = worker
    context.pool = pool
    context.rows = rows
    context.k = k
    context.x = x
    context.x_stride = x_stride
    context.flip = flip
    context.zeros = zeros
    context.out = out
    context.out_stride = out_stride
    context.scales = scales
    context.parts = parts


@kernel
def quantize_into(
    x, x_stride, rows, k, out, out_stride, scales, zeros, symmetric, flip, worker, pool, last_cache, threads
):  # fmt: skip
    """uint8 out [rows, k], float32 scales [rows] and uint8 zeros [rows] from x; strides in bytes, k contiguous.

    All bytes are flipped by `flip`. `pool` may be NULL with one thread. Returns whether there was enough memory.
    """
    if rows == 0:
        return True
    threads, tasks, parts = cut(rows, k, threads)
    context = new_context(ConversionContext, threads)
    fill(context, x, x_stride, rows, k, out, out_stride, scales, zeros, flip, worker, pool, parts)
    context.symmetric = symmetric
    context.stream = 1 if 4 * rows * k > 2 * last_cache else 0
    if parts == 1:
        return start(context, ROWS, tasks)
    buffer = allocate(tasks * BOUNDS_BYTES)
    if is_null(buffer):
        return False
    context.bounds = buffer
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
    context = new_context(ConversionContext, threads)
    fill(context, data, data_stride, rows, k, out, out_stride, scales, zeros, flip, worker, pool, parts)
    context.zero_bytes = zero_bytes
    aligned = (address_value(out) | out_stride) % 4 == 0  # else no row of out ever meets a cache line's start
    context.stream = 1 if aligned and 4 * rows * k > 2 * last_cache else 0
    insist(start(context, ROWS if parts == 1 else CONVERT, tasks))


@kernel
def threads_for(values, descriptor, threads):
    return worthwhile(descriptor.pool, threads, values / VALUES_PER_US, WORTH_US)


@kernel
def quantize_entry(x, out, scales, zeros, symmetric, flip, descriptor, threads):
    """`quantize_into` on views and addresses."""
    descriptor = ConversionDescriptor(descriptor.data)
    insist(quantize_into(
        x.data, x.row_stride, x.rows, x.columns, out.data, out.row_stride, scales.data, zeros.data, symmetric, flip,
        descriptor.worker, descriptor.pool, descriptor.last_cache,
        threads_for(x.rows * x.columns, descriptor, threads),
    ))  # fmt: skip


@kernel
def dequantize_entry(data, out, scales, zeros, zero_bytes, flip, descriptor, threads):
    """`dequantize_into` on views and addresses."""
    descriptor = ConversionDescriptor(descriptor.data)
    dequantize_into(
        data.data, data.row_stride, data.rows, data.columns, out.data, out.row_stride, scales.data, zeros.data,
        zero_bytes, flip, descriptor.worker, descriptor.pool, descriptor.last_cache,
        threads_for(data.rows * data.columns, descriptor, threads),
    )  # fmt: skip
