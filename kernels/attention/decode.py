"""Attention of few query rows per key head, as in a decode step: k and v are read once.

One task is one key head of one batch with all its query rows, 1 to 8, which all see the same keys. The
result has the bits of `worker.py`. The emitted code is attention/emit_decode.py.

    scratch of a thread:   q [rows][D]   o [rows][Dv]   s, bias [rows][64]   sums [3][rows]   total [rows]
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache

import numpy as np

from ..base.jit import kernel
from ..base.memory import load_f32, load_u8, null, offset, store_f32
from ..isa.base import InstructionSet
from ..isa.intrinsics import fma
from .context import keys_of, padded
from .intrinsics import decode_intrinsics
from .reference import BLOCK


@kernel
def decode_bytes(rows, dim, value_dim):
    return 4 * rows * (padded(dim) + padded(value_dim) + 2 * BLOCK + 4)


@kernel
def decode_rows(rows):
    """How many rows are computed where there are `rows`: 1, 2, 4 or 8; 0 where they are too many."""
    if rows > 8:
        return 0
    if rows > 4:
        return 8
    return 4 if rows > 2 else rows


@kernel
def spread(mask, mask_bytes, keys, bias):
    """A row's mask of some keys as floats to add."""
    if mask_bytes == 1:
        for j in range(keys):
            store_f32(bias, j, np.float32(0) if load_u8(mask, j) else np.float32(-np.inf))
    else:
        for j in range(keys):
            store_f32(bias, j, load_f32(mask, j))


@cache
def decode_task(isa: InstructionSet) -> Callable:
    """``attend(context, task, scratch)`` of one instruction set."""
    scores, weights, values = decode_intrinsics(isa)

    @kernel(variant=isa.name)
    def attend(context, task, scratch):
        heads, group = context.heads, context.group
        rows = context.decode_rows
        dim, value_dim = context.dim, context.value_dim
        batch, head = task // heads, task % heads
        there = group * context.rows
        q, q_wide, wide = scratch, 4 * padded(dim), 4 * padded(value_dim)
        o = offset(q, rows * q_wide)
        s = offset(o, rows * wide)
        bias = offset(s, 4 * rows * BLOCK)
        sums = offset(bias, 4 * rows * BLOCK)
        totals = offset(sums, 12 * rows)

        scale = context.scale
        for r in range(rows):
            which = min(r, there - 1)
            source = offset(context.q, batch * context.q_batch + (head * group + which % group) * context.q_head)
            row = offset(source, which // group * context.q_row)
            mine = offset(q, r * q_wide)
            for d in range(dim):
                store_f32(mine, d, load_f32(row, d) * scale)
            for d in range(dim, padded(dim)):
                store_f32(mine, d, np.float32(0))
            store_f32(sums, r, np.float32(-np.inf))
            store_f32(totals, r, np.float32(0))
        for i in range(rows * padded(value_dim)):
            store_f32(o, i, np.float32(0))

        count = keys_of(context, batch)
        k, k_row = offset(context.k, batch * context.k_batch + head * context.k_head), context.k_row
        v, v_row = offset(context.v, batch * context.v_batch + head * context.v_head), context.v_row
        mask_bytes = context.mask_bytes
        for j in range(0, count, BLOCK):
            keys = min(BLOCK, count - j)
            here, following = offset(v, j * v_row), offset(k, (j + BLOCK) * k_row)
            scores(rows, q, dim, offset(k, j * k_row), k_row, keys, s, here, v_row)
            if mask_bytes:
                for r in range(rows):
                    which = min(r, there - 1)
                    place = batch * context.mask_batch + (head * group + which % group) * context.mask_head
                    row = offset(context.mask, place + which // group * context.mask_row + j * mask_bytes)
                    spread(row, mask_bytes, keys, offset(bias, 4 * r * BLOCK))
            weights(rows, s, keys, bias if mask_bytes else null(), sums)
            values(rows, s, here, v_row, keys, value_dim, sums, o, following, k_row)
            for r in range(rows):
                total = fma(load_f32(totals, r), load_f32(sums, 2 * rows + r), load_f32(sums, rows + r))
                store_f32(totals, r, total)

        for r in range(there):
            target = offset(context.out, batch * context.out_batch + (head * group + r % group) * context.out_head)
            row = offset(target, r // group * context.out_row)
            mine, total = offset(o, r * wide), load_f32(totals, r)
            if total == np.float32(0):
                for d in range(value_dim):
                    store_f32(row, d, np.float32(0))
            else:
                inverse = np.float32(1) / total
                for d in range(value_dim):
                    store_f32(row, d, load_f32(mine, d) * inverse + np.float32(0))

    return attend
