"""From arrays to a running attention: fill a context, choose the tasks, run. Like linear/call.py for the linear.

Arrays have four axes (batch, head, position, dim); the last is contiguous, the others have any stride, and 0 where
one batch is used for all. The caller keeps them alive during the call. Nothing is kept after it.
"""

from __future__ import annotations

import numpy as np

from ..base.context import Context, new_context
from ..base.jit import kernel
from ..base.memory import data_ptr, keep, null
from ..threads.pool import run, worthwhile
from .context import LANES, AttentionContext, AttentionDescriptor, padded
from .decode import decode_rows
from .worker import cut

#: Multiply-adds of one thread in a microsecond, the least microseconds to give a thread, and products from which a
#: second thread may be asked.
MACS_PER_US, WORTH_US = 50_000, 1.0
FOR_TWO = int(2 * WORTH_US * MACS_PER_US)


@kernel
def attend_at(
    shape, q, q_strides, k, k_strides, v, v_strides, out, out_strides, mask, mask_bytes, mask_strides, seen, causal,
    scale, descriptor, threads,
):  # fmt: skip
    """`attend_into` on addresses: shape (B, H, S, Hkv, T, D, Dv); strides in bytes of the first three axes of each."""
    descriptor = AttentionDescriptor(descriptor)
    batch, heads, rows, key_heads, keys, dim, value_dim = shape
    if batch * heads * rows * value_dim == 0:
        return True
    group = heads // key_heads
    vectors, blocks = cut(padded(group * rows) // LANES, dim, value_dim, descriptor.most_vectors)
    decode = decode_rows(group * rows) if descriptor.decodes and (rows == 1 or causal == 0) else 0
    tasks = batch * key_heads * (1 if decode else blocks)
    pool = descriptor.pool
    macs = batch * heads * rows * keys * (dim + value_dim)
    threads = min(tasks, worthwhile(pool, threads, macs / MACS_PER_US, WORTH_US))
    context = new_context(AttentionContext, threads)
    context.worker = descriptor.worker
    context.pool = pool
    context.tasks = tasks
    context.heads = key_heads
    context.group = group
    context.rows = rows
    context.keys = keys
    context.dim = dim
    context.value_dim = value_dim
    context.causal = causal
    context.scale = np.float32(scale)
    context.q, context.k, context.v, context.out = q, k, v, out
    context.q_batch, context.q_head, context.q_row = q_strides
    context.k_batch, context.k_head, context.k_row = k_strides
    context.v_batch, context.v_head, context.v_row = v_strides
    context.out_batch, context.out_head, context.out_row = out_strides
    context.mask = mask
    context.mask_bytes = mask_bytes
    context.mask_batch, context.mask_head, context.mask_row = mask_strides
    context.seen = seen
    context.decode_rows = decode
    context.vectors = vectors
    context.blocks = blocks
    return run(Context(context), threads)


@kernel
def attend_into(q, k, v, out, mask, mask_bytes, mask_strides, seen, causal, scale, descriptor, threads):
    """float32 out [B, H, S, Dv] of q [B, H, S, D], k [B, Hkv, T, D] and v [B, Hkv, T, Dv].

    `mask`: address of booleans or floats [B, H, S, T] (mask_bytes 1 or 4; 0: none), with strides of its first three
    axes; `seen`: address of the keys of each batch, int64 [B], or NULL. `threads` 0 chooses.
    Returns whether there was enough memory: an exception would keep the arrays.
    """
    batch, heads, rows, dim = q.shape
    fine = attend_at(
        (batch, heads, rows, k.shape[1], k.shape[2], dim, v.shape[3]), data_ptr(q), q.strides[:3], data_ptr(k),
        k.strides[:3], data_ptr(v), v.strides[:3], data_ptr(out), out.strides[:3], mask, mask_bytes, mask_strides, seen,
        causal, scale, descriptor, threads,
    )  # fmt: skip
    keep(q)
    keep(k)
    keep(v)
    keep(out)
    return fine


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
