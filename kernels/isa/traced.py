"""Formulas written for numpy, emitted as LLVM IR: `Lanes` takes the place of an array.

    y = reference.gelu(Lanes(e, x))        the operations of that function, in that order, on x's lanes

numpy passes operators and functions on a `Lanes` to it (``__array_ufunc__``, ``__array_function__``). Only operations
whose result IEEE 754 or C defines are allowed here, so the emitted code has the bits of the numpy call. Operands have
one type, as nothing is promoted; integers wrap. A division of integers must not be by 0, nor overflow; a float that
becomes an integer must fit.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from llvmlite import ir
from numpy.lib.mixins import NDArrayOperatorsMixin

from .emitter import F32, F64, I1, I8, I16, I32, I64, Emitter

#: LLVM's type of each of numpy's; of booleans, in a register; of float16 its bits, with which nothing is computed.
ELEMENTS: dict[Any, ir.Type] = {
    np.dtype(np.float32): F32, np.dtype(np.float64): F64, np.dtype(np.bool_): I1,
    np.dtype(np.int8): I8, np.dtype(np.int16): I16, np.dtype(np.int32): I32, np.dtype(np.int64): I64,
    np.dtype(np.uint8): I8, np.dtype(np.uint16): I16, np.dtype(np.uint32): I32, np.dtype(np.uint64): I64,
    np.dtype(np.float16): I16,
}  # fmt: skip
#: What a `Lanes` of this type is, unless it is said.
_KINDS = {F32: np.float32, F64: np.float64, I1: np.bool_, I32: np.uint32, I64: np.uint64}
#: By ufunc: the builder's methods for floats, signed and unsigned integers.
_BINARY: dict[Any, tuple[Any, Any, Any]] = {
    np.add: ("fadd", "add", "add"), np.subtract: ("fsub", "sub", "sub"), np.multiply: ("fmul", "mul", "mul"),
    np.divide: ("fdiv", None, None), np.fmod: ("frem", None, None),
    np.left_shift: (None, "shl", "shl"), np.right_shift: (None, "ashr", "lshr"),
    np.bitwise_and: (None, "and_", "and_"), np.bitwise_or: (None, "or_", "or_"), np.bitwise_xor: (None, "xor", "xor"),
}  # fmt: skip
_COMPARE = {
    np.less: "<", np.greater: ">", np.equal: "==", np.not_equal: "!=", np.less_equal: "<=", np.greater_equal: ">=",
}  # fmt: skip
_INTRINSICS = {np.sqrt: "sqrt", np.absolute: "fabs", np.floor: "floor", np.ceil: "ceil", np.rint: "rint"}


class _Splat(ir.Constant):
    """A vector constant of one number, which is written once, not once a lane."""

    def __init__(self, kind: ir.VectorType, number: Any):
        super().__init__(kind.element, number)
        self.type = kind

    def _get_reference(self) -> str:
        return f"splat ({ir.Constant(self.type.element, self.constant)})"


def same_in_all(kind: ir.Type, number: Any) -> ir.Constant:
    """A scalar constant, or the same in every lane."""
    return _Splat(kind, number) if isinstance(kind, ir.VectorType) else ir.Constant(kind, number)


def number_of(constant: Any) -> Any:
    """A scalar of numpy as a constant of IR takes it."""
    return (constant.view(np.uint16) if constant.dtype == np.float16 else constant).item()


class Lanes(NDArrayOperatorsMixin):
    """Values of IR, a scalar or a vector, of one of numpy's types."""

    def __init__(self, e: Emitter, value: ir.Value, dtype: Any = None):
        self.e, self.value = e, value
        kind = value.type
        self._vector = isinstance(kind, ir.VectorType)
        self.dtype = np.dtype(_KINDS[kind.element if self._vector else kind] if dtype is None else dtype)

    def _kind(self, dtype: Any) -> ir.Type:
        """LLVM's type of this many values of a type of numpy's."""
        element = ELEMENTS[np.dtype(dtype)]
        return ir.VectorType(element, self.value.type.count) if self._vector else element

    def _operand(self, other: Any) -> ir.Value:
        """A value of this one's shape: another `Lanes`, or a constant in all lanes."""
        if isinstance(other, Lanes):
            return other.value
        return same_in_all(self._kind(other.dtype), number_of(other))  # numpy scalars only: Python's would be 64 bits

    def _like(self, value: ir.Value) -> Lanes:
        return Lanes(self.e, value, self.dtype)

    def __array_ufunc__(self, ufunc: np.ufunc, method: str, *inputs: Any, **options: Any) -> Lanes:
        builder = self.e.builder
        if any(each.dtype != self.dtype for each in inputs):
            raise TypeError(f"{ufunc.__name__} of {[str(each.dtype) for each in inputs]}: nothing is promoted here")
        values = [self._operand(each) for each in inputs]
        kind = "fiu".index({"b": "u"}.get(self.dtype.kind, self.dtype.kind))
        if ufunc in _COMPARE:
            compared = (builder.fcmp_ordered, builder.icmp_signed, builder.icmp_unsigned)[kind]
            if kind == 0 and ufunc is np.not_equal:
                compared = builder.fcmp_unordered
            return Lanes(self.e, compared(_COMPARE[ufunc], *values), np.bool_)
        if ufunc is np.isnan:
            return Lanes(self.e, builder.fcmp_unordered("uno", values[0], values[0]), np.bool_)
        if ufunc is np.negative:
            return self._like(builder.fneg(*values) if kind == 0 else builder.neg(*values))
        if ufunc is np.invert:
            return self._like(builder.xor(values[0], same_in_all(values[0].type, 1 if self.dtype.kind == "b" else -1)))
        if ufunc is np.floor_divide:
            return self._floor_divide(*values)
        if ufunc is np.absolute and kind == 1:
            below = builder.icmp_signed("<", values[0], same_in_all(values[0].type, 0))
            return self._like(builder.select(below, builder.neg(values[0]), values[0]))
        if ufunc in _INTRINSICS:
            lanes = f"v{values[0].type.count}" if self._vector else ""
            name = f"llvm.{_INTRINSICS[ufunc]}.{lanes}f{8 * self.dtype.itemsize}"
            return self._like(self.e.call(name, values[0].type, values))
        return self._like(getattr(builder, _BINARY[ufunc][kind])(*values))

    def _floor_divide(self, a: ir.Value, b: ir.Value) -> Lanes:
        builder, zero = self.e.builder, same_in_all(a.type, 0)
        if self.dtype.kind == "u":
            return self._like(builder.udiv(a, b))
        quotient = builder.sdiv(a, b)
        rest = builder.sub(a, builder.mul(quotient, b))
        below = builder.icmp_signed("<", builder.xor(rest, b), zero)  # of unlike signs
        below = builder.and_(below, builder.icmp_signed("!=", rest, zero))
        return self._like(builder.add(quotient, builder.sext(below, a.type)))

    def __array_function__(self, function: Any, types: Any, args: tuple, options: dict) -> Any:
        if function is not np.where:
            return NotImplemented
        condition, yes, no = args
        if not isinstance(condition, Lanes):
            return yes if condition else no
        if yes.dtype != no.dtype:
            raise TypeError(f"where of {yes.dtype} and {no.dtype}: nothing is promoted here")
        value = self.e.builder.select(condition.value, condition._operand(yes), condition._operand(no))
        return Lanes(self.e, value, yes.dtype)

    def view(self, dtype: Any) -> Lanes:
        """The same bits."""
        return Lanes(self.e, self.e.builder.bitcast(self.value, self._kind(dtype)), dtype)

    def astype(self, dtype: Any) -> Lanes:
        """The value as another type; one rounding at most."""
        to, of, builder = np.dtype(dtype), self.dtype, self.e.builder
        if to == of:
            return self
        if to.kind == "b":
            return self != of.type(0)
        if of.kind == to.kind == "f":
            name = "fpext" if to.itemsize > of.itemsize else "fptrunc"
        elif of.kind == "f":
            name = "fptosi" if to.kind == "i" else "fptoui"
        elif to.kind == "f":
            name = "sitofp" if of.kind == "i" else "uitofp"
        elif of.kind != "b" and to.itemsize <= of.itemsize:
            name = "trunc" if to.itemsize < of.itemsize else "bitcast"
        else:
            name = "sext" if of.kind == "i" else "zext"
        return Lanes(self.e, getattr(builder, name)(self.value, self._kind(to)), to)
