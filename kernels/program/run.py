"""One segment of a plan: sizes are computed, records filled, steps called.

    table      int64: what arrays are (addresses, lengths; of some also their numbers), constants, and what `code`
               computes from them
    code       (operation, a, b, where): table[where] = operation(table[a], table[b])
    guards     (where, value): the segment is right only where table[where] has this truth value
    patches    (word, base, offset): records[word] = table[base] + table[offset]
    steps      (function, place): function(records + place, threads) -> status

A step is compiled code for one record: `step(record, threads) -> status`, with `threads` as `worthwhile` takes it
(threads/pool.py). It never raises. It tells what is wrong by a status (FINE, NO_MEMORY …), and the program stops there.
"""

from __future__ import annotations

from enum import IntEnum

import numpy as np

from ..base.jit import kernel
from ..base.memory import call_step, load_i32, load_int, load_ptr, load_u8, offset, store_int, store_ptr
from ..base.record import Pointer, Record
from ..base.status import FINE
from ..objects.cpython import ITEMS, data_of, dimension, stride


class Operation(IntEnum):
    """How two numbers of the table give a third."""

    ADD = 0
    SUB = 1
    MUL = 2  # at most MOST
    FLOOR_DIVIDE = 3  # 0 where the divisor is 0
    MODULO = 4
    MAX = 5
    MIN = 6
    EQUAL = 7
    LESS = 8
    AND = 9


#: The largest product: more bytes than there are, so that an arena of this size is refused and none wraps round to few.
MOST = 1 << 56
#: `run` gives 0, or where it stopped: (number of the step) · STATUSES + its status.
STATUSES = 16
_ADD, _SUB, _MUL, _DIVIDE, _MODULO, _MAX, _MIN, _EQUAL, _LESS = map(int, list(Operation)[:9])


#: Words of the table with its own address, and that of the records of the segment that runs.
TABLE, RECORDS = 0, 1


class Program(Record):
    """Where the parts of a segment or of a loop's body are, and how many of each."""

    code: Pointer
    operations: int
    guards: Pointer
    guard_count: int
    patches: Pointer
    patch_count: int
    steps: Pointer
    step_count: int


class Segment(Program):
    """What is bound before a segment runs."""

    arrays: Pointer  # (place in the table, axes, axis of a gap or -1) of each array that it begins with
    array_count: int
    results: Pointer  # the same of each result
    result_count: int
    numbers: Pointer  # (which array, place in the table, how many, bytes, signed) of those whose numbers it reads
    number_count: int


@kernel
def computed(operation, a, b):
    if operation == _ADD:
        return a + b
    if operation == _SUB:
        return a - b
    if operation == _MUL:
        product = float(a) * float(b)
        return a * b if abs(product) < MOST else (MOST if product > 0 else -MOST)
    if operation == _DIVIDE:
        return a // b if b else 0
    if operation == _MODULO:
        return a % b if b else 0
    if operation == _MAX:
        return max(a, b)
    if operation == _MIN:
        return min(a, b)
    if operation == _EQUAL:
        return int(a == b)
    if operation == _LESS:
        return int(a < b)
    return a & b


@kernel
def gap(array, axis):
    """Bytes from one stretch of an axis to the next one; 0 where there is one stretch."""
    for i in range(axis - 1, -1, -1):
        if dimension(array, i) > 1:
            return stride(array, i)
    return 0


@kernel
def bind(arrays, table, places, count):
    """Write where each of a tuple of arrays lies: table[place]; the words behind it are the lengths of its axes, and
    its gap where it has an axis of one. Whether there was one."""
    items, any_gap = offset(arrays, ITEMS), False
    for i in range(count):
        array, place, axes = load_ptr(items, i), load_int(places, 3 * i), load_int(places, 3 * i + 1)
        store_ptr(table, place, data_of(array))
        for axis in range(axes):
            store_int(table, place + 1 + axis, dimension(array, axis))
        grows = load_int(places, 3 * i + 2)
        if grows >= 0:
            store_int(table, place + 1 + axes, gap(array, grows))
            any_gap = True
    return any_gap


@kernel
def number(base, i, size, signed):
    """The i-th of integers of 1, 2, 4 or 8 bytes; the latter as if they were signed."""
    if size == 8:
        return load_int(base, i)
    if size == 4:
        value, limit = np.int64(load_i32(base, i)), 1 << 31
        return value if signed or value >= 0 else value + 2 * limit
    value, limit = np.int64(load_u8(base, i * size)), 1 << (8 * size - 1)
    if size == 2:
        value += np.int64(load_u8(base, i * size + 1)) << 8
    return value - 2 * limit if signed and value >= limit else value


@kernel
def read(arrays, table, rows, count):
    """Write the numbers of some arrays into the table."""
    items = offset(arrays, ITEMS)
    for row in range(count):
        base, place = data_of(load_ptr(items, load_int(rows, 5 * row))), load_int(rows, 5 * row + 1)
        size, signed = load_int(rows, 5 * row + 3), load_int(rows, 5 * row + 4) != 0
        for i in range(load_int(rows, 5 * row + 2)):
            store_int(table, place + i, number(base, i, size, signed))


@kernel
def compute(program, table):
    """Compute the sizes of a program. Whether its guards hold."""
    code, guards = program.code, program.guards
    for i in range(program.operations):
        a, b = load_int(table, load_int(code, 4 * i + 1)), load_int(table, load_int(code, 4 * i + 2))
        store_int(table, load_int(code, 4 * i + 3), computed(load_int(code, 4 * i), a, b))
    for i in range(program.guard_count):
        if (load_int(table, load_int(guards, 2 * i)) != 0) != (load_int(guards, 2 * i + 1) != 0):
            return False
    return True


@kernel
def perform(program, table, records, threads):
    """Fill the records of a program and call its steps; see STATUSES."""
    patches, steps = program.patches, program.steps
    for i in range(program.patch_count):
        base, more = load_int(table, load_int(patches, 3 * i + 1)), load_int(table, load_int(patches, 3 * i + 2))
        store_int(records, load_int(patches, 3 * i), base + more)
    for i in range(program.step_count):
        status = call_step(load_ptr(steps, 2 * i), offset(records, load_int(steps, 2 * i + 1)), threads)
        if status != FINE:
            return i * STATUSES + status
    return 0


@kernel
def prepare(segment, table, arrays):
    """Bind the arrays that a segment begins with, and compute its sizes. Whether its guards hold: it may run."""
    segment, table = Segment(segment.data), table.data
    bind(arrays.at, table, segment.arrays, segment.array_count)
    read(arrays.at, table, segment.numbers, segment.number_count)
    return compute(Program(segment), table)


@kernel
def run(segment, table, records, results, threads):
    """Bind the arrays of results, fill the records of a prepared segment, and call its steps; see STATUSES."""
    segment, table, records = Segment(segment.data), table.data, records.data
    store_ptr(table, TABLE, table)
    store_ptr(table, RECORDS, records)
    if bind(results.at, table, segment.results, segment.result_count):
        compute(Program(segment), table)  # sizes that depend on a gap: places in results
    return perform(Program(segment), table, records, threads)
