"""Arguments as Python objects, and what compiled code must check before it uses an array.

    Object   any Python object, as its address: the entry itself checks whether it is a plain array, None, an int

An entry that takes these returns 0 when it has done its work. It returns 1, with nothing written, when a case is not
plain. Then the caller, in Python, raises an error or makes the case plain. So a plain call needs no checks in Python.
"""

from __future__ import annotations

from llvmlite import ir
from numba import types
from numba.extending import NativeValue, make_attribute_wrapper, models, register_model, unbox

from ..base.jit import kernel
from ..base.limits import MAX_THREADS
from ..base.memory import BYTES, address_value, load_i32, load_ptr
from .cpython import COUNT, DTYPE, FLAGS, TYPE, WRITEABLE, Known, data_of, dimension, same, stride
from .cpython import integer as integer_of

C_CONTIGUOUS = 0x1


class ObjectType(types.Type):
    def __init__(self) -> None:
        super().__init__(name="Object")


OBJECT = ObjectType()


@register_model(ObjectType)
class _ObjectModel(models.StructModel):
    def __init__(self, manager, kind):
        super().__init__(manager, kind, [("at", types.voidptr)])


make_attribute_wrapper(ObjectType, "at", "at")


@unbox(ObjectType)
def _unbox_object(kind, value, c):
    pointer = c.builder.bitcast(value, BYTES)
    return NativeValue(c.builder.insert_value(ir.Constant(c.context.get_value_type(kind), ir.Undefined), pointer, 0))


@kernel
def is_none(words, value):
    return same(value, Known(words).none)


@kernel
def is_floats(words, value):
    """Whether an object is a float32 array of at least one dimension, exactly of numpy's type."""
    return (
        same(load_ptr(value, TYPE // 8), Known(words).array_class)
        and same(load_ptr(value, DTYPE // 8), Known(words).float32)
        and load_i32(value, COUNT // 4) > 0
    )


@kernel
def columns_of(array):
    """Length of the last axis."""
    return dimension(array, load_i32(array, COUNT // 4) - 1)


@kernel
def rows_of(array):
    """Product of the lengths of the other axes."""
    rows = 1
    for axis in range(load_i32(array, COUNT // 4) - 1):
        rows *= dimension(array, axis)
    return rows


@kernel
def leading_same(a, b):
    """Whether two arrays agree in all axes but the last."""
    axes = load_i32(a, COUNT // 4)
    if axes != load_i32(b, COUNT // 4):
        return False
    same_lengths = True
    for axis in range(axes - 1):
        same_lengths &= dimension(a, axis) == dimension(b, axis)
    return same_lengths


@kernel
def c_contiguous(array):
    return load_i32(array, FLAGS // 4) & C_CONTIGUOUS != 0


@kernel
def writeable(array):
    return load_i32(array, FLAGS // 4) & WRITEABLE != 0


@kernel
def has_rows(array):
    """Whether float32 [..., K] is rows of contiguous values, any one distance apart."""
    return c_contiguous(array) or (
        load_i32(array, COUNT // 4) == 2 and (stride(array, 1) == 4 or dimension(array, 1) <= 1)
    )


@kernel
def row_stride(array):
    """Bytes between the rows of such an array."""
    return 4 * columns_of(array) if c_contiguous(array) else stride(array, 0)


@kernel
def apart(a, b):
    """Whether two such arrays, their rows in ascending order, have no byte in common."""
    if row_stride(a) < 0 or row_stride(b) < 0:
        return False
    begin, other = address_value(data_of(a)), address_value(data_of(b))
    end = begin + (rows_of(a) - 1) * row_stride(a) + 4 * columns_of(a)
    other_end = other + (rows_of(b) - 1) * row_stride(b) + 4 * columns_of(b)
    return end <= other or other_end <= begin


@kernel
def same_or_apart(a, b):
    """Whether one of two such arrays of one shape may be written while the other is read, value by value."""
    return (
        address_value(data_of(a)) == address_value(data_of(b)) and row_stride(a) == row_stride(b)
    ) or apart(a, b)


@kernel
def is_vector(words, value, k):
    """Whether an object is float32 [k], contiguous."""
    return (
        is_floats(words, value)
        and load_i32(value, COUNT // 4) == 1
        and dimension(value, 0) == k
        and c_contiguous(value)
    )


@kernel
def thread_count(words, threads):
    """0 for None, the value of an int that is allowed, else -1."""
    if is_none(words, threads):
        return 0
    count = integer_of(words, threads)
    return count if 1 <= count <= MAX_THREADS else -1
