"""Rows of a region's call, for every region the same code: where operands are, and what is no whole block.

    for each row:                 the axes but the innermost, counted like an odometer
        leaves that stand still   their value LANES times in the operand's buffer
        blocks of LANES columns   the region's function (emit.py), on the operands themselves
        the rest                  copied to the buffers; the function on these; results copied from there

Where an operand's columns are not side by side, all of a row goes through the buffers. So no byte beyond an operand is
touched. What lanes hold beyond the rest is 0, or values of another block.

    scratch ┌ places ┬ pointers ┬ steps ┬ counters ┐┌ buffers, LANES values of 8 bytes each ┐
            └────────┴──────────┴───────┴──────────┘└─ from a line of their own ────────────┘
"""

from __future__ import annotations

from ..base.jit import kernel
from ..base.memory import (
    ALIGN,
    clear,
    load_i32,
    load_int,
    load_ptr,
    load_u8,
    offset,
    stack_bytes,
    store_i32,
    store_int,
    store_ptr,
    store_u8,
)
from ..base.strided import copy_strided
from .context import ADDRESS, AXES, OPERAND_WORDS, OPERANDS, STRIDES, RegionRecord
from .context import BYTES as SIZE
from .emit import LANES
from .intrinsics import call_blocks

BUFFER = 8 * LANES
INNER = AXES - 1
#: Words of a record's sizes begin here.
SIZES = OPERANDS // 8 - AXES


@kernel
def fill(to, source, size, count):
    """`count` times the value of 1, 2, 4 or 8 bytes at `source`, side by side."""
    if size == 4:
        word = load_i32(source, 0)
        for i in range(count):
            store_i32(to, i, word)
    elif size == 8:
        number = load_int(source, 0)
        for i in range(count):
            store_int(to, i, number)
    elif size == 2:
        low, high = load_u8(source, 0), load_u8(source, 1)
        for i in range(count):
            store_u8(to, 2 * i, low)
            store_u8(to, 2 * i + 1, high)
    else:
        byte = load_u8(source, 0)
        for i in range(count):
            store_u8(to, i, byte)


@kernel
def operand_of(record, i):
    return offset(record, OPERANDS + 8 * OPERAND_WORDS * i)


@kernel
def move_all(record, places, count, axis, by):
    """Every place `by` further along an axis."""
    for i in range(count):
        step = load_int(operand_of(record, i), STRIDES + axis)
        store_ptr(places, i, offset(load_ptr(places, i), by * step))


@kernel
def next_row(record, places, counters, count):
    """One further on the last axis but the innermost; from its end back, and one further on the axis before."""
    for axis in range(INNER - 1, -1, -1):
        size = load_int(record, SIZES + axis)
        reached = load_int(counters, axis) + 1
        if reached < size:
            store_int(counters, axis, reached)
            move_all(record, places, count, axis, 1)
            return
        store_int(counters, axis, 0)
        move_all(record, places, count, axis, 1 - size)


@kernel
def do_row(record, places, pointers, steps, buffers, leaves, count, columns, whole):
    """A row; `whole` of its blocks on the operands themselves."""
    function = record.function
    for i in range(leaves):
        if load_int(steps, i) == 0:
            fill(offset(buffers, i * BUFFER), load_ptr(places, i), load_int(operand_of(record, i), SIZE), LANES)
    if whole > 0:
        for i in range(count):
            still = load_int(steps, i) == 0
            store_ptr(pointers, i, offset(buffers, i * BUFFER) if still else load_ptr(places, i))
        call_blocks(function, pointers, steps, whole)
    done = whole * LANES
    if done == columns:
        return
    for i in range(count):
        store_ptr(pointers, i, offset(buffers, i * BUFFER))
    while done < columns:
        part = min(LANES, columns - done)
        for i in range(leaves):
            if load_int(steps, i) != 0:
                operand = operand_of(record, i)
                size, stride = load_int(operand, SIZE), load_int(operand, STRIDES + INNER)
                source = offset(load_ptr(places, i), done * stride)
                copy_strided(load_ptr(pointers, i), size, source, stride, size, part)
        call_blocks(function, pointers, steps, 1)
        for i in range(leaves, count):
            operand = operand_of(record, i)
            size, stride = load_int(operand, SIZE), load_int(operand, STRIDES + INNER)
            copy_strided(offset(load_ptr(places, i), done * stride), stride, load_ptr(pointers, i), size, size, part)
        done += part


@kernel
def do_rows(record, row, rows, column, columns):
    """`rows` > 0 rows from `row` on, of each `columns` > 0 from `column` on."""
    record = RegionRecord(record)
    leaves = record.leaves
    count = leaves + record.results
    words = (8 * (3 * count + INNER) + ALIGN - 1) // ALIGN * ALIGN
    places = stack_bytes(words + count * BUFFER)
    pointers, steps = offset(places, 8 * count), offset(places, 16 * count)
    counters, buffers = offset(places, 24 * count), offset(places, words)
    beside = True
    for i in range(count):
        operand = operand_of(record, i)
        size, stride = load_int(operand, SIZE), load_int(operand, STRIDES + INNER)
        still = stride == 0 and i < leaves
        store_ptr(places, i, offset(load_ptr(operand, ADDRESS), column * stride))
        store_int(steps, i, 0 if still else LANES * size)
        beside = beside and (still or stride == size)
    whole = columns // LANES if beside else 0
    if whole * LANES < columns:
        clear(buffers, count * BUFFER)
    for axis in range(INNER - 1, -1, -1):
        store_int(counters, axis, 0)
        if row > 0:
            size = load_int(record, SIZES + axis)
            store_int(counters, axis, row % size)
            move_all(record, places, count, axis, row % size)
            row //= size
    for left in range(rows, 0, -1):
        do_row(record, places, pointers, steps, buffers, leaves, count, columns, whole)
        if left > 1:
            next_row(record, places, counters, count)
