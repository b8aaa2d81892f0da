"""From arrays to running float operations: fill a context, choose the cut, go. As quantize/call.py.

Arrays come as addresses and strides in bytes; their last axes are contiguous, and there is something in them. The
caller keeps them alive for the length of the call; nothing is kept beyond it. entry.py does this for Python.
"""

from __future__ import annotations

from ..base import context as at
from ..base.jit import kernel
from ..base.memory import insist, is_null, load_int, offset, stack_zeros, store_f32, store_int, store_ptr
from ..threads.pool import LINE, run
from .worker import (
    BIAS,
    COS,
    EPS,
    HALF,
    LAST,
    MASK,
    MASK_AXES,
    MASK_SHAPE,
    MASK_STRIDES,
    PERIOD,
    POSITIONS,
    SIN,
    START,
    TABLE_STRIDE,
    TOTAL,
    TOTAL_STRIDE,
    VARIANT,
    WEIGHT,
)

#: Values of a task of several threads, and of a block of contiguous values that are no rows.
TASK, BLOCK = 1 << 15, 1 << 12


@kernel
def begin(context, x, x_stride, rows, k, out, out_stride, variant, worker, pool, threads):
    """Fill what all operations tell their workers. The context is of `context_bytes(threads)` bytes."""
    store_int(context, at.WORKER, worker)
    store_int(context, at.POOL, pool)
    store_int(context, at.M, rows)
    store_int(context, at.K, k)
    store_int(context, LAST, k)
    store_ptr(context, at.X, x)
    store_int(context, at.X_STRIDE, x_stride)
    store_ptr(context, at.OUT, out)
    store_int(context, at.OUT_STRIDE, out_stride)
    store_int(context, VARIANT, variant)
    store_int(context, at.THREADS, threads)
    store_ptr(context, at.COUNTERS, offset(context, 8 * at.SIZE))


@kernel
def context_bytes(threads):
    return 8 * (at.SIZE + LINE * threads)


@kernel
def finish(context):
    """Cut the rows into tasks, and run them."""
    rows, threads = load_int(context, at.M), load_int(context, at.THREADS)
    tasks = 1 if threads == 1 else min(rows, max(4 * threads, rows * load_int(context, at.K) // TASK))
    threads = min(threads, tasks)
    store_int(context, at.THREADS, threads)
    store_int(context, at.ROW_TASKS, tasks)
    insist(run(context, threads, tasks))


@kernel
def softmax_into(
    x, x_stride, rows, k, kind, mask, shape, strides, axes, out, out_stride, worker, pool, threads
):  # fmt: skip
    """`kind` counts emit.MASKS; the mask's rows lie along `axes` axes of these lengths and strides."""
    context = stack_zeros(context_bytes(threads))
    begin(context, x, x_stride, rows, k, out, out_stride, kind, worker, pool, threads)
    store_ptr(context, MASK, mask)
    store_ptr(context, MASK_SHAPE, shape)
    store_ptr(context, MASK_STRIDES, strides)
    store_int(context, MASK_AXES, axes)
    finish(context)


@kernel
def norm_into(
    x, x_stride, rows, k, weight, bias, residual, residual_stride, total, total_stride, out, out_stride, eps,
    worker, pool, threads,
):  # fmt: skip
    """weight, bias (not without weight, nor of rms_norm), residual and total (not without residual) may be NULL."""
    context = stack_zeros(context_bytes(threads))
    affine = 0 if is_null(weight) else (1 if is_null(bias) else 2)
    variant = 2 * affine + (0 if is_null(residual) else 1)
    begin(context, x, x_stride, rows, k, out, out_stride, variant, worker, pool, threads)
    store_ptr(context, WEIGHT, weight)
    store_ptr(context, BIAS, bias)
    store_f32(context, 2 * EPS, eps)
    store_ptr(context, at.RESIDUAL, residual)
    store_int(context, at.RESIDUAL_STRIDE, residual_stride)
    store_ptr(context, TOTAL, out if is_null(total) else total)
    store_int(context, TOTAL_STRIDE, out_stride if is_null(total) else total_stride)
    finish(context)


@kernel
def map_into(
    number, x, x_stride, second, second_stride, rows, k, out, out_stride, worker, pool, threads
):  # fmt: skip
    """Function `number` of intrinsics.MAP_NAMES; contiguous arrays are cut into blocks, not rows."""
    context = stack_zeros(context_bytes(threads))
    row = 4 * k
    last = k
    if x_stride == row and second_stride == row and out_stride == row:
        values = rows * k
        k = min(values, BLOCK)
        rows = (values + BLOCK - 1) // BLOCK
        last = values - (rows - 1) * k
        x_stride = second_stride = out_stride = 4 * k
    begin(context, x, x_stride, rows, k, out, out_stride, number, worker, pool, threads)
    store_int(context, LAST, last)
    store_ptr(context, at.RESIDUAL, second)
    store_int(context, at.RESIDUAL_STRIDE, second_stride)
    finish(context)


@kernel
def rotary_into(
    x, x_stride, rows, k, cos, sin, table_stride, half, positions, period, start, interleaved, out, out_stride,
    worker, pool, threads,
):  # fmt: skip
    """Row r stands at positions[r % period] (int64), or where that is NULL at start + r % period."""
    context = stack_zeros(context_bytes(threads))
    begin(context, x, x_stride, rows, k, out, out_stride, interleaved, worker, pool, threads)
    store_ptr(context, COS, cos)
    store_ptr(context, SIN, sin)
    store_int(context, TABLE_STRIDE, table_stride)
    store_int(context, HALF, half)
    store_ptr(context, POSITIONS, positions)
    store_int(context, PERIOD, period)
    store_int(context, START, start)
    finish(context)
