"""Rows of a reduction's call, for every reduction the same code: where values are, and what is no whole block.

    the last axis is reduced   one result after another: blocks of LANES values of its run are combined lane by lane
    it is kept                 up to COLUMNS results at once: their totals in a buffer, with value k of each

What is not side by side in memory, and what is no whole block, is first copied to a buffer, amid neutral elements.
"""

from __future__ import annotations

import numpy as np

from ..base.jit import kernel
from ..base.memory import copy_bytes, offset, stack_bytes
from ..base.strided import copy_strided
from ..region.rows import fill
from .context import KEPT, OUT_KEPT, X_KEPT, ReduceRecord, place
from .intrinsics import call_combine, call_finish, call_fold
from .reference import LANES

#: Results whose totals are kept at once; a multiple of LANES.
COLUMNS = 512
BLOCK = 8 * LANES


@kernel
def add_run(record, run, n, stride, k, total, buffer, neutral):
    """Combine n values, the first of which is value k of its result; `neutral` is a block of neutral elements."""
    size, done = record.bytes, 0
    if k % LANES == 0 and stride == size and n >= LANES:
        call_combine(record.across, run, total, n // LANES)
        done = n // LANES * LANES
    while done < n:
        lane = (k + done) % LANES
        part = min(LANES - lane, n - done)
        copy_bytes(buffer, neutral, size * LANES)
        copy_strided(offset(buffer, lane * size), size, offset(run, done * stride), stride, size, part)
        call_combine(record.across, buffer, total, 1)
        done += part


@kernel
def across_rows(record, row, rows):
    """Results of a reduced last axis."""
    size, outer, middle, n = record.bytes, record.reduced_0, record.reduced_1, record.reduced_2
    total = stack_bytes(3 * BLOCK)
    buffer, neutral = offset(total, BLOCK), offset(total, 2 * BLOCK)
    fill(neutral, record.neutral, size, LANES)
    for index in range(row, row + rows):
        x = offset(record.x, place(record, index, KEPT, X_KEPT))
        copy_bytes(total, neutral, size * LANES)
        for i in range(outer):
            for j in range(middle):
                run = offset(x, i * record.x_reduced_0 + j * record.x_reduced_1)
                add_run(record, run, n, record.x_reduced_2, (i * middle + j) * n, total, buffer, neutral)
        call_fold(record.fold, total, total)
        if record.finishes != 0:
            call_finish(record.finish, total, 1, np.float32(outer * middle * n))
        copy_strided(offset(record.out, place(record, index, KEPT, OUT_KEPT)), size, total, size, size, 1)


@kernel
def add_columns(record, x, stride, columns, totals, buffer):
    """Combine a value of each column."""
    size, done = record.bytes, 0
    if stride == size and columns >= LANES:
        call_combine(record.along, x, totals, columns // LANES)
        done = columns // LANES * LANES
    while done < columns:
        part = min(LANES, columns - done)
        copy_strided(buffer, size, offset(x, done * stride), stride, size, part)
        call_combine(record.along, buffer, offset(totals, done * size), 1)
        done += part


@kernel
def along_columns(record, row, rows, column, columns):
    """Results of a kept last axis."""
    size, outer, middle, inner = record.bytes, record.reduced_0, record.reduced_1, record.reduced_2
    stride, out_stride = record.x_kept_3, record.out_kept_3
    buffer = stack_bytes(BLOCK + 8 * COLUMNS)
    totals = offset(buffer, BLOCK)
    fill(buffer, record.neutral, size, LANES)
    for index in range(row, row + rows):
        x = offset(record.x, place(record, index, KEPT - 1, X_KEPT))
        out = offset(record.out, place(record, index, KEPT - 1, OUT_KEPT))
        for first in range(column, column + columns, COLUMNS):
            count = min(COLUMNS, column + columns - first)
            blocks = (count + LANES - 1) // LANES
            fill(totals, record.neutral, size, blocks * LANES)
            for i in range(outer):
                for j in range(middle):
                    for k in range(inner):
                        moved = i * record.x_reduced_0 + j * record.x_reduced_1 + k * record.x_reduced_2
                        add_columns(record, offset(x, first * stride + moved), stride, count, totals, buffer)
            if record.finishes != 0:
                call_finish(record.finish, totals, blocks, np.float32(outer * middle * inner))
            copy_strided(offset(out, first * out_stride), out_stride, totals, size, size, count)


@kernel
def do_results(record, row, rows, column, columns):
    """Part of the results: of `rows` > 0 rows from `row` on, `columns` > 0 from `column` on."""
    record = ReduceRecord(record)
    if record.last != 0:
        across_rows(record, row, rows)
    else:
        along_columns(record, row, rows, column, columns)
