"""A batch of products of float32 matrices that are both quantized at run time, as in attention.

    out[i] [M, N] = a[i] [M, K] · b[i] [K, N]        rows of a to uint8 (as a linear's), columns of b to int8:
                                                     scale = max|b| / 127, 1 if that is 0
                                                     q = clip(rint(b / scale), -127, 127)

    task     one product, or the columns of some weight panels if there are few products
    worker   for each of my tasks: quantize the columns of b and lay them out as weight panels in this thread's
             scratch, then what a linear does (linear/worker.py) with those

        NR columns of b, K floats each         uint8 words [K / 4][NR]         int8
        ┌──────────────────┐                   ┌───────────────┐               ┌───────────────┐
        │ … transposed if  │ ─ range, quantize │ as a linear's │ ─ flip, sum ─▶│ a weight      │
        │ rows are K apart │   with zero 128 ─▶│ row panel     │               │ panel         │
        └──────────────────┘                   └───────────────┘               └───────────────┘

A column with NaN or an infinity has scale NaN, and so has its result; no other column changes.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache

import numpy as np
from numba import carray

from ..base.context import new_context
from ..base.jit import kernel
from ..base.memory import (
    ALIGN,
    aligned,
    allocate,
    is_null,
    load_u8,
    null,
    offset,
    release,
    stack_bytes,
    store_i32,
    store_u8,
)
from ..gemm.emit_columns import copy_columns
from ..gemm.intrinsics import matrix_registers
from ..gemm.pack import whole
from ..gemm.tile import Scheme
from ..isa.base import InstructionSet
from ..isa.portable import PORTABLE
from ..linear.context import LinearContext
from ..linear.row_panels import row_panels
from ..linear.worker import task_runner
from ..quantize.emit import BOUNDS_STRIDE, LANES
from ..quantize.intrinsics import convert_rows
from ..quantize.qparams import BOUNDS_BYTES, find_ranges, together
from ..quantize.worker import fit
from ..threads.partition import share
from ..threads.tasks import tasks_of
from .context import MatmulContext, Products

LEAST_NORMAL = np.finfo(np.float32).smallest_normal


@kernel
def lift(q, count):
    """Bytes of 0, which stand for -128, become 1."""
    values = carray(q, (count,), np.uint8)
    for i in range(count):
        values[i] = max(values[i], np.uint8(1))


@kernel
def flip_panel(panel, words, nr, columns):
    """uint8 words of a panel to int8, and what the epilogue needs of their sums: columns[c] = -Σ."""
    as_words, sums = carray(panel, (words, nr), np.uint32), carray(columns, (nr,), np.int32)
    sums[:] = 0
    for word in range(words):
        row = as_words[word]
        for c in range(nr):
            four = np.uint32(row[c] ^ np.uint32(0x80808080))
            row[c] = four
            sums[c] -= (
                np.int32(four) >> 24
            ) + (np.int32(four << 8) >> 24) + (np.int32(four << 16) >> 24) + (np.int32(four << 24) >> 24)


@kernel
def spread_words(q, padded, k_per_word, nr, panel):
    """NR rows of words of four values, [padded / 4][NR], as words of `k_per_word`."""
    for word in range(padded // 4):
        for c in range(nr):
            for j in range(4):
                i = 4 * word + j
                value = load_u8(q, (word * nr + c) * 4 + j)
                store_u8(panel, ((i // k_per_word) * nr + c) * k_per_word + i % k_per_word, value)


@cache
def column_packer(isa: InstructionSet) -> Callable:
    """``pack_columns(b, b_row, b_column, count, k, scratch, panels, stride, columns)``."""
    # Words of four values, whatever the set multiplies: most sets' row panels are like that, and portable's.
    convert = convert_rows(isa if (isa.k_per_word, isa.parts) == (4, 1) else PORTABLE)
    nr, k_per_word = isa.columns, isa.k_per_word
    slab, align = isa.slab or isa.columns, isa.k_align

    @kernel(variant=isa.name)
    def pack_columns(b, b_row, b_column, count, k, scratch, panels, stride, columns):
        """`count` columns of b into panels, and what the epilogue needs of each (gemm.tile.Output).

        `scratch`: NR rows of padded K floats, then as many bytes.
        """
        padded = whole(k, align)
        bounds, zeros = stack_bytes(BOUNDS_BYTES), stack_bytes(4 * nr)
        for p in range((count + nr - 1) // nr):
            width = min(nr, count - p * nr)
            source, step = offset(b, p * nr * b_column), b_column
            if b_row != 4 and k > 1:
                for c in range(0, width, BOUNDS_STRIDE):
                    target = offset(scratch, 4 * padded * c)
                    copy_columns(offset(source, 4 * c), b_row, k, min(BOUNDS_STRIDE, width - c), target, 4 * padded)
                source, step = scratch, 4 * padded
            words = offset(columns, 12 * p * nr)
            scales = carray(offset(words, 4 * nr), (2, nr), np.float32)  # and biases
            scales[:] = 0
            denormal = False
            for c in range(0, width, BOUNDS_STRIDE):
                some = min(BOUNDS_STRIDE, width - c)
                find_ranges(offset(source, c * step), step, some, k, null(), bounds)
                ranges = carray(bounds, (3, BOUNDS_STRIDE), np.float32)
                for j in range(some):
                    scale, zero = fit(ranges[0, j], ranges[1, j], ranges[2, j], True)
                    scales[0, c + j] = scale
                    denormal |= scale < LEAST_NORMAL
                    store_i32(zeros, c + j, zero)
            panel = offset(panels, p * stride)
            q = panel if k_per_word == 4 else offset(scratch, 4 * padded * nr)
            if width < nr or k == 0 or padded > whole(k, LANES):  # what is not written is multiplied, too
                all_words = carray(q, (padded * nr,), np.uint8)
                all_words[:] = 128
            c = 0
            while c < width:
                some = together(width - c)
                convert(
                    some, offset(source, c * step), step, k,
                    offset(words, 4 * (nr + c)), offset(zeros, 4 * c),
                    offset(q, c // slab * slab * padded + 4 * (c % slab)), slab,
                )  # fmt: skip
                c += some
            if denormal:  # up to half of it is rounding, where others have 2^-24: only so is |b / scale| over 127.5
                lift(q, padded * nr)
            for first in range(0, nr, slab):
                flip_panel(offset(q, first * padded), padded // 4, slab, offset(words, 4 * first))
            if k_per_word != 4:
                spread_words(q, padded, k_per_word, nr, panel)

    return pack_columns


@cache
def matmul_worker(isa: InstructionSet, long: bool = False) -> Callable:
    """The worker of one instruction set; `long` for K beyond pack.MAX_K."""
    packed_bytes, run_task = task_runner(isa, Scheme(), long)
    pack_columns = column_packer(isa)
    nr, align = isa.columns, isa.k_align
    matrix, on_matrix = isa.matrix_rows > 0, row_panels(isa, Scheme()).on_matrix
    configure, free = matrix_registers(isa, "configure"), matrix_registers(isa, "release")

    @kernel(variant=f"{'long_' if long else ''}{isa.name}")
    def matmul_worker(shared, index):
        shared = MatmulContext(shared)
        given, parts = Products(shared.products), shared.parts
        m, n, k, inner = given.m, given.n, given.k, given.inner
        padded, panels = whole(k, align), (n + nr - 1) // nr
        stride, most = padded * nr, (panels + parts - 1) // parts
        # One block: packed rows with their scales and zero points, panels, column words, the packer's scratch.
        rows_bytes = (8 * m + packed_bytes(m, k) + 63) // 64 * 64
        sizes = most * stride, most * 12 * nr
        scratch_bytes = nr * (4 * padded + padded)
        allocated = allocate(rows_bytes + sizes[0] + sizes[1] + scratch_bytes + ALIGN)
        if is_null(allocated):
            return
        scratch = aligned(allocated)
        scales, zero_points = scratch, offset(scratch, 4 * m)
        packed = offset(scratch, (8 * m + 63) // 64 * 64 if matrix else 8 * m)
        weights = offset(scratch, rows_bytes)
        columns = offset(weights, sizes[0])
        scratch = offset(columns, sizes[1])
        context = new_context(LinearContext, 0)
        context.k = k
        context.words = shared.words
        context.strip_panels = shared.strip_panels
        context.x_stride = given.a_row
        context.out_stride = given.out_row
        context.weights = weights
        context.columns = columns
        context.panel_stride = stride
        on_registers = on_matrix(m, nr * most, k)
        if on_registers:
            configure()
        held = -1
        for task in tasks_of(shared, index):
            item, part = task // parts, task % parts
            outer, within = item // inner, item % inner
            begin, count = share(part, parts, panels)
            width = min(n, (begin + count) * nr) - begin * nr
            if count > 0:
                b_column = given.b_column
                b = outer * given.b_outer + within * given.b_inner + begin * nr * b_column
                pack_columns(
                    offset(shared.b, b), given.b_row, b_column, width, k,
                    scratch, weights, stride, columns,
                )  # fmt: skip
                a = outer * given.a_outer + within * given.a_inner
                out = outer * given.out_outer + within * given.out_inner + 4 * begin * nr
                context.x = offset(shared.a, a)
                context.out = offset(shared.out, out)
                context.n = width
                run_task(context, on_registers, 0, m, 0, count, item != held, packed, scales, zero_points)
                held = item
        if on_registers:
            free()
        release(allocated)

    return matmul_worker
