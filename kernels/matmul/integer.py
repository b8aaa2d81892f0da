"""Exact integer products: int32 from 8-bit operands, both given at run time.

    out[m, n] = Σ_k (a[m, k] - za[m]) · (b[k, n] - zb[n])     modulo 2^32        (ONNX MatMulInteger-10)
              = Σ a'·b' - za'·column_sum' - (row_sum' - K·za')·zb'

a' is a on the uint8 grid and b' is b on the int8 grid: if the caller's type is the other one, the top bit of
every byte is flipped and 128 is added to the zero point. So each difference stays the same.
Layouts are those of gemm/tile.py with Output.INTEGER; the rows' words are row_sum' - K·za' and za'.
K has no bound here: int32 sums wrap, which is what modulo 2^32 means.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache

import numpy as np
from numba import carray

from ..base import context as at
from ..base.atomics import fetch_add_relaxed
from ..base.jit import kernel
from ..base.memory import (
    ALIGN,
    address_value,
    allocate,
    clear,
    data_ptr,
    is_null,
    keep,
    load_i32,
    load_int,
    load_ptr,
    load_u8,
    offset,
    release,
    stack_zeros,
    store_i32,
    store_int,
    store_ptr,
    store_u8,
)
from ..gemm.pack import padded_length
from ..gemm.portable import strip_for
from ..gemm.tile import Output, Scheme
from ..isa.base import InstructionSet
from ..threads.partition import share
from ..threads.pool import LINE, next_task, run


@kernel
def pack_columns(b, flip, zero, columns, k_per_word, stride, panels, words):
    """b [K, N] bytes into panels (zeroed), and words [panels, 3, NR] int32: -column_sum', zb'."""
    k, n = b.shape
    for j in range(n):
        words[j // columns, 1, j % columns] = zero[j]
    for i in range(k):
        row = (i // k_per_word) * columns * k_per_word + i % k_per_word
        for j in range(n):
            value = np.int8(np.uint8(b[i, j]) ^ np.uint8(flip))
            panels[(j // columns) * stride + row + (j % columns) * k_per_word] = np.uint8(value)
            words[j // columns, 0, j % columns] -= value


@cache
def integer_worker(isa: InstructionSet) -> Callable:
    """The worker of one instruction set: all rows, a range of column panels per task."""
    strip = strip_for(isa, Scheme(), Output.INTEGER)
    tallest, nr, k_per_word = isa.max_rows, isa.columns, isa.k_per_word
    variant = isa.name

    @kernel(variant=variant)
    def pack_rows(a, a_stride, flip, zero, rows, k, packed, row_sums, zero_points):
        """`rows` rows of a as one panel of words [words][rows]."""
        words = padded_length(k) // k_per_word
        for r in range(rows):
            total = 0
            for word in range(words):
                for j in range(k_per_word):
                    i = word * k_per_word + j
                    value = np.uint8(0)
                    if i < k:
                        value = np.uint8(load_u8(offset(a, r * a_stride), i) ^ np.uint8(flip))
                    total += value
                    place = (word * rows + r) * 4
                    if k_per_word == 4:
                        store_u8(packed, place + j, value)
                    else:
                        store_u8(packed, place + 2 * j, value)
                        store_u8(packed, place + 2 * j + 1, np.uint8(0))
            store_i32(row_sums, r, np.int32(total - k * np.int64(load_i32(zero, r))))
            store_i32(zero_points, r, load_i32(zero, r))

    @kernel(variant=variant)
    def integer_worker(context, index):
        m, n, k = load_int(context, at.M), load_int(context, at.N), load_int(context, at.K)
        a_stride, flip = load_int(context, at.X_STRIDE), load_int(context, at.X_FLIP)
        a, a_zero = load_ptr(context, at.X), load_ptr(context, at.X_ZERO)
        weights, panel_stride = load_ptr(context, at.WEIGHTS), load_int(context, at.PANEL_STRIDE)
        columns = load_ptr(context, at.COLUMNS)
        out, out_stride = load_ptr(context, at.OUT), load_int(context, at.OUT_STRIDE)
        tasks, threads = load_int(context, at.COLUMN_TASKS), load_int(context, at.THREADS)
        counters = load_ptr(context, at.COUNTERS)
        words = padded_length(k) // k_per_word
        panels = (n + nr - 1) // nr
        buffer = allocate(4 * tallest * (words + 2))
        if is_null(buffer):
            return
        row_sums, zero_points = buffer, offset(buffer, 4 * tallest)
        packed = offset(buffer, 8 * tallest)
        row_panels = (m + tallest - 1) // tallest
        done = 0
        task, victim = next_task(counters, index, threads, tasks, 0)
        while task >= 0:
            begin, count = share(task, tasks, panels)
            for p in range(row_panels):
                first, height = share(p, row_panels, m)
                pack_rows(
                    offset(a, first * a_stride), a_stride, flip,
                    offset(a_zero, 4 * first), height, k, packed, row_sums, zero_points,
                )  # fmt: skip
                valid = min(n - begin * nr, count * nr)
                if count > 0:
                    strip(
                        height,
                        packed,
                        offset(weights, begin * panel_stride),
                        words,
                        row_sums,
                        zero_points,
                        offset(columns, 12 * begin * nr),
                        offset(out, first * out_stride + 4 * begin * nr),
                        out_stride,
                        count,
                        panel_stride,
                        valid - (count - 1) * nr,
                        packed,
                        0,
                    )
            done += 1
            task, victim = next_task(counters, index, threads, tasks, victim)
        fetch_add_relaxed(context, at.DONE, done)
        release(buffer)

    return integer_worker


@kernel
def multiply_packed(worker, pool, a, a_flip, a_zero, n, weights, panel_stride, columns, out, threads):
    """out [M, N] int32 from a [M, K] bytes (last axis contiguous), a_zero [M] int32 and packed b.

    `pool` is the address of the pool (see threads/pool.py); 0 will do with one thread.
    """
    if a.shape[0] == 0 or n == 0:
        return True
    context = stack_zeros(8 * (at.SIZE + LINE * threads))
    store_int(context, at.WORKER, worker)
    store_int(context, at.POOL, pool)
    store_ptr(context, at.X, data_ptr(a))
    store_int(context, at.X_STRIDE, a.strides[0])
    store_int(context, at.X_FLIP, a_flip)
    store_ptr(context, at.X_ZERO, data_ptr(a_zero))
    store_ptr(context, at.OUT, data_ptr(out))
    store_int(context, at.OUT_STRIDE, out.strides[0])
    store_int(context, at.M, a.shape[0])
    store_int(context, at.N, n)
    store_int(context, at.K, a.shape[1])
    store_ptr(context, at.WEIGHTS, weights)
    store_int(context, at.PANEL_STRIDE, panel_stride)
    store_ptr(context, at.COLUMNS, columns)
    store_int(context, at.COLUMN_TASKS, threads)
    store_int(context, at.THREADS, threads)
    store_ptr(context, at.COUNTERS, offset(context, 8 * at.SIZE))
    fine = run(context, threads, threads)
    keep(a)
    keep(a_zero)
    keep(out)
    return fine


@kernel
def matmul_integer(worker, pool, nr, k_per_word, a, a_flip, a_zero, b, b_flip, b_zero, out, threads):
    """out = (a - a_zero)·(b - b_zero): a [M, K] and b [K, N] bytes, zero points int32 of the flipped grids.

    Returns whether there was enough memory: an exception would keep the arrays.
    """
    k, n = b.shape
    panels = (n + nr - 1) // nr
    stride = padded_length(k) * nr
    buffer = allocate(ALIGN + panels * (stride + 12 * nr))
    if is_null(buffer):
        return False
    packed = offset(buffer, -address_value(buffer) % ALIGN)
    columns = offset(packed, panels * stride)
    clear(packed, panels * (stride + 12 * nr))
    words = carray(columns, (panels, 3, nr), np.int32)
    pack_columns(b, b_flip, b_zero, nr, k_per_word, stride, carray(packed, (panels * stride,), np.uint8), words)
    fine = multiply_packed(worker, pool, a, a_flip, a_zero, n, packed, stride, columns, out, threads)
    release(buffer)
    return fine
