"""Scaled dot-product attention, block of keys by block of keys, on the helper threads.

    out = softmax(q · kᵀ · scale + bias) · v          what it is bit for bit: reference_attention.py

    task            up to 4 vectors of 16 query rows that share keys: of one batch, one key head and all its query heads
    for 64 keys     scores ──▶ weights, sums ──▶ values              (emit/attention.py); nothing of size S × T is kept

    scratch of a thread, rows across:   q [D]   o [Dv]   s [64]   bias [64]   sums [3]   factors [1]   limits [1]
                                        and three tables: where each row of q, out and the mask lies

Query row r of a key head is position r // G of query head r % G, G the query heads per key head: with a causal mask
limits then ascend, and a block of rows stops where its last row does. k and v are read where they lie, once per task.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache

import numpy as np

from . import context as at
from .atomics import fetch_add_relaxed
from .attention_few import attend_few, few_bytes
from .attention_words import (
    BLOCKS,
    CAUSAL,
    DIM,
    FEW,
    GROUP,
    HEADS,
    K_BATCH,
    K_HEAD,
    K_ROW,
    KEYS,
    LANES,
    MASK,
    MASK_BATCH,
    MASK_BYTES,
    MASK_HEAD,
    MASK_ROW,
    OUT,
    OUT_BATCH,
    OUT_HEAD,
    OUT_ROW,
    Q_BATCH,
    Q_HEAD,
    Q_ROW,
    ROWS,
    SCALE,
    SEEN,
    V_BATCH,
    V_HEAD,
    V_ROW,
    VALUE_DIM,
    VECTORS,
    K,
    Q,
    V,
    padded,
)  # fmt: skip
from .blocking import share
from .emit.attention_doors import LIMITED, doors, gather, scatter
from .emit.isa import InstructionSet
from .jit import kernel
from .memory import (
    ALIGN,
    address_value,
    allocate,
    is_null,
    load_f32,
    load_int,
    load_ptr,
    null,
    offset,
    release,
    store_f32,
    store_i32,
    store_int,
)
from .parallel import next_task
from .reference_attention import BLOCK

#: Values of k's rows from which a block of query rows has half as many, to stay in the cache.
WIDE = 64


@kernel
def scratch_bytes(vectors, dim, value_dim):
    rows = LANES * vectors
    return rows * (4 * (padded(dim) + padded(value_dim) + 2 * BLOCK + 5) + 24)


@cache
def attention_worker(isa: InstructionSet) -> Callable:
    """The worker of one instruction set."""
    scores, weights, values = doors(isa)
    stream = attend_few(isa)

    @kernel(variant=isa.name)
    def place_rows(context, batch, head, first, rows, room, tables, limits):
        """Fill tables and limits for `room` rows, of which `rows` are there (the last one stands in for the others).

        Gives the least and the greatest limit.
        """
        group, positions, causal = load_int(context, GROUP), load_int(context, ROWS), load_int(context, CAUSAL)
        q_row, out_row, mask_row = load_int(context, Q_ROW), load_int(context, OUT_ROW), load_int(context, MASK_ROW)
        q_head, out_head, mask_head = (
            load_int(context, Q_HEAD), load_int(context, OUT_HEAD), load_int(context, MASK_HEAD),
        )  # fmt: skip
        there = load_int(context, KEYS)
        if not is_null(load_ptr(context, SEEN)):
            there = load_int(load_ptr(context, SEEN), batch)
        position, member = first // group, first % group
        least = there - positions + 1 + position if causal else there
        limit = max(least, 0)
        least = limit
        for r in range(room):
            query = head * group + member
            store_int(tables, r, position * q_row + query * q_head)
            store_int(tables, room + r, position * out_row + query * out_head)
            store_int(tables, 2 * room + r, position * mask_row + query * mask_head)
            store_i32(limits, r, np.int32(limit))
            if r + 1 < rows:
                member += 1
                if member == group:
                    member = 0
                    position += 1
                    if causal:
                        limit = max(there - positions + 1 + position, 0)
        return least, limit

    @kernel(variant=isa.name)
    def attend(context, task, scratch):
        """One block of query rows."""
        heads, blocks = load_int(context, HEADS), load_int(context, BLOCKS)
        shared = load_int(context, ROWS) * load_int(context, GROUP)
        block, pair = task % blocks, task // blocks
        batch, head = pair // heads, pair % heads
        before, vectors = share(block, blocks, (shared + LANES - 1) // LANES)
        first, room = LANES * before, LANES * vectors
        rows, wide = min(room, shared - LANES * before), 4 * LANES * vectors
        dim, value_dim = load_int(context, DIM), load_int(context, VALUE_DIM)
        q = scratch
        o = offset(q, wide * padded(dim))
        s = offset(o, wide * padded(value_dim))
        bias = offset(s, wide * BLOCK)
        sums = offset(bias, wide * BLOCK)
        inverse = offset(sums, 3 * wide)
        limits = offset(inverse, wide)
        tables = offset(limits, wide)
        least, most = place_rows(context, batch, head, first, rows, room, tables, limits)

        source = offset(load_ptr(context, Q), batch * load_int(context, Q_BATCH))
        scale = offset(context, 8 * SCALE)
        for v in range(vectors):
            gather(0, source, offset(tables, 8 * LANES * v), dim, scale, offset(q, 4 * LANES * v), wide)
        for i in range(room):
            store_f32(sums, i, np.float32(-np.inf))
            store_f32(sums, room + i, np.float32(0))
        for i in range(room * value_dim):
            store_f32(o, i, np.float32(0))

        k_row, v_row, mask_bytes = load_int(context, K_ROW), load_int(context, V_ROW), load_int(context, MASK_BYTES)
        k = offset(load_ptr(context, K), batch * load_int(context, K_BATCH) + head * load_int(context, K_HEAD))
        v = offset(load_ptr(context, V), batch * load_int(context, V_BATCH) + head * load_int(context, V_HEAD))
        mask = offset(load_ptr(context, MASK), batch * load_int(context, MASK_BATCH)) if mask_bytes else null()
        for j in range(0, most, BLOCK):
            keys = min(BLOCK, most - j)
            limited = least < j + keys
            scores(vectors, q, dim, offset(k, j * k_row), k_row, keys, s)
            if mask_bytes:
                store_f32(inverse, 0, np.float32(1))
                for i in range(vectors):
                    gather(
                        1 if mask_bytes == 1 else 0, offset(mask, j * mask_bytes),
                        offset(tables, 8 * (2 * room + LANES * i)), keys, inverse, offset(bias, 4 * LANES * i), wide,
                    )  # fmt: skip
            weights(vectors, s, keys, bias if mask_bytes else null(), limits if limited else null(), j, sums)
            values(
                vectors + LIMITED if limited else vectors, s, offset(v, j * v_row), v_row, keys, value_dim,
                offset(sums, 2 * wide), o, limits, j,
            )  # fmt: skip

        for i in range(room):
            store_f32(inverse, i, np.float32(1) / load_f32(sums, room + i))
        target = offset(load_ptr(context, OUT), batch * load_int(context, OUT_BATCH))
        for i in range(vectors):
            place = 4 * LANES * i
            scatter(
                1, offset(o, place), wide, value_dim, offset(inverse, place), offset(sums, wide + place), target,
                offset(tables, 8 * (room + LANES * i)), rows - LANES * i,
            )  # fmt: skip

    @kernel(variant=isa.name)
    def attention_worker(context, index):
        threads, counters = load_int(context, at.THREADS), load_ptr(context, at.COUNTERS)
        tasks = load_int(context, at.ROW_TASKS)
        few, dim, value_dim = load_int(context, FEW), load_int(context, DIM), load_int(context, VALUE_DIM)
        needed = few_bytes(few, dim, value_dim) if few else scratch_bytes(load_int(context, VECTORS), dim, value_dim)
        room = allocate(needed + ALIGN)
        if is_null(room):
            return
        scratch = offset(room, -address_value(room) % ALIGN)
        done = 0
        task, victim = next_task(counters, index, threads, tasks, 0)
        while task >= 0:
            if few:
                stream(context, task, scratch)
            else:
                attend(context, task, scratch)
            done += 1
            task, victim = next_task(counters, index, threads, tasks, victim)
        fetch_add_relaxed(context, at.DONE, done)
        release(room)

    return attention_worker


@kernel
def cut(vectors_there, dim, value_dim, most_vectors):
    """(vectors of the largest block, blocks) for the query rows of one key head."""
    most = most_vectors if max(dim, value_dim) <= WIDE else max(1, min(2, most_vectors))
    blocks = max(1, (vectors_there + most - 1) // most)
    return min(most, vectors_there), blocks
