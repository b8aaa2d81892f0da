"""Arguments that cost nothing: the fields of a numpy array, read directly from its C struct.

numba's own arrays hold a reference, with a reference count and an allocated record: 80 ns each, where a whole small
call takes 600. The caller of a kernel keeps its arrays alive anyway.

    View     a matrix: data, rows, columns, and their strides in bytes
    Address  where an array's data begins
    Number   an address that Python has as a number, such as a function's

The struct (PyArrayObject_fields: head, data, nd, dimensions, strides, …) is part of numpy's C ABI, the same in 1.x and
2.x. Only the entries of `dynq_numba/runtime/` take these. Their callers have checked dtype and dimensions.
"""

from __future__ import annotations

from llvmlite import ir
from numba import types
from numba.extending import NativeValue, make_attribute_wrapper, models, register_model, unbox

from ..base.memory import BYTES, I64

#: Where `data` stands in the struct; after it an int, two pointers.
HEAD = object.__basicsize__
DATA, DIMENSIONS, STRIDES = HEAD, HEAD + 16, HEAD + 24

FIELDS = ("data", "rows", "columns", "row_stride", "column_stride")


class ViewType(types.Type):
    def __init__(self) -> None:
        super().__init__(name="View")


class AddressType(types.Type):
    def __init__(self) -> None:
        super().__init__(name="Address")


class NumberType(types.Type):
    def __init__(self) -> None:
        super().__init__(name="Number")


VIEW, ADDRESS, NUMBER = ViewType(), AddressType(), NumberType()


@register_model(ViewType)
class _ViewModel(models.StructModel):
    def __init__(self, manager, kind):
        members = [(name, types.voidptr if name == "data" else types.intp) for name in FIELDS]
        super().__init__(manager, kind, members)


@register_model(AddressType)
@register_model(NumberType)
class _AddressModel(models.StructModel):
    def __init__(self, manager, kind):
        super().__init__(manager, kind, [("data", types.voidptr)])


for _field in FIELDS:
    make_attribute_wrapper(ViewType, _field, _field)
make_attribute_wrapper(AddressType, "data", "data")
make_attribute_wrapper(NumberType, "data", "data")


def _field_at(builder: ir.IRBuilder, base: ir.Value, offset: int, kind: ir.Type) -> ir.Value:
    place = builder.gep(builder.bitcast(base, BYTES), [ir.Constant(I64, offset)])
    return builder.load(builder.bitcast(place, kind.as_pointer()))


@unbox(ViewType)
def _unbox_view(kind, value, c):
    dimensions = _field_at(c.builder, value, DIMENSIONS, BYTES)
    strides = _field_at(c.builder, value, STRIDES, BYTES)
    words = [_field_at(c.builder, base, 8 * axis, I64) for base in (dimensions, strides) for axis in (0, 1)]
    view = ir.Constant(c.context.get_value_type(kind), ir.Undefined)
    for i, field in enumerate([_field_at(c.builder, value, DATA, BYTES), *words]):
        view = c.builder.insert_value(view, field, i)
    return NativeValue(view)


@unbox(AddressType)
def _unbox_address(kind, value, c):
    pointer = _field_at(c.builder, value, DATA, BYTES)
    return NativeValue(c.builder.insert_value(ir.Constant(c.context.get_value_type(kind), ir.Undefined), pointer, 0))


@unbox(NumberType)
def _unbox_number(kind, value, c):
    pointer = c.pyapi.long_as_voidptr(value)
    return NativeValue(c.builder.insert_value(ir.Constant(c.context.get_value_type(kind), ir.Undefined), pointer, 0))
