"""Scaled dot-product attention, block of keys by block of keys, on the helper threads.

    out = softmax(q · kᵀ · scale + bias) · v          defined bit for bit in reference.py

    task            up to 4 vectors of 16 query rows that share keys: of one batch, one key head and all its query heads
    for 64 keys     scores ──▶ weights, sums ──▶ values              (attention/emit.py); nothing of size S × T is kept

    scratch of a thread, rows across:   q [D]   o [Dv]   s [64]   bias [64]   sums [3]   factors [1]   limits [1]
                                        and three tables: where each row of q, out and the mask lies

Query row r of a key head is position r // G of query head r % G, G the query heads per key head: with a causal mask
the limits then ascend, and a block of rows stops where its last row stops. k and v are not copied, and read once per
task.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache

import numpy as np

from ..base.jit import kernel
from ..base.memory import (
    ALIGN,
    aligned,
    allocate,
    is_null,
    load_f32,
    null,
    offset,
    release,
    store_f32,
    store_i32,
    store_int,
)
from ..isa.base import InstructionSet
from ..threads.partition import share
from ..threads.tasks import tasks_of
from .context import LANES, AttentionContext, keys_of, padded
from .decode import decode_bytes, decode_task
from .intrinsics import LIMITED, float_intrinsics, gather, scatter
from .reference import BLOCK

#: Values of k's rows from which a block of query rows has half as many, to stay in the cache.
WIDE = 64


@kernel
def scratch_bytes(vectors, dim, value_dim):
    rows = LANES * vectors
    return rows * (4 * (padded(dim) + padded(value_dim) + 2 * BLOCK + 5) + 24)


@kernel
def place_rows(context, batch, head, first, rows, capacity, tables, limits):
    """Fill tables and limits for `capacity` rows, of which `rows` exist (the last one also stands for the others).

    Returns the least and the greatest limit.
    """
    group, positions = context.group, context.rows
    causal, there = context.causal, keys_of(context, batch)
    q_row, out_row, mask_row = context.q_row, context.out_row, context.mask_row
    q_head, out_head, mask_head = context.q_head, context.out_head, context.mask_head
    position, member = first // group, first % group
    least = there - positions + 1 + position if causal else there
    limit = max(least, 0)
    least = limit
    for r in range(capacity):
        query = head * group + member
        store_int(tables, r, position * q_row + query * q_head)
        store_int(tables, capacity + r, position * out_row + query * out_head)
        store_int(tables, 2 * capacity + r, position * mask_row + query * mask_head)
        store_i32(limits, r, np.int32(limit))
        if r + 1 < rows:
            member += 1
            if member == group:
                member = 0
                position += 1
                if causal:
                    limit = max(there - positions + 1 + position, 0)
    return least, limit


@kernel
def deliver(context, batch, vectors, rows, o, totals, inverse, tables):
    """Write `rows` rows of out: o [Dv][16 · vectors] over the sums of their weights."""
    capacity, value_dim = LANES * vectors, context.value_dim
    for i in range(capacity):
        store_f32(inverse, i, np.float32(1) / load_f32(totals, i))
    target = offset(context.out, batch * context.out_batch)
    for i in range(vectors):
        place = 4 * LANES * i
        scatter(
            1, offset(o, place), 4 * capacity, value_dim, offset(inverse, place), offset(totals, place), target,
            offset(tables, 8 * (capacity + LANES * i)), rows - LANES * i,
        )  # fmt: skip


@cache
def attention_worker(isa: InstructionSet) -> Callable:
    """The worker of one instruction set."""
    scores, weights, values = float_intrinsics(isa)
    stream = decode_task(isa)

    @kernel(variant=isa.name)
    def attend(context, task, scratch):
        """One block of query rows."""
        heads, blocks = context.heads, context.blocks
        shared = context.rows * context.group
        block, pair = task % blocks, task // blocks
        batch, head = pair // heads, pair % heads
        before, vectors = share(block, blocks, (shared + LANES - 1) // LANES)
        first, capacity = LANES * before, LANES * vectors
        rows, wide = min(capacity, shared - LANES * before), 4 * LANES * vectors
        dim, value_dim = context.dim, context.value_dim
        q = scratch
        o = offset(q, wide * padded(dim))
        s = offset(o, wide * padded(value_dim))
        bias = offset(s, wide * BLOCK)
        sums = offset(bias, wide * BLOCK)
        inverse = offset(sums, 3 * wide)
        limits = offset(inverse, wide)
        tables = offset(limits, wide)
        least, most = place_rows(context, batch, head, first, rows, capacity, tables, limits)

        source = offset(context.q, batch * context.q_batch)
        store_f32(inverse, 0, context.scale)
        for v in range(vectors):
            gather(0, source, offset(tables, 8 * LANES * v), dim, inverse, offset(q, 4 * LANES * v), wide)
        for i in range(capacity):
            store_f32(sums, i, np.float32(-np.inf))
            store_f32(sums, capacity + i, np.float32(0))
        for i in range(capacity * value_dim):
            store_f32(o, i, np.float32(0))

        k, k_row = offset(context.k, batch * context.k_batch + head * context.k_head), context.k_row
        v, v_row = offset(context.v, batch * context.v_batch + head * context.v_head), context.v_row
        mask, mask_bytes = context.mask, context.mask_bytes
        if mask_bytes:
            mask = offset(mask, batch * context.mask_batch)
        for j in range(0, most, BLOCK):
            keys = min(BLOCK, most - j)
            limited = least < j + keys
            scores(vectors, q, dim, offset(k, j * k_row), k_row, keys, s)
            if mask_bytes:
                store_f32(inverse, 0, np.float32(1))
                for i in range(vectors):
                    gather(
                        1 if mask_bytes == 1 else 0, offset(mask, j * mask_bytes),
                        offset(tables, 8 * (2 * capacity + LANES * i)), keys, inverse, offset(bias, 4 * LANES * i),
                        wide,
                    )  # fmt: skip
            weights(vectors, s, keys, bias if mask_bytes else null(), limits if limited else null(), j, sums)
            values(
                vectors + LIMITED if limited else vectors, s, offset(v, j * v_row), v_row, keys, value_dim,
                offset(sums, 2 * wide), o, limits, j,
            )  # fmt: skip

        deliver(context, batch, vectors, rows, o, offset(sums, wide), inverse, tables)

    @kernel(variant=isa.name)
    def attention_worker(context, index):
        context = AttentionContext(context)
        decode, vectors = context.decode_rows, context.vectors
        dim, value_dim = context.dim, context.value_dim
        needed = decode_bytes(decode, dim, value_dim) if decode else scratch_bytes(vectors, dim, value_dim)
        allocated = allocate(ALIGN + needed)
        if is_null(allocated):
            return
        scratch = aligned(allocated)
        for task in tasks_of(context, index):
            if decode:
                stream(context, task, scratch)
            else:
                attend(context, task, scratch)
        release(allocated)

    return attention_worker


@kernel
def cut(vectors_there, dim, value_dim, most_vectors):
    """(vectors of the largest block, blocks) for the query rows of one key head."""
    most = most_vectors if max(dim, value_dim) <= WIDE else max(1, min(2, most_vectors))
    blocks = max(1, (vectors_there + most - 1) // most)
    return min(most, vectors_there), blocks
