"""Where values are not zero: NonZero of ONNX. A step, on the calling thread.

    out[axis, i] = index along the axis of the i-th value that is not zero, in order        `count` says how many

x is dense. Of floats -0 is zero, and NaN is not. `out` has room for as many as x has values.
"""

from __future__ import annotations

import numpy as np

from ..base.jit import kernel
from ..base.memory import load_i32, load_int, load_u8, offset, store_int
from ..base.record import Pointer, Record
from ..base.status import FINE

#: Axes, of which those that are missing come first, with length 1.
AXES = 6


class NonZero(Record):
    x: Pointer
    out: Pointer  # int64 [axes, values of x]
    count: Pointer  # int64
    itemsize: int
    floats: int
    values: int
    axes: int
    length_0: int
    length_1: int
    length_2: int
    length_3: int
    length_4: int
    length_5: int


#: The field of the last axis.
_LAST = NonZero.length_5


@kernel
def is_zero(x, itemsize, floats):
    if itemsize == 8:
        bits = load_int(x, 0)
        return bits << 1 == 0 if floats else bits == 0
    if itemsize == 4:
        word = np.uint32(load_i32(x, 0))
        return np.uint32(word << np.uint32(1)) == 0 if floats else word == 0
    if itemsize == 2:
        high = load_u8(x, 1)
        return load_u8(x, 0) == 0 and (high & 127 if floats else high) == 0
    return load_u8(x, 0) == 0


@kernel
def find(record, threads):
    """The step of a `NonZero`."""
    s = NonZero(record)
    size, axes, count = s.values, s.axes, 0
    for i in range(size):
        if not is_zero(offset(s.x, i * s.itemsize), s.itemsize, s.floats != 0):
            rest = i
            for axis in range(axes - 1, -1, -1):
                length = load_int(record, _LAST - (axes - 1 - axis))
                store_int(s.out, axis * size + count, rest % length)
                rest //= length
            count += 1
    store_int(s.count, 0, count)
    return FINE
