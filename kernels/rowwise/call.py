"""From arrays to a running float operation: fill a context, choose the tasks, run. Like quantize/call.py.

Arrays come as addresses and strides in bytes; their last axes are contiguous, and they are not empty. The caller
keeps them alive during the call. Nothing is kept after it. entry.py does this for Python.
"""

from __future__ import annotations

from ..base.context import Context, new_context
from ..base.jit import kernel
from ..base.memory import insist, is_null
from ..threads.pool import run
from .context import MapContext, NormContext, RotaryContext, RowsContext, SoftmaxContext

#: Values of a task of several threads, and of a block of contiguous values that are no rows.
TASK, BLOCK = 1 << 15, 1 << 12


@kernel
def begin(context, x, x_stride, rows, k, out, out_stride, variant, worker, pool):
    """Fill what all operations tell their workers."""
    context.worker = worker
    context.pool = pool
    context.rows = rows
    context.k = k
    context.x = x
    context.x_stride = x_stride
    context.out = out
    context.out_stride = out_stride
    context.variant = variant


@kernel
def run_rows(context):
    """Cut the rows into tasks, and run them."""
    rows, threads = context.rows, context.threads
    tasks = 1 if threads == 1 else min(rows, max(4 * threads, rows * context.k // TASK))
    threads = min(threads, tasks)
    context.threads = threads
    context.tasks = tasks
    insist(run(Context(context), threads))


@kernel
def softmax_into(
    x, x_stride, rows, k, kind, mask, shape, strides, axes, out, out_stride, worker, pool, threads
):  # fmt: skip
    """`kind` counts emit.MASKS; the mask's rows lie along `axes` axes of these lengths and strides."""
    context = new_context(SoftmaxContext, threads)
    begin(RowsContext(context), x, x_stride, rows, k, out, out_stride, kind, worker, pool)
    context.mask = mask
    context.mask_shape = shape
    context.mask_strides = strides
    context.mask_axes = axes
    run_rows(RowsContext(context))


@kernel
def norm_into(
    x, x_stride, rows, k, weight, bias, residual, residual_stride, total, total_stride, out, out_stride, eps,
    worker, pool, threads,
):  # fmt: skip
    """weight, bias (not without weight, nor of rms_norm), residual and total (not without residual) may be NULL."""
    context = new_context(NormContext, threads)
    affine = 0 if is_null(weight) else (1 if is_null(bias) else 2)
    variant = 2 * affine + (0 if is_null(residual) else 1)
    begin(RowsContext(context), x, x_stride, rows, k, out, out_stride, variant, worker, pool)
    context.weight = weight
    context.bias = bias
    context.eps = eps
    context.second = residual
    context.second_stride = residual_stride
    context.total = out if is_null(total) else total
    context.total_stride = out_stride if is_null(total) else total_stride
    run_rows(RowsContext(context))


@kernel
def map_into(
    number, x, x_stride, second, second_stride, rows, k, out, out_stride, worker, pool, threads
):  # fmt: skip
    """Function `number` of intrinsics.MAP_NAMES; contiguous arrays are cut into blocks, not rows."""
    context = new_context(MapContext, threads)
    row = 4 * k
    last = k
    if x_stride == row and second_stride == row and out_stride == row:
        values = rows * k
        k = min(values, BLOCK)
        rows = (values + BLOCK - 1) // BLOCK
        last = values - (rows - 1) * k
        x_stride = second_stride = out_stride = 4 * k
    begin(RowsContext(context), x, x_stride, rows, k, out, out_stride, number, worker, pool)
    context.last = last
    context.second = second
    context.second_stride = second_stride
    run_rows(RowsContext(context))


@kernel
def rotary_into(
    x, x_stride, rows, k, cos, sin, table_stride, half, positions, period, start, interleaved, out, out_stride,
    worker, pool, threads,
):  # fmt: skip
    """Row r stands at positions[r % period] (int64), or if that is NULL at start + r % period."""
    context = new_context(RotaryContext, threads)
    begin(RowsContext(context), x, x_stride, rows, k, out, out_stride, interleaved, worker, pool)
    context.cos = cos
    context.sin = sin
    context.table_stride = table_stride
    context.half = half
    context.positions = positions
    context.period = period
    context.start = start
    run_rows(RowsContext(context))
