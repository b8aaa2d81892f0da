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

from ..base.context import Context, new_context
from ..base.jit import kernel
from ..base.memory import (
    ALIGN,
    aligned,
    allocate,
    clear,
    data_ptr,
    is_null,
    keep,
    load_i32,
    load_u8,
    offset,
    release,
    store_i32,
    store_u8,
)
from ..gemm.pack import padded_length
from ..gemm.portable import strip_for
from ..gemm.tile import Output, Scheme
from ..isa.base import InstructionSet
from ..threads.partition import share
from ..threads.pool import run
from ..threads.tasks import tasks_of
from .context import IntegerContext


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
        context = IntegerContext(context)
        m, n, k = context.m, context.n, context.k
        a_stride, flip = context.a_stride, context.a_flip
        a, a_zero = context.a, context.a_zero
        weights, panel_stride = context.panels, context.panel_stride
        columns = context.columns
        out, out_stride = context.out, context.out_stride
        tasks = context.tasks
        words = padded_length(k) // k_per_word
        panels = (n + nr - 1) // nr
        buffer = allocate(4 * tallest * (words + 2))
        if is_null(buffer):
            return
        row_sums, zero_points = buffer, offset(buffer, 4 * tallest)
        packed = offset(buffer, 8 * tallest)
        row_panels = (m + tallest - 1) // tallest
        for task in tasks_of(context, index):
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
        release(buffer)

    return integer_worker


@kernel
def multiply_packed(worker, pool, a, a_flip, a_zero, n, weights, panel_stride, columns, out, threads):
    """out [M, N] int32 from a [M, K] bytes (last axis contiguous), a_zero [M] int32 and packed b.

    `pool` is the address of the pool (see threads/pool.py); NULL will do with one thread.
    """
    if a.shape[0] == 0 or n == 0:
        return True
    context = new_context(IntegerContext, threads)
    context.worker = worker
    context.pool = pool
    context.a = data_ptr(a)
    context.a_stride = a.strides[0]
    context.a_flip = a_flip
    context.a_zero = data_ptr(a_zero)
    context.out = data_ptr(out)
    context.out_stride = out.strides[0]
    context.m = a.shape[0]
    context.n = n
    context.k = a.shape[1]
    context.panels = weights
    context.panel_stride = panel_stride
    context.columns = columns
    context.tasks = threads
    fine = run(Context(context), threads)
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
    packed = aligned(buffer)
    columns = offset(packed, panels * stride)
    clear(packed, panels * (stride + 12 * nr))
    words = carray(columns, (panels, 3, nr), np.int32)
    pack_columns(b, b_flip, b_zero, nr, k_per_word, stride, carray(packed, (panels * stride,), np.uint8), words)
    fine = multiply_packed(worker, pool, a, a_flip, a_zero, n, packed, stride, columns, out, threads)
    release(buffer)
    return fine


@kernel
def matmul_integer_entry(worker, pool, nr, k_per_word, a, a_flip, a_zero, b, b_flip, b_zero, out, threads):
    """`matmul_integer` with addresses from Python."""
    return matmul_integer(
        worker.data, pool.data, nr, k_per_word, a, a_flip, a_zero, b, b_flip, b_zero, out, threads
    )  # fmt: skip
