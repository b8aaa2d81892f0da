"""Small array helpers for jitted callers (dynq_numba/njit/): anything with a row axis last, as a matrix."""

from __future__ import annotations

import numpy as np
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from ..base.jit import kernel
from ..base.limits import MAX_THREADS
from ..base.memory import address_value, data_ptr

_THREADS = f"threads must be an integer from 1 to {MAX_THREADS}"


@kernel
def any_threads(value):
    """No `threads` given: the call chooses."""
    return 0


@kernel
def thread_count(value):
    """`threads`, which is within its limits."""
    if not 1 <= value <= MAX_THREADS:
        raise ValueError(_THREADS)
    return value


@kernel
def as_rows(array, columns):
    """[..., columns] floats as float32 [rows, columns], C contiguous; a copy."""
    rows = 1
    for axis in range(array.ndim - 1):
        rows *= array.shape[axis]
    return np.ascontiguousarray(array).astype(np.float32).reshape((rows, columns))


@kernel
def view_rows(array, columns):
    rows = 1
    for axis in range(array.ndim - 1):
        rows *= array.shape[axis]
    return array.reshape((rows, columns))


@kernel
def overlap(a, b):
    """Whether two C-contiguous arrays share a byte."""
    first_a, first_b = address_value(data_ptr(a)), address_value(data_ptr(b))
    return first_a < first_b + b.size * b.itemsize and first_b < first_a + a.size * a.itemsize


@kernel
def new_result(out, shape, dtype):
    """A new array for a result, where no `out` is given."""
    return np.empty(shape, dtype)


@kernel
def given_result(out, shape, dtype):
    """The `out` that is given, of the result's shape; the caller has checked its dtype."""
    if out.shape != shape:
        raise ValueError("out must have the shape of the result")
    return out


@kernel
def apart(target, read):
    """`target`, or new memory of its shape where it shares a byte with what is read while it is written."""
    return np.empty(target.shape, target.dtype) if overlap(target, read) else target


@intrinsic
def _copy(typingctx, to, start, count):
    """memcpy(to, start, count)"""

    def codegen(context, builder, signature, args):
        cgutils.raw_memcpy(builder, *args, itemsize=1)
        return context.get_dummy_value()

    return types.void(types.voidptr, types.voidptr, types.intp), codegen


@kernel
def deliver(result, out):
    """Copy a result to where it belongs, unless it is there already: C-contiguous arrays of one shape and dtype.

    Bytes, because `out[:] = result` is 2 MB of LLVM IR in every function of a user: 8 seconds of compiling.
    """
    if address_value(data_ptr(result)) != address_value(data_ptr(out)):
        _copy(data_ptr(out), data_ptr(result), result.size * result.itemsize)


@kernel
def one_scale(data, scale):
    """A scale of no dimensions fits any data."""
    return True


@kernel
def scale_fits(data, scale):
    """Whether `scale` has data's shape without the last axis."""
    if scale.ndim != data.ndim - 1:
        return scale.size == 1
    same = True
    for axis in range(scale.ndim):
        same &= scale.shape[axis] == data.shape[axis]
    return same


@kernel
def zero_vector(value, count, low, flip):
    """A scalar zero point as int32 [count], moved by `flip`; `low` is the least value of the operand's dtype."""
    if not low <= value <= low + 255:
        raise ValueError("zero points must lie in the range of their operand's dtype")
    return np.full(count, np.int32(value + flip), np.int32)


@kernel
def zero_array(value, count, low, flip):
    """Zero points of any shape of `count` elements, or one, as `zero_vector`."""
    if value.size != count and value.size != 1:
        raise ValueError("zero points must be a scalar, or one per row of a or column of b")
    flat = value.reshape(value.size)
    out = np.empty(count, np.int32)
    for i in range(count):
        given = flat[0 if value.size == 1 else i]
        if not low <= given <= low + 255:
            raise ValueError("zero points must lie in the range of their operand's dtype")
        out[i] = given + flip
    return out
