"""Products of float32 matrices that are both quantized at run time, a batch of them: attention's, for one.

    out[i] [M, N] = a[i] [M, K] · b[i] [K, N]        rows of a to uint8 (as a linear's), columns of b to int8:
                                                     scale = max|b| / 127, 1 where that is 0; q = rint(b / scale)

    task     one product, or some weight panels' columns of it where products are few
    worker   for each of my tasks: quantize the columns of b and lay them out as weight panels in this thread's
             scratch, then what a linear does (linear.py) with those

        b[i], column by column (K values)         bytes [N][K]          panels [words][NR][KR]
        ┌──────────────────┐                      ┌────────────┐        ┌───────────────┐
        │ rows of floats   │ ── range, convert ──▶│ int8 rows  │ ──────▶│ words side by │
        └──────────────────┘                      └────────────┘        └ side ─────────┘

Where b's columns are not contiguous, floats of NR columns are copied first. A column with NaN or an infinity has scale
NaN, and so has its result; no other column changes.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache

import numpy as np

from . import context as at
from .atomics import fetch_add_relaxed
from .blocking import share
from .conversion import fit
from .emit.intrinsics import quantize_row
from .emit.isa import InstructionSet
from .emit.quantize import BOUNDS_STRIDE
from .emit.tile import Scheme
from .jit import kernel
from .linear import task_runner
from .memory import (
    ALIGN,
    address_value,
    allocate,
    is_null,
    load_f32,
    load_i32,
    load_int,
    load_ptr,
    offset,
    release,
    stack_bytes,
    stack_zeros,
    store_f32,
    store_i32,
    store_int,
    store_ptr,
    store_u8,
)
from .pack import padded_length
from .parallel import next_task
from .quantize import BOUNDS_BYTES, find_ranges

#: A product's own words of the context, where a linear has its weight: b and its strides in bytes (K, N); how many
#: products there are in two levels, and strides in bytes from one to the next of a, b and out at each level.
B, B_ROW, B_COLUMN, INNER, A_OUTER, A_INNER, B_OUTER, B_INNER, OUT_OUTER, OUT_INNER = range(
    at.ALL_PANELS, at.ALL_PANELS + 10
)
#: Words of a product's context.
PRODUCT_WORDS = 48
assert OUT_INNER < PRODUCT_WORDS
#: Columns whose floats are copied, or whose ranges are found, at once.
TOGETHER = 16


@kernel
def gather_columns(b, b_row, b_column, count, k, floats):
    """`count` columns of b as rows of K floats. 16 values of a row of b lie side by side: a block of rows at a time."""
    for first in range(0, k, TOGETHER):
        for i in range(first, min(first + TOGETHER, k)):
            row = offset(b, i * b_row)
            for c in range(count):
                store_f32(floats, c * k + i, load_f32(offset(row, c * b_column), 0))


@cache
def column_packer(isa: InstructionSet) -> Callable:
    """``pack_columns(b, b_row, b_column, first, count, k, room, panels, stride, columns)``."""
    convert = quantize_row(isa)
    nr, k_per_word = isa.columns, isa.k_per_word

    @kernel(variant=isa.name)
    def lay_out(q, count, k, panel):
        """int8 rows [count, padded K] as words of a panel, and the lanes beyond as zeros."""
        padded = padded_length(k)
        for c in range(nr):
            row = offset(q, c * padded)
            if k_per_word == 4:
                for word in range(padded // 4):
                    store_i32(panel, word * nr + c, load_i32(row, word) if c < count else np.int32(0))
            else:
                for i in range(padded):
                    value = np.uint8(load_i32(offset(row, i & -4), 0) >> (8 * (i & 3))) if c < count else np.uint8(0)
                    store_u8(panel, ((i // k_per_word) * nr + c) * k_per_word + i % k_per_word, value)

    @kernel(variant=isa.name)
    def pack_columns(b, b_row, b_column, first, count, k, room, panels, stride, columns):
        """Columns first … first+count of b into panels, and what the epilogue needs of each (emit.tile.Output).

        `room`: NR rows of K floats, then NR rows of padded K bytes.
        """
        padded = padded_length(k)
        floats, q = room, offset(room, 4 * nr * k)
        bounds = stack_bytes(BOUNDS_BYTES)
        for p in range((count + nr - 1) // nr):
            width = min(nr, count - p * nr)
            source, step = offset(b, (first + p * nr) * b_column), b_column
            if b_row != 4 and k > 1:
                gather_columns(source, b_row, b_column, width, k, floats)
                source, step = floats, 4 * k
            words = offset(columns, 12 * p * nr)
            for c in range(nr):
                store_i32(words, c, np.int32(0))
                store_f32(words, nr + c, np.float32(0))
                store_f32(words, 2 * nr + c, np.float32(0))
            for c in range(0, width, BOUNDS_STRIDE):
                some = min(BOUNDS_STRIDE, width - c)
                find_ranges(offset(source, c * step), step, some, k, bounds)
                for j in range(some):
                    scale, zero = fit(
                        load_f32(bounds, j), load_f32(bounds, BOUNDS_STRIDE + j),
                        load_f32(bounds, 2 * BOUNDS_STRIDE + j), True,
                    )  # fmt: skip
                    row = offset(q, (c + j) * padded)
                    place = offset(words, 4 * (nr + c + j))
                    store_f32(place, 0, scale)
                    if scale == scale:
                        convert(0, offset(source, (c + j) * step), k, place, zero, 1, 128, row, 0)
                    else:
                        for i in range(k):
                            store_u8(row, i, np.uint8(0))
                    for i in range(k, padded):
                        store_u8(row, i, np.uint8(0))
                    total = np.int32(0)
                    for i in range(padded // 4):
                        four = load_i32(row, i)
                        total += (
                            np.int32(np.int8(four)) + np.int32(np.int8(four >> 8)) + np.int32(np.int8(four >> 16))
                            + (four >> 24)
                        )  # fmt: skip
                    store_i32(words, c + j, -total)
            lay_out(q, width, k, offset(panels, p * stride))

    return pack_columns


@cache
def batched_worker(isa: InstructionSet, long: bool = False) -> Callable:
    """The worker of one instruction set; `long` for K beyond pack.MAX_K."""
    form = isa if long else isa.form(0)
    row_words, run_task = task_runner(form, Scheme(), long)
    pack_columns = column_packer(form)
    nr = form.columns

    @kernel(variant=f"{'long_' if long else ''}{isa.name}")
    def batched_worker(shared, index):
        m, n, k = load_int(shared, at.M), load_int(shared, at.N), load_int(shared, at.K)
        threads, counters = load_int(shared, at.THREADS), load_ptr(shared, at.COUNTERS)
        tasks, parts, inner = load_int(shared, at.ROW_TASKS), load_int(shared, at.COLUMN_TASKS), load_int(shared, INNER)
        padded, words, panels = padded_length(k), row_words(k), (n + nr - 1) // nr
        stride, most = padded * nr, (panels + parts - 1) // parts
        # One piece of memory: packed rows with their scales and zero points, panels, column words, room of the packer.
        rows_bytes = (8 * m + 4 * m * words + 63) // 64 * 64
        sizes = most * stride, most * 12 * nr
        room_bytes = nr * (4 * k + padded) + 64
        allocated = allocate(rows_bytes + sizes[0] + sizes[1] + room_bytes + ALIGN)
        if is_null(allocated):
            return
        scratch = offset(allocated, -address_value(allocated) % ALIGN)
        scales, zero_points, packed = scratch, offset(scratch, 4 * m), offset(scratch, 8 * m)
        weights = offset(scratch, rows_bytes)
        columns = offset(weights, sizes[0])
        room = offset(columns, sizes[1])
        context = stack_zeros(8 * at.SIZE)
        for word in range(at.SIZE):
            store_int(context, word, load_int(shared, word))
        store_ptr(context, at.WEIGHTS, weights)
        store_ptr(context, at.COLUMNS, columns)
        store_int(context, at.PANEL_STRIDE, stride)
        done, held = 0, -1
        task, victim = next_task(counters, index, threads, tasks * parts, 0)
        while task >= 0:
            item, part = task // parts, task % parts
            outer, within = item // inner, item % inner
            begin, count = share(part, parts, panels)
            width = min(n, (begin + count) * nr) - begin * nr
            if count > 0:
                b = offset(load_ptr(shared, B), outer * load_int(shared, B_OUTER) + within * load_int(shared, B_INNER))
                b_column = load_int(shared, B_COLUMN)
                pack_columns(b, load_int(shared, B_ROW), b_column, begin * nr, width, k, room, weights, stride, columns)
                a = outer * load_int(shared, A_OUTER) + within * load_int(shared, A_INNER)
                out = outer * load_int(shared, OUT_OUTER) + within * load_int(shared, OUT_INNER) + 4 * begin * nr
                store_ptr(context, at.X, offset(load_ptr(shared, at.X), a))
                store_ptr(context, at.OUT, offset(load_ptr(shared, at.OUT), out))
                store_int(context, at.N, width)
                store_int(context, at.PANELS, count)
                run_task(context, 0, m, 0, count, item != held, packed, scales, zero_points)
                held = item
            done += 1
            task, victim = next_task(counters, index, threads, tasks * parts, victim)
        fetch_add_relaxed(shared, at.DONE, done)
        release(allocated)

    return batched_worker
