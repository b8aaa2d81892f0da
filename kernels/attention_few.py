"""Attention of so few query rows per key head that a decode step is the model: k and v are streamed once.

One task is one key head of one batch with all its query rows, 1 to 8, all of which see the same keys. What comes out
is what `attention.py` would give, bit for bit; the emitted code is emit/attention_few.py.

    scratch of a thread:   q [rows][D]   o [rows][Dv]   s [rows][64]   sums [3][rows]   total [rows]
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache

import numpy as np

from .attention_words import (
    DIM,
    FEW,
    GROUP,
    HEADS,
    K_BATCH,
    K_HEAD,
    K_ROW,
    KEYS,
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
    K,
    Q,
    V,
    padded,
)  # fmt: skip
from .emit.attention_doors import few_doors
from .emit.intrinsics import fma
from .emit.isa import InstructionSet
from .jit import kernel
from .memory import is_null, load_f32, load_int, load_ptr, offset, store_f32
from .reference_attention import BLOCK


@kernel
def few_bytes(rows, dim, value_dim):
    return 4 * rows * (padded(dim) + padded(value_dim) + BLOCK + 4)


@kernel
def few_rows(rows):
    """How many rows are computed where there are `rows`: 1, 2, 4 or 8; 0 where they are too many."""
    if rows > 8:
        return 0
    if rows > 4:
        return 8
    return 4 if rows > 2 else rows


@cache
def attend_few(isa: InstructionSet) -> Callable:
    """``attend(context, task, scratch)`` of one instruction set."""
    scores, weights, values = few_doors(isa)

    @kernel(variant=isa.name)
    def attend(context, task, scratch):
        heads, group, rows = load_int(context, HEADS), load_int(context, GROUP), load_int(context, FEW)
        dim, value_dim = load_int(context, DIM), load_int(context, VALUE_DIM)
        batch, head = task // heads, task % heads
        there = group * load_int(context, ROWS)
        q, q_wide, wide = scratch, 4 * padded(dim), 4 * padded(value_dim)
        o = offset(q, rows * q_wide)
        s = offset(o, rows * wide)
        sums = offset(s, 4 * rows * BLOCK)
        totals = offset(sums, 12 * rows)

        scale = load_f32(context, 2 * SCALE)
        source = offset(load_ptr(context, Q), batch * load_int(context, Q_BATCH))
        for r in range(rows):
            which = min(r, there - 1)
            query = head * group + which % group
            row = offset(source, query * load_int(context, Q_HEAD) + which // group * load_int(context, Q_ROW))
            mine = offset(q, r * q_wide)
            for d in range(dim):
                store_f32(mine, d, load_f32(row, d) * scale)
            for d in range(dim, padded(dim)):
                store_f32(mine, d, np.float32(0))
            store_f32(sums, r, np.float32(-np.inf))
            store_f32(totals, r, np.float32(0))
        for i in range(rows * padded(value_dim)):
            store_f32(o, i, np.float32(0))

        count = load_int(context, KEYS)
        if not is_null(load_ptr(context, SEEN)):
            count = load_int(load_ptr(context, SEEN), batch)
        k_row, v_row = load_int(context, K_ROW), load_int(context, V_ROW)
        k = offset(load_ptr(context, K), batch * load_int(context, K_BATCH) + head * load_int(context, K_HEAD))
        v = offset(load_ptr(context, V), batch * load_int(context, V_BATCH) + head * load_int(context, V_HEAD))
        for j in range(0, count, BLOCK):
            keys = min(BLOCK, count - j)
            here, following = offset(v, j * v_row), offset(k, (j + BLOCK) * k_row)
            scores(rows, q, dim, offset(k, j * k_row), k_row, keys, s, here, v_row)
            weights(rows, s, keys, sums)
            values(rows, s, here, v_row, keys, value_dim, sums, o, following, k_row)
            for r in range(rows):
                total = fma(load_f32(totals, r), load_f32(sums, 2 * rows + r), load_f32(sums, rows + r))
                store_f32(totals, r, total)

        target = offset(load_ptr(context, OUT), batch * load_int(context, OUT_BATCH))
        for r in range(there):
            query = head * group + r % group
            row = offset(target, query * load_int(context, OUT_HEAD) + r // group * load_int(context, OUT_ROW))
            mine, total = offset(o, r * wide), load_f32(totals, r)
            if total == np.float32(0):
                for d in range(value_dim):
                    store_f32(row, d, np.float32(0))
            else:
                inverse = np.float32(1) / total
                for d in range(value_dim):
                    store_f32(row, d, load_f32(mine, d) * inverse + np.float32(0))

    return attend
