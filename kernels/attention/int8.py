"""Attention whose products are integers (bits=8): the worker of float32 (worker.py) over rows quantized at run time.

    scratch of a thread:   blocks of k and v [n]   and what worker.py has, with scales of q

Keys and values of a head are quantized block by block when its first block of query rows needs them, and then kept,
because tasks of a head follow each other on a thread. That is about T · (D + Dv) bytes (four times as many without
VNNI). A head with one task keeps one block. There is no decode form: quantizing k and v would cost more than their
products.
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
    load_int,
    null,
    offset,
    release,
    store_f32,
    store_int,
)
from ..isa.base import InstructionSet
from ..threads.partition import share
from ..threads.tasks import tasks_of
from .context import LANES, AttentionContext, keys_of, padded
from .emit_int8_pack import value_bytes
from .intrinsics import gather, int8_intrinsics
from .reference import BLOCK
from .worker import deliver, place_rows

#: The first words of scratch: the batch and head whose keys are kept, and how many blocks of them.
PAIR, KEPT = 0, 1


@cache
def integer_attention_worker(isa: InstructionSet) -> Callable:
    """The worker of one instruction set."""
    pack_queries, pack_keys, scores, weights, values = int8_intrinsics(isa)
    size = value_bytes(isa)

    @kernel(variant=isa.name)
    def block_bytes(dim):
        """Of a block of keys or values: see attention/emit_int8_pack.py."""
        return BLOCK * (size * padded(dim) + 8)

    @kernel(variant=isa.name)
    def kept_blocks(context):
        """How many blocks of keys fit."""
        return (context.keys + BLOCK - 1) // BLOCK if context.blocks > 1 else 1

    @kernel(variant=isa.name)
    def scratch_bytes(context):
        dim, value_dim = context.dim, context.value_dim
        across = padded(dim) + padded(value_dim) + 2 * BLOCK + 11
        blocks = kept_blocks(context) * (block_bytes(dim) + block_bytes(value_dim))
        return ALIGN + blocks + LANES * context.vectors * (4 * across + 24)

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
        kept, half = kept_blocks(context), block_bytes(dim)
        each = half + block_bytes(value_dim)
        packed = offset(scratch, ALIGN)
        q = offset(packed, kept * each)
        o = offset(q, wide * padded(dim))
        s = offset(o, wide * padded(value_dim))
        bias = offset(s, wide * (BLOCK + 4))
        sums = offset(bias, wide * BLOCK)
        inverse = offset(sums, 4 * wide)
        limits = offset(inverse, wide)
        scales = offset(limits, wide)
        tables = offset(scales, wide)
        least, most = place_rows(context, batch, head, first, rows, capacity, tables, limits)

        source = offset(context.q, batch * context.q_batch)
        store_f32(inverse, 0, context.scale)
        for i in range(vectors):
            mine = offset(q, 4 * LANES * i)
            gather(0, source, offset(tables, 8 * LANES * i), dim, inverse, mine, wide)
            pack_queries(0, mine, wide, dim, offset(scales, 4 * LANES * i))
        for i in range(capacity):
            store_f32(sums, i, np.float32(-np.inf))
            store_f32(sums, capacity + i, np.float32(0))
        for i in range(capacity * value_dim):
            store_f32(o, i, np.float32(0))

        if load_int(scratch, PAIR) != pair or kept == 1:
            store_int(scratch, PAIR, pair)
            store_int(scratch, KEPT, 0)
        there = keys_of(context, batch)
        k, k_row = offset(context.k, batch * context.k_batch + head * context.k_head), context.k_row
        v, v_row = offset(context.v, batch * context.v_batch + head * context.v_head), context.v_row
        mask, mask_bytes = context.mask, context.mask_bytes
        if mask_bytes:
            mask = offset(mask, batch * context.mask_batch)
        for j in range(0, most, BLOCK):
            keys, number = min(BLOCK, most - j), j // BLOCK
            limited = least < j + keys
            integers = offset(packed, number % kept * each)
            if number >= load_int(scratch, KEPT):
                # All keys that there are, for a row of another task may see more of them.
                whole = min(BLOCK, there - j)
                pack_keys(0, offset(k, j * k_row), k_row, whole, dim, integers)
                pack_keys(1, offset(v, j * v_row), v_row, whole, value_dim, offset(integers, half))
                store_int(scratch, KEPT, number + 1)
            scores(vectors, q, dim, integers, keys, s, scales)
            if mask_bytes:
                store_f32(inverse, 0, np.float32(1))
                for i in range(vectors):
                    gather(
                        1 if mask_bytes == 1 else 0, offset(mask, j * mask_bytes),
                        offset(tables, 8 * (2 * capacity + LANES * i)), keys, inverse, offset(bias, 4 * LANES * i),
                        wide,
                    )  # fmt: skip
            value_scales = offset(integers, each - 4 * BLOCK)
            bounds = limits if limited else null()
            weights(vectors, s, keys, bias if mask_bytes else null(), bounds, j, sums, value_scales)
            values(vectors, s, offset(integers, half), keys, value_dim, offset(sums, 2 * wide), o)
        deliver(context, batch, vectors, rows, o, offset(sums, wide), inverse, tables)

    @kernel(variant=isa.name)
    def integer_attention_worker(context, index):
        context = AttentionContext(context)
        allocated = allocate(ALIGN + scratch_bytes(context))
        if is_null(allocated):
            return
        scratch = aligned(allocated)
        store_int(scratch, PAIR, -1)
        for task in tasks_of(context, index):
            attend(context, task, scratch)
        release(allocated)

    return integer_attention_worker
