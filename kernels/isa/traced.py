"""Formulas written for numpy, emitted as LLVM IR: `Lanes` takes the place of an array.

    y = reference.gelu(Lanes(e, x))        the operations of that function, in that order, on x's lanes

numpy passes operators and functions on a `Lanes` to it (``__array_ufunc__``, ``__array_function__``). Only operations
whose result IEEE 754 defines are allowed here, so the emitted code has the bits of the numpy call.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from llvmlite import ir
from numpy.lib.mixins import NDArrayOperatorsMixin

from .emitter import F32, I32, Emitter, constant

_ELEMENTS = {np.dtype(np.float32): F32, np.dtype(np.uint32): I32}
#: By ufunc: the builder's methods for floats and for integers.
_BINARY: dict[Any, tuple[Any, Any]] = {
    np.add: ("fadd", "add"), np.subtract: ("fsub", "sub"), np.multiply: ("fmul", "mul"), np.divide: ("fdiv", None),
    np.left_shift: (None, "shl"), np.right_shift: (None, "lshr"),
}  # fmt: skip
_COMPARE = {np.less: "<", np.greater: ">", np.equal: "=="}
_INTRINSICS = {np.sqrt: "sqrt", np.absolute: "fabs"}


class Lanes(NDArrayOperatorsMixin):
    """A float32 or uint32 of IR, scalar or vector."""

    def __init__(self, e: Emitter, value: ir.Value):
        self.e, self.value = e, value

    def _operand(self, other: Any) -> ir.Value:
        """A value of this one's shape: another `Lanes`, or a constant in all lanes."""
        if isinstance(other, Lanes):
            return other.value
        kind, element = self.value.type, _ELEMENTS[other.dtype]  # numpy scalars only: Python's would be float64
        number = float(other) if element == F32 else int(other)
        return constant(ir.VectorType(element, kind.count) if isinstance(kind, ir.VectorType) else element, number)

    def __array_ufunc__(self, ufunc: np.ufunc, method: str, *inputs: Any, **options: Any) -> Lanes:
        builder = self.e.builder
        values = [self._operand(each) for each in inputs]
        kind = values[0].type
        element = kind.element if isinstance(kind, ir.VectorType) else kind
        if ufunc in _COMPARE:
            return Lanes(self.e, builder.fcmp_ordered(_COMPARE[ufunc], *values))
        if ufunc is np.negative:
            return Lanes(self.e, builder.fneg(*values))
        if ufunc in _INTRINSICS:
            lanes = f"v{kind.count}" if isinstance(kind, ir.VectorType) else ""
            return Lanes(self.e, self.e.call(f"llvm.{_INTRINSICS[ufunc]}.{lanes}f32", kind, values))
        return Lanes(self.e, getattr(builder, _BINARY[ufunc][element != F32])(*values))

    def __array_function__(self, function: Any, types: Any, args: tuple, options: dict) -> Any:
        if function is not np.where:
            return NotImplemented
        condition, yes, no = args
        like = yes if isinstance(yes, Lanes) else no if isinstance(no, Lanes) else condition
        return Lanes(self.e, self.e.builder.select(condition.value, like._operand(yes), like._operand(no)))

    def view(self, dtype: Any) -> Lanes:
        kind, element = self.value.type, _ELEMENTS[np.dtype(dtype)]
        kind = ir.VectorType(element, kind.count) if isinstance(kind, ir.VectorType) else element
        return Lanes(self.e, self.e.builder.bitcast(self.value, kind))
