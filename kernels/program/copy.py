"""Steps that move values: strided copies, rows by index, numbers, constants.

copy      target[i, j, …] = source[i, j, …]           any strides of both, up to MOST_AXES axes; nothing onto itself
gather    out[o, i, :] = data[o, indices[i], :]       whole inner runs of bytes; negative indices count from the end
pick      out[o, i, j] = data[o, indices[o, i, j], j]     values of `itemsize` bytes (GatherElements)
fill      out[i] = value                              of 1, 2, 4 or 8 bytes
numbers   out[i] = the record's own number i
ramp      out[i] = start + i · delta                  int32 or int64
"""

from __future__ import annotations

import numpy as np

from ..base.jit import kernel
from ..base.memory import (
    clear,
    copy_bytes,
    load_i32,
    load_int,
    offset,
    stack_zeros,
    store_i32,
    store_int,
    store_u8,
)
from ..base.record import Pointer, Record
from ..base.status import BAD_INDEX, FINE
from ..base.strided import copy_strided
from ..objects.cpython import same

MOST_AXES = 8


class Copy(Record):
    """Behind it, for each axis from the outermost on: length, stride of the target, stride of the source."""

    target: Pointer
    source: Pointer
    itemsize: int
    axes: int


@kernel
def copy(record, threads):
    record = Copy(record)
    axes, itemsize = record.axes, record.itemsize
    lines = offset(record, 8 * 4)
    target, source = record.target, record.source
    if same(target, source):  # a cache that grows in place
        return FINE
    if axes == 0:
        copy_bytes(target, source, itemsize)
        return FINE
    outer = 1
    for axis in range(axes - 1):
        outer *= load_int(lines, 3 * axis)
    last = 3 * (axes - 1)
    n, target_stride, source_stride = load_int(lines, last), load_int(lines, last + 1), load_int(lines, last + 2)
    if n == 0:
        return FINE
    places = stack_zeros(8 * MOST_AXES)
    for _ in range(outer):
        copy_strided(target, target_stride, source, source_stride, itemsize, n)
        axis = axes - 2
        while axis >= 0:
            place = load_int(places, axis) + 1
            length = load_int(lines, 3 * axis)
            if place < length:
                store_int(places, axis, place)
                target = offset(target, load_int(lines, 3 * axis + 1))
                source = offset(source, load_int(lines, 3 * axis + 2))
                break
            store_int(places, axis, 0)
            target = offset(target, -(length - 1) * load_int(lines, 3 * axis + 1))
            source = offset(source, -(length - 1) * load_int(lines, 3 * axis + 2))
            axis -= 1
    return FINE


class Gather(Record):
    out: Pointer
    data: Pointer
    indices: Pointer
    index_bytes: int  # 4 or 8
    outer: int
    rows: int  # along the axis
    count: int  # of indices
    inner: int  # bytes


@kernel
def index_at(indices, index_bytes, i):
    return load_int(indices, i) if index_bytes == 8 else np.int64(load_i32(indices, i))


@kernel
def gather(record, threads):
    record = Gather(record)
    rows, count, inner, size = record.rows, record.count, record.inner, record.index_bytes
    indices = record.indices
    for i in range(count):
        row = index_at(indices, size, i)
        if row < -rows or row >= rows:
            return BAD_INDEX
    for o in range(record.outer):
        data, out = offset(record.data, o * rows * inner), offset(record.out, o * count * inner)
        for i in range(count):
            row = index_at(indices, size, i)
            copy_bytes(offset(out, i * inner), offset(data, (row + rows if row < 0 else row) * inner), inner)
    return FINE


class Pick(Record):
    """Behind it, for each axis: its length in indices, and the stride of data in bytes."""

    out: Pointer
    data: Pointer
    indices: Pointer
    index_bytes: int  # 4 or 8
    itemsize: int
    count: int  # of indices
    rows: int  # of data along the axis
    row_bytes: int
    axes: int
    axis: int


_PICK = 8 * Pick.size


@kernel
def pick(record, threads):
    record = Pick(record)
    lines, itemsize, rows, axes = offset(record, _PICK), record.itemsize, record.rows, record.axes
    for i in range(record.count):
        row = index_at(record.indices, record.index_bytes, i)
        if row < -rows or row >= rows:
            return BAD_INDEX
        place = (row + rows if row < 0 else row) * record.row_bytes
        left = i
        for axis in range(axes - 1, -1, -1):
            length = load_int(lines, 2 * axis)
            if axis != record.axis:
                place += left % length * load_int(lines, 2 * axis + 1)
            left //= length
        copy_bytes(offset(record.out, i * itemsize), offset(record.data, place), itemsize)
    return FINE


class Fill(Record):
    out: Pointer
    itemsize: int
    count: int
    value: int  # its bits


@kernel
def fill(record, threads):
    record = Fill(record)
    out, count, itemsize, value = record.out, record.count, record.itemsize, record.value
    if value == 0:
        clear(out, count * itemsize)
    elif itemsize == 8:
        for i in range(count):
            store_int(out, i, value)
    elif itemsize == 4:
        for i in range(count):
            store_i32(out, i, np.int32(value))
    elif itemsize == 1:
        for i in range(count):
            store_u8(out, i, np.uint8(value))
    else:
        for i in range(count):
            store_u8(out, 2 * i, np.uint8(value & 255))
            store_u8(out, 2 * i + 1, np.uint8((value >> 8) & 255))
    return FINE


class Numbers(Record):
    """Behind it, `count` numbers."""

    out: Pointer
    itemsize: int  # 1, 2, 4 or 8
    count: int


@kernel
def numbers(record, threads):
    record = Numbers(record)
    out, itemsize, given = record.out, record.itemsize, offset(record, 8 * 3)
    for i in range(record.count):
        value = load_int(given, i)
        if itemsize == 8:
            store_int(out, i, value)
        elif itemsize == 4:
            store_i32(out, i, np.int32(value))
        elif itemsize == 2:
            store_u8(out, 2 * i, np.uint8(value & 255))
            store_u8(out, 2 * i + 1, np.uint8((value >> 8) & 255))
        else:
            store_u8(out, i, np.uint8(value))
    return FINE


class Ramp(Record):
    out: Pointer
    itemsize: int  # 4 or 8
    count: int
    start: int
    delta: int


@kernel
def ramp(record, threads):
    record = Ramp(record)
    out, start, delta = record.out, record.start, record.delta
    for i in range(record.count):
        if record.itemsize == 8:
            store_int(out, i, start + i * delta)
        else:
            store_i32(out, i, np.int32(start + i * delta))
    return FINE
