"""From arrays to a running worker: fill a context, choose the cut, go. Callable from Python and from jitted code.

Arrays come as addresses and strides in bytes; their last axes are contiguous. The caller keeps them alive for the
length of the call; nothing is kept beyond it.
"""

from __future__ import annotations

from ..base import context as at
from ..base.jit import kernel
from ..base.memory import (
    allocate,
    insist,
    is_null,
    load_int,
    load_ptr,
    offset,
    release,
    stack_zeros,
    store_f32,
    store_i32,
    store_int,
    store_ptr,
)
from ..quantize.qparams import tensor_parameters
from ..threads.partition import cut, estimate, least_micros
from ..threads.pool import LINE, run, worthwhile
from .emit_rotation import rotate
from .outliers import mask_of


@kernel
def describe(context, x, m, x_stride, out, out_stride, residual, residual_stride, descriptor, post_ops):
    """Fill a context with one weight's descriptor, and the arrays of a call."""
    for i in range(at.DESCRIPTOR_WORDS):
        store_int(context, i, load_int(descriptor, i))
    store_int(context, at.M, m)
    store_ptr(context, at.X, x)
    store_int(context, at.X_STRIDE, x_stride)
    store_ptr(context, at.OUT, out)
    store_int(context, at.OUT_STRIDE, out_stride)
    store_ptr(context, at.RESIDUAL, residual)
    store_int(context, at.RESIDUAL_STRIDE, residual_stride)
    store_int(context, at.POST_OPS, post_ops)


@kernel
def micros_of(m, descriptor):
    """`blocking.estimate` for m rows times a packed weight."""
    weight_bytes = load_int(descriptor, at.PANELS) * load_int(descriptor, at.PANEL_STRIDE)
    return estimate(m, load_int(descriptor, at.N), load_int(descriptor, at.K), weight_bytes)


@kernel
def start(context, m, panels, threads):
    """Cut m rows × `panels` weight panels, fill in the rest of the (first) context, and `parallel.run`."""
    row_tasks, column_tasks, row_block = cut(m, panels, load_int(context, at.MR), threads)
    tasks = row_tasks * column_tasks
    store_int(context, at.ALL_PANELS, panels)
    store_int(context, at.ROW_TASKS, row_tasks)
    store_int(context, at.COLUMN_TASKS, column_tasks)
    store_int(context, at.ROW_BLOCK, row_block)
    store_int(context, at.THREADS, min(threads, tasks))
    store_ptr(context, at.COUNTERS, offset(context, 8 * at.SIZE))
    return run(context, min(threads, tasks), tasks)


@kernel
def fix_parameters(context):
    """One scale and zero point for all of x, where the weight was packed for that."""
    if load_int(context, at.PER_TENSOR):
        x, x_stride = load_ptr(context, at.X), load_int(context, at.X_STRIDE)
        m, k = load_int(context, at.M), load_int(context, at.K)
        scale, zero_point = tensor_parameters(x, x_stride, m, k, mask_of(context))
        fixed = offset(context, 8 * at.SCRATCH)
        store_f32(fixed, 0, scale)
        store_i32(fixed, 1, zero_point)
        store_ptr(context, at.FIXED_PARAMETERS, fixed)


@kernel
def linear_into(x, m, x_stride, out, out_stride, residual, residual_stride, descriptor, post_ops, threads):
    """out [M, N] = post_ops(x [M, K] · packed weight), float32.

    `descriptor` is the address of the weight's words (base/context.py), `residual` NULL for none, `post_ops` an address
    or 0; `threads` 0 chooses.
    """
    rotation = load_int(descriptor, at.ROTATION)
    if rotation == 0:
        insist(product_into(x, m, x_stride, out, out_stride, residual, residual_stride, descriptor, post_ops, threads))
        return
    k = load_int(descriptor, at.K)
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
    """`linear_into` for x that is rotated, if it is to be; gives as `start` does."""
    if m == 0 or load_int(descriptor, at.N) == 0:
        return True
    least = least_micros(m, load_int(descriptor, at.MR))
    threads = worthwhile(load_ptr(descriptor, at.POOL), threads, micros_of(m, descriptor), least)
    context = stack_zeros(8 * (at.SIZE + LINE * threads))
    describe(context, x, m, x_stride, out, out_stride, residual, residual_stride, descriptor, post_ops)
    fix_parameters(context)
    return start(context, m, load_int(descriptor, at.PANELS), threads)


@kernel
def entry(x, out, residual, descriptor, post_ops, threads):
    """`linear_into` on views, whose last axes are contiguous.

    `residual` is looked at by post-ops that were compiled for one; else it may be any view.
    """
    linear_into(
        x.data, x.rows, x.row_stride, out.data, out.row_stride, residual.data, residual.row_stride,
        descriptor.data, post_ops, threads,
    )  # fmt: skip
