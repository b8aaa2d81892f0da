"""Several weights for the same rows in one call: one quantization of x, one round of the threads.

    table    int64 [2, weights]: addresses of descriptors, and of results [M, Ni], contiguous

Weights whose kernels differ (another scheme, long K) cannot share rows; they are told apart by the worker's address.
"""

from __future__ import annotations

from ..base import context as at
from ..base.jit import kernel
from ..base.memory import allocate, insist, is_null, load_int, load_ptr, null, offset, release, stack_zeros, store_ptr
from ..threads.partition import least_micros
from ..threads.pool import LINE, worthwhile
from .call import describe, fix_parameters, micros_of, start
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
    first = load_ptr(table, 0)
    for i in range(1, weights):
        other = load_ptr(table, i)
        for word in (at.WORKER, at.K, at.PER_TENSOR, at.ROTATION):
            if load_int(other, word) != load_int(first, word):
                return False
        if not same_columns(other, first):
            return False
    return True


@kernel
def linear_many_into(x, m, x_stride, table, weights, post_ops, threads):
    """Result i [M, Ni] = post_ops(x [M, K] · weight i), for all of the table; `threads` 0 chooses."""
    if not together(table, weights):
        return APART
    if m == 0 or weights == 0:
        return DONE
    first = load_ptr(table, 0)
    rotation = load_int(first, at.ROTATION)
    if rotation == 0:
        insist(products_into(x, m, x_stride, table, weights, post_ops, threads))
        return DONE
    k = load_int(first, at.K)
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
    """`linear_many_into` for weights that go together and x that is rotated, if it is to be; gives as `start` does."""
    micros, panels, first = 0.0, 0, load_ptr(table, 0)
    for i in range(weights):
        micros += micros_of(m, load_ptr(table, i))
        panels += load_int(load_ptr(table, i), at.PANELS)
    if panels == 0:
        return True
    threads = worthwhile(load_ptr(first, at.POOL), threads, micros, least_micros(m, load_int(first, at.MR)))
    contexts = stack_zeros(8 * (at.SIZE * weights + LINE * threads))
    head = LINE * threads * 8  # followers stand behind the first one's counters
    context = contexts
    for i in range(weights):
        descriptor = load_ptr(table, i)
        out, out_stride = load_ptr(table, weights + i), 4 * load_int(descriptor, at.N)
        describe(context, x, m, x_stride, out, out_stride, null(), 0, descriptor, post_ops)
        if i > 0:
            store_ptr(context, at.FIXED_PARAMETERS, load_ptr(contexts, at.FIXED_PARAMETERS))
        else:
            fix_parameters(context)
        following = offset(context, 8 * at.SIZE + (head if i == 0 else 0))
        if i + 1 < weights:
            store_ptr(context, at.NEXT, following)
        context = following
    return start(contexts, m, panels, threads)


@kernel
def linear_many_entry(x, table, weights, post_ops, threads):
    """`linear_many_into` on a view of x and the address of `table`."""
    return linear_many_into(x.data, x.rows, x.row_stride, table.data, weights, post_ops, threads)
