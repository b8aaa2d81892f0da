"""Packed objects as arguments of compiled code: each becomes its descriptor, int64 words that kernels read.

A kind of packed object names its numba type, which carries what chooses code (an embedding's bits, say):

    class PackedThingType(PackedType):
        packed = (PackedThing,)

        @classmethod
        def of(cls, value, context): return cls(…)

Its operator's row says so (`Operator.types`); `register_packed` is told from there.
"""

from __future__ import annotations

from typing import Any

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.core.errors import TypingError
from numba.core.imputils import lower_constant
from numba.extending import NativeValue, make_attribute_wrapper, models, register_model, typeof_impl, unbox

from ..kernels.base.jit import FINGERPRINT

DESCRIPTOR = types.Array(types.int64, 1, "C")


class PackedType(types.Type):
    """numba's view of a packed object. The fingerprint keeps users' cached functions from outliving a layout."""

    #: The classes of the objects.
    packed: tuple[type, ...]

    def __init__(self, label: str) -> None:
        self.label = label
        super().__init__(name=f"{label}[{FINGERPRINT}]")

    @classmethod
    def of(cls, value: Any, context: Any) -> PackedType:
        """The type of an object."""
        raise NotImplementedError


class _Model(models.StructModel):
    def __init__(self, manager: Any, kind: PackedType):
        super().__init__(manager, kind, [("descriptor", DESCRIPTOR)])


def _unbox(kind: PackedType, value: ir.Value, c: Any) -> NativeValue:
    slot = cgutils.alloca_once_value(c.builder, ir.Constant(c.context.get_value_type(kind), None))
    failed = cgutils.alloca_once_value(c.builder, cgutils.true_bit)
    array = c.pyapi.call_method(value, "_descriptor", ())
    with c.builder.if_then(cgutils.is_not_null(c.builder, array)):  # NULL: it raised, and numba passes that on
        native = c.unbox(DESCRIPTOR, array)
        c.pyapi.decref(array)
        proxy = cgutils.create_struct_proxy(kind)(c.context, c.builder)
        proxy.descriptor = native.value
        c.builder.store(proxy._getvalue(), slot)
        c.builder.store(native.is_error, failed)
    return NativeValue(c.builder.load(slot), is_error=c.builder.load(failed))


def _refuse_constant(context: Any, builder: Any, kind: PackedType, value: Any) -> None:
    name = type(value).__name__
    raise TypingError(f"a {name} cannot be a global or closure variable of compiled code: pass it as an argument")


def register_packed(kind: type[PackedType]) -> None:
    """Let arguments of this type into compiled code, where `.descriptor` is the array of their words."""
    register_model(kind)(_Model)
    make_attribute_wrapper(kind, "descriptor", "descriptor")
    unbox(kind)(_unbox)
    lower_constant(kind)(_refuse_constant)
    for packed in kind.packed:
        typeof_impl.register(packed)(kind.of)
