"""From arrays to a running worker: fill a context, choose the tasks, run. Callable from Python and from jitted code.

Arrays come as addresses and strides in bytes; their last axes are contiguous. The caller keeps them alive during the
call. Nothing is kept after it.
"""

from __future__ import annotations

from ..base.context import Context, new_context
from ..base.jit import kernel
from ..base.memory import (
    allocate,
    copy_bytes,
    insist,
    is_null,
    offset,
    release,
)
from ..quantize.qparams import BYTE, HALF, tensor_parameters
from ..threads.partition import cut, estimate, least_micros
from ..threads.pool import run, worthwhile
from .context import WEIGHT_BYTES, LinearContext, Weight
from .emit_rotation import rotate
from .outliers import mask_of

#: Where the fields of a weight begin, behind those of every context.
OWN = 8 * Weight.n


@kernel
def describe(context, x, m, x_stride, out, out_stride, residual, residual_stride, descriptor, post_ops):
    """Fill a context with one weight's descriptor, and the arrays of a call."""
    context.worker = descriptor.worker
    context.pool = descriptor.pool
    copy_bytes(offset(context, OWN), offset(descriptor, OWN), WEIGHT_BYTES - OWN)
    context.m = m
    context.x = x
    context.x_stride = x_stride
    context.out = out
    context.out_stride = out_stride
    context.residual = residual
    context.residual_stride = residual_stride
    context.post_ops = post_ops


@kernel
def micros_of(m, descriptor):
    """`partition.estimate` for m rows times a packed weight."""
    weight_bytes = descriptor.panels * descriptor.panel_stride
    return estimate(m * descriptor.x_bits // 8, descriptor.n, descriptor.k, weight_bytes)


@kernel
def start(context, m, panels, threads):
    """Cut m rows × `panels` weight panels, fill in the rest of the (first) context, and `pool.run`."""
    row_tasks, column_tasks, row_block = cut(m, panels, context.mr, threads)
    tasks = row_tasks * column_tasks
    context.all_panels = panels
    context.row_tasks = row_tasks
    context.column_tasks = column_tasks
    context.row_block = row_block
    context.tasks = tasks
    context.threads = min(threads, tasks)
    return run(Context(context), min(threads, tasks))


@kernel
def fix_parameters(context):
    """One scale and zero point for all of x, where the weight was packed for that."""
    if context.per_tensor:
        x, x_stride, m, k = context.x, context.x_stride, context.m, context.k
        context.fixed = 1
        steps = HALF if context.x_bits == 16 else BYTE
        context.fixed_scale, context.fixed_zero_point = tensor_parameters(x, x_stride, m, k, mask_of(context), steps)


@kernel
def linear_into(x, m, x_stride, out, out_stride, residual, residual_stride, descriptor, post_ops, threads):
    """out [M, N] = post_ops(x [M, K] · packed weight), float32.

    `descriptor` is a Weight; `residual` and `post_ops` may be NULL; `threads` 0 chooses.
    """
    descriptor = Weight(descriptor)
    rotation = descriptor.rotation
    if rotation == 0:
        insist(product_into(x, m, x_stride, out, out_stride, residual, residual_stride, descriptor, post_ops, threads))
        return
    k = descriptor.k
    rotated = allocate(max(1, 4 * m * k))
    fine = not is_null(rotated)
    if fine:
        rotate(rotation, x, x_stride, m, k, rotated)
        fine = product_into(
            rotated, m, 4 * k, out, out_stride, residual, residual_stride, descriptor, post_ops, threads
        )  # fmt: skip
        release(rotated)
    insist(fine)


@kernel
def product_into(x, m, x_stride, out, out_stride, residual, residual_stride, descriptor, post_ops, threads):
    """`linear_into` for x that is rotated, if it is to be; returns as `start` does."""
    if m == 0 or descriptor.n == 0:
        return True
    least = least_micros(m, descriptor.mr)
    threads = worthwhile(descriptor.pool, threads, micros_of(m, descriptor), least)
    context = new_context(LinearContext, threads)
    describe(context, x, m, x_stride, out, out_stride, residual, residual_stride, descriptor, post_ops)
    fix_parameters(context)
    return start(context, m, descriptor.panels, threads)


@kernel
def entry(x, out, residual, descriptor, post_ops, threads):
    """`linear_into` on views, whose last axes are contiguous.

    `residual` is looked at by post-ops that were compiled for one; else it may be any view.
    """
    linear_into(
        x.data, x.rows, x.row_stride, out.data, out.row_stride, residual.data, residual.row_stride,
        descriptor.data, post_ops.data, threads,
    )  # fmt: skip
