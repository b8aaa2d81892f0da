"""TopK: the k largest or least values of an axis and their places, in order; of equal ones the first.

keys      int64 that are in the order of the values: of floats their bits, turned round where negative; NaN is the
          largest, -0 is 0; for the least, turned round
heap      of the k best so far in a thread's memory, the worst on top: each value is compared with that; n·log k
results   sorted, best first

values[i_0 … i_3, r], places[i_0 … i_3, r]      of x[i_0 … i_3, j] over j; strides in bytes
"""

from __future__ import annotations

import numpy as np

from ..base.jit import address, kernel
from ..base.memory import (
    WORKER_SIGNATURE,
    allocate,
    copy_bytes,
    is_null,
    load_i32,
    load_int,
    load_u8,
    offset,
    release,
    store_int,
)
from ..base.record import Pointer
from ..base.status import FINE, NO_MEMORY
from .context import KEPT, OUT_KEPT, X_KEPT, KeptRecord, place

TYPES = ("float32", "float64", "int64", "int32", "uint64", "uint32", "int16", "uint16", "int8", "uint8", "float16")
FLOAT, SIGNED, UNSIGNED = range(3)
_LEAST = np.int64(-(1 << 63))


class TopK(KeptRecord):
    """`x` and `out` as in scans; `places` has the strides of `out`, but of values of 8 bytes: it is dense as that."""

    places: Pointer
    kind: int
    itemsize: int
    least: int
    n: int
    k: int
    x_step: int
    out_step: int


@kernel
def key_of(x, kind, size, least):
    """The key of the value at x."""
    if size == 8:
        bits = load_int(x, 0)
    elif size == 4:
        bits = np.int64(load_i32(x, 0))
    else:
        bits = np.int64(load_u8(x, 0))
        if size == 2:
            bits |= np.int64(load_u8(x, 1)) << 8
        if bits >> (8 * size - 1):
            bits -= np.int64(1) << (8 * size)
    sign = np.int64(1) << (8 * size - 1)
    if kind == FLOAT:
        size_bits = bits & (sign - 1)
        infinity = np.int64(0x7FF0000000000000 if size == 8 else 0x7F800000 if size == 4 else 0x7C00)
        if size_bits > infinity:
            bits = infinity + 1
        elif bits < 0:
            bits = -size_bits
    elif kind == UNSIGNED:
        bits = bits ^ _LEAST if size == 8 else bits & (2 * sign - 1)
    return ~bits if least else bits


@kernel
def worse(key, index, other, other_index):
    """Whether one comes after the other."""
    return key < other or (key == other and index > other_index)


@kernel
def sink(heap, k, at, key, index):
    """Put a pair at a place of a heap, below those that are worse."""
    while True:
        child = 2 * at + 1
        if child >= k:
            break
        left, right = offset(heap, 16 * child), offset(heap, 16 * child + 16)
        if child + 1 < k and worse(load_int(right, 0), load_int(right, 1), load_int(left, 0), load_int(left, 1)):
            child += 1
        if worse(key, index, load_int(heap, 2 * child), load_int(heap, 2 * child + 1)):
            break
        store_int(heap, 2 * at, load_int(heap, 2 * child))
        store_int(heap, 2 * at + 1, load_int(heap, 2 * child + 1))
        at = child
    store_int(heap, 2 * at, key)
    store_int(heap, 2 * at + 1, index)


@kernel
def best_of(x, x_step, n, k, kind, size, least, heap):
    """The places of the k best, in order, in every second word of the heap."""
    for i in range(k):
        store_int(heap, 2 * i, key_of(offset(x, i * x_step), kind, size, least))
        store_int(heap, 2 * i + 1, i)
    for i in range(k // 2 - 1, -1, -1):
        sink(heap, k, i, load_int(heap, 2 * i), load_int(heap, 2 * i + 1))
    for i in range(k, n):
        key = key_of(offset(x, i * x_step), kind, size, least)
        if worse(load_int(heap, 0), load_int(heap, 1), key, i):
            sink(heap, k, 0, key, i)
    for last in range(k - 1, 0, -1):  # the worst goes to the end
        key, index = load_int(heap, 2 * last), load_int(heap, 2 * last + 1)
        store_int(heap, 2 * last, load_int(heap, 0))
        store_int(heap, 2 * last + 1, load_int(heap, 1))
        sink(heap, last, 0, key, index)


@kernel
def step(record, threads):
    """The step of a `TopK`."""
    record = TopK(record)
    rows, k, size = record.kept_0 * record.kept_1 * record.kept_2 * record.kept_3, record.k, record.itemsize
    if rows <= 0 or k <= 0:
        return FINE
    heap = allocate(16 * k)
    if is_null(heap):
        return NO_MEMORY
    for row in range(rows):
        x, moved = offset(record.x, place(record, row, KEPT, X_KEPT)), place(record, row, KEPT, OUT_KEPT)
        best_of(x, record.x_step, record.n, k, record.kind, size, record.least != 0, heap)
        for i in range(k):
            index, to = load_int(heap, 2 * i + 1), moved + i * record.out_step
            copy_bytes(offset(record.out, to), offset(x, index * record.x_step), size)
            store_int(offset(record.places, to // size * 8), 0, index)
    release(heap)
    return FINE


def step_address() -> int:
    """The step's address."""
    return address(step, WORKER_SIGNATURE)
