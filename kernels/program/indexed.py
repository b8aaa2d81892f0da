"""Steps that move values to and from places that indices say: GatherND, ScatterND, ScatterElements.

gather_nd          out[b, i, :] = data[b, indices[b, i, 0], indices[b, i, 1] …, :]    stretches of `inner` bytes
scatter_nd         out[indices[i, 0], indices[i, 1] …, :] ∘= updates[i, :]            `inner` values, in order
scatter_elements   out[…, indices[i], …] ∘= updates[i]                                each in its place on an axis

∘ is: replace, add, multiply, the larger, the smaller. Negative indices count from the end. `out` begins as a copy.
Behind a record, for each index of a tuple: the length of its axis, and bytes from one place on it to the next.
"""

from __future__ import annotations

from ..base.jit import kernel
from ..base.memory import copy_bytes, load_int, offset
from ..base.record import Pointer, Record
from ..base.status import BAD_INDEX, FINE
from ..base.typed import of_types
from .copy import index_at

REPLACE, ADD, MUL, MAX, MIN = range(5)
#: No place.
NOWHERE = -1


class GatherND(Record):
    out: Pointer
    data: Pointer
    indices: Pointer
    index_bytes: int  # 4 or 8
    batch: int
    batch_bytes: int  # of data
    count: int  # tuples of a batch
    inner: int  # bytes
    depth: int  # of a tuple


class ScatterND(Record):
    out: Pointer
    updates: Pointer
    indices: Pointer
    index_bytes: int
    count: int  # of tuples
    inner: int  # values
    itemsize: int
    how: int
    kind: int  # of typed.TYPES
    depth: int


class ScatterElements(Record):
    """Behind it, for each axis: its length in indices, and bytes from one place on it to the next in `out`."""

    out: Pointer
    updates: Pointer
    indices: Pointer
    index_bytes: int
    count: int
    rows: int  # of `out` along the axis
    itemsize: int
    how: int
    kind: int
    axes: int
    axis: int


_GATHER_ND, _SCATTER_ND, _SCATTER_ELEMENTS = 8 * GatherND.size, 8 * ScatterND.size, 8 * ScatterElements.size


@kernel
def place_of(lines, depth, indices, index_bytes, first):
    """Bytes to the place that a tuple of indices says; NOWHERE."""
    moved = 0
    for i in range(depth):
        index, length = index_at(indices, index_bytes, first + i), load_int(lines, 2 * i)
        if index < -length or index >= length:
            return NOWHERE
        moved += (index + length if index < 0 else index) * load_int(lines, 2 * i + 1)
    return moved


@kernel
def combined(a, b, how):
    if how == ADD:
        return a + b
    if how == MUL:
        return a * b
    if a != a or b != b:
        return a + b
    if how == MAX:
        return b if b > a else a
    return b if b < a else a


def _combine_of(load, store, kind, name):
    @kernel(variant=name)
    def combine(out, update, count, how):
        for i in range(count):
            store(out, i, kind(combined(load(out, i), load(update, i), how)))

    return combine


combine_f32, combine_f64, combine_i64, combine_i32 = of_types(_combine_of)


@kernel
def combine(out, update, count, size, how, kind):
    """Combine values side by side."""
    if how == REPLACE:
        copy_bytes(out, update, count * size)
    elif kind == 0:
        combine_f32(out, update, count, how)
    elif kind == 1:
        combine_f64(out, update, count, how)
    elif kind == 2:
        combine_i64(out, update, count, how)
    else:
        combine_i32(out, update, count, how)


@kernel
def gather_nd(record, threads):
    record = GatherND(record)
    lines, depth, inner, count = offset(record, _GATHER_ND), record.depth, record.inner, record.count
    for b in range(record.batch):
        for i in range(count):
            moved = place_of(lines, depth, record.indices, record.index_bytes, (b * count + i) * depth)
            if moved == NOWHERE:
                return BAD_INDEX
            source = offset(record.data, b * record.batch_bytes + moved)
            copy_bytes(offset(record.out, (b * count + i) * inner), source, inner)
    return FINE


@kernel
def scatter_nd(record, threads):
    record = ScatterND(record)
    lines, depth, inner, size = offset(record, _SCATTER_ND), record.depth, record.inner, record.itemsize
    for i in range(record.count):
        moved = place_of(lines, depth, record.indices, record.index_bytes, i * depth)
        if moved == NOWHERE:
            return BAD_INDEX
        update = offset(record.updates, i * inner * size)
        combine(offset(record.out, moved), update, inner, size, record.how, record.kind)
    return FINE


@kernel
def scatter_elements(record, threads):
    record = ScatterElements(record)
    lines, size, axes, rows = offset(record, _SCATTER_ELEMENTS), record.itemsize, record.axes, record.rows
    for i in range(record.count):
        row = index_at(record.indices, record.index_bytes, i)
        if row < -rows or row >= rows:
            return BAD_INDEX
        moved, left = 0, i
        for axis in range(axes - 1, -1, -1):
            length, stride = load_int(lines, 2 * axis), load_int(lines, 2 * axis + 1)
            at = (row + rows if row < 0 else row) if axis == record.axis else left % length
            moved += at * stride
            left //= length
        combine(offset(record.out, moved), offset(record.updates, i * size), 1, size, record.how, record.kind)
    return FINE
