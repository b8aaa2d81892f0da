"""Several weights for the same rows in one call: x is quantized once, and the threads are started once.

    table    int64 [2, weights]: addresses of descriptors, and of results [M, Ni], contiguous

Weights with different kernels (another scheme, long K) cannot share rows. The worker's address tells them apart.
"""

from __future__ import annotations

from ..base.context import LINE
from ..base.jit import kernel
from ..base.memory import (
    address_value,
    allocate,
    insist,
    is_null,
    load_ptr,
    null,
    offset,
    release,
    stack_zeros,
)
from ..base.record import bytes_of
from ..threads.partition import least_micros
from ..threads.pool import worthwhile
from .call import describe, fix_parameters, micros_of, start
from .context import LinearContext, Weight
from .emit_rotation import rotate
from .outliers import same_columns

#: As many weights as go together: their contexts stand on the stack.
MOST = 64
#: What `linear_many_into` gives: done, or the weights do not go together; then nothing is written.
DONE, APART = 0, 1


@kernel
def together(table, weights):
    """Whether one worker can serve all weights with the same quantized rows."""
    if weights > MOST:
        return False
    first = Weight(load_ptr(table, 0))
    for i in range(1, weights):
        other = Weight(load_ptr(table, i))
        if address_value(other.worker) != address_value(first.worker) or other.k != first.k:
            return False
        if other.per_tensor != first.per_tensor or other.rotation != first.rotation or not same_columns(other, first):
            return False
    return True


@kernel
def linear_many_into(x, m, x_stride, table, weights, post_ops, threads):
    """Result i [M, Ni] = post_ops(x [M, K] · weight i), for all of the table; `threads` 0 chooses."""
    if not together(table, weights):
        return APART
    if m == 0 or weights == 0:
        return DONE
    first = Weight(load_ptr(table, 0))
    rotation = first.rotation
    if rotation == 0:
        insist(products_into(x, m, x_stride, table, weights, post_ops, threads))
        return DONE
    k = first.k
    rotated = allocate(max(1, 4 * m * k))
    fine = not is_null(rotated)
    if fine:
        rotate(rotation, x, x_stride, m, k, rotated)
        fine = products_into(rotated, m, 4 * k, table, weights, post_ops, threads)
        release(rotated)
    insist(fine)
    return DONE


@kernel
def products_into(x, m, x_stride, table, weights, post_ops, threads):
    """`linear_many_into` for weights that go together and x that is rotated if need be; returns as `start` does."""
    micros, panels, first = 0.0, 0, Weight(load_ptr(table, 0))
    for i in range(weights):
        weight = Weight(load_ptr(table, i))
        micros += micros_of(m, weight)
        panels += weight.panels
    if panels == 0:
        return True
    threads = worthwhile(first.pool, threads, micros, least_micros(m, first.mr))
    counters = 8 * LINE * threads  # followers stand behind those of the first one
    first_context = LinearContext(stack_zeros(bytes_of(LinearContext) * weights + counters))
    first_context.threads, first_context.counters = threads, offset(first_context, bytes_of(LinearContext))
    context = first_context
    for i in range(weights):
        descriptor = Weight(load_ptr(table, i))
        out, out_stride = load_ptr(table, weights + i), 4 * descriptor.n
        describe(context, x, m, x_stride, out, out_stride, null(), 0, descriptor, post_ops)
        if i > 0:
            context.fixed, context.fixed_scale = first_context.fixed, first_context.fixed_scale
            context.fixed_zero_point = first_context.fixed_zero_point
        else:
            fix_parameters(context)
        following = offset(context, bytes_of(LinearContext) + (counters if i == 0 else 0))
        if i + 1 < weights:
            context.next = following
        context = LinearContext(following)
    return start(first_context, m, panels, threads)


@kernel
def linear_many_entry(x, table, weights, post_ops, threads):
    """`linear_many_into` on a view of x and the address of `table`."""
    return linear_many_into(x.data, x.rows, x.row_stride, table.data, weights, post_ops.data, threads)
