"""From arrays to a running attention: fill a context, choose the tasks, run. Like linear/call.py for the linear.

Arrays have four axes (batch, head, position, dim); the last is contiguous, the others have any stride, and 0 where
one batch is used for all. The caller keeps them alive during the call. Nothing is kept after it.
"""

from __future__ import annotations

import numpy as np

from ..base import context as at
from ..base.jit import kernel
from ..base.memory import data_ptr, keep, load_int, load_ptr, null, offset, stack_zeros, store_f32, store_int, store_ptr
from ..threads.pool import LINE, run, worthwhile
from . import context as words
from .decode import decode_rows
from .worker import cut

#: A descriptor: WORKER and POOL as in the context, the vectors of rows that a register tile has, and whether the worker
#: has a decode form.
MOST_VECTORS, STREAMS = 2, 3
DESCRIPTOR_WORDS = 4
#: Multiply-adds of one thread in a microsecond, the least microseconds to give a thread, and products from which a
#: second thread may be asked.
MACS_PER_US, WORTH_US = 50_000, 1.0
FOR_TWO = int(2 * WORTH_US * MACS_PER_US)


@kernel
def place(context, first, array):
    """Address and strides of one array, in words first … first+3."""
    store_ptr(context, first, data_ptr(array))
    for axis in range(3):
        store_int(context, first + 1 + axis, array.strides[axis])
    keep(array)


@kernel
def attend_into(q, k, v, out, mask, mask_bytes, mask_strides, seen, causal, scale, descriptor, threads):
    """float32 out [B, H, S, Dv] of q [B, H, S, D], k [B, Hkv, T, D] and v [B, Hkv, T, Dv].

    `mask`: address of booleans or floats [B, H, S, T] (mask_bytes 1 or 4; 0: none), with strides of its first three
    axes; `seen`: address of the keys of each batch, int64 [B], or NULL. `threads` 0 chooses.
    Returns whether there was enough memory: an exception would keep the arrays.
    """
    batch, heads, rows, dim = q.shape
    key_heads, keys, value_dim = k.shape[1], k.shape[2], v.shape[3]
    if batch * heads * rows * value_dim == 0:
        return True
    group = heads // key_heads
    vectors, blocks = cut(words.padded(group * rows) // words.LANES, dim, value_dim, load_int(descriptor, MOST_VECTORS))
    decode = decode_rows(group * rows) if load_int(descriptor, STREAMS) and (rows == 1 or causal == 0) else 0
    tasks = batch * key_heads * (1 if decode else blocks)
    pool = load_ptr(descriptor, at.POOL)
    macs = batch * heads * rows * keys * (dim + value_dim)
    threads = min(tasks, worthwhile(pool, threads, macs / MACS_PER_US, WORTH_US))
    context = stack_zeros(8 * (words.SIZE + LINE * threads))
    store_ptr(context, at.WORKER, load_ptr(descriptor, at.WORKER))
    store_ptr(context, at.POOL, pool)
    store_int(context, at.THREADS, threads)
    store_ptr(context, at.COUNTERS, offset(context, 8 * words.SIZE))
    store_int(context, at.ROW_TASKS, tasks)
    store_int(context, words.HEADS, key_heads)
    store_int(context, words.GROUP, group)
    store_int(context, words.ROWS, rows)
    store_int(context, words.KEYS, keys)
    store_int(context, words.DIM, dim)
    store_int(context, words.VALUE_DIM, value_dim)
    store_int(context, words.CAUSAL, causal)
    store_f32(context, 2 * words.SCALE, np.float32(scale))
    place(context, words.Q, q)
    place(context, words.K, k)
    place(context, words.V, v)
    place(context, words.OUT, out)
    store_ptr(context, words.MASK, mask)
    store_int(context, words.MASK_BYTES, mask_bytes)
    for axis in range(3):
        store_int(context, words.MASK_BATCH + axis, mask_strides[axis])
    store_ptr(context, words.SEEN, seen)
    store_int(context, words.DECODE_ROWS, decode)
    store_int(context, words.VECTORS, vectors)
    store_int(context, words.BLOCKS, blocks)
    return run(context, threads, tasks)


@kernel
def attend_entry(q, k, v, out, causal, scale, descriptor, threads):
    """`attend_into` on arrays, without a mask."""
    return attend_into(q, k, v, out, null(), 0, (0, 0, 0), null(), causal, scale, descriptor.data, threads)


@kernel
def attend_masked_entry(
    q, k, v, out, mask, mask_bytes, mask_batch, mask_head, mask_row, seen, has_seen, causal, scale, descriptor, threads
):  # fmt: skip
    """`attend_into` on arrays; mask and key lengths by address."""
    return attend_into(
        q, k, v, out, mask.data, mask_bytes, (mask_batch, mask_head, mask_row),
        seen.data if has_seen else null(), causal, scale, descriptor.data, threads,
    )  # fmt: skip
