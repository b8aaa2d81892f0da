"""What a region is, and the numpy reference of compiled ones: it defines every operator's result, bit for bit.

    Region(leaves=("float32", "int64"), operations=(("Cast", (1,), "float32"), ("Mul", (0, 2), "float32")),
           results=(3,))

Values are numbered: leaves first, then operations. An operand is such a number, or a constant `(type, value)`. A result
may be any value, a leaf, too: that is a copy. Operators have ONNX's names.

Compiled code has no formulas of its own: emit.py runs these with lanes of LLVM IR in place of arrays (isa/traced.py).
ONNX's semantics, with what ONNX leaves open fixed here:

    Min Max            a NaN operand gives NaN; of equal values (±0) the last one
    Clip               first the lower bound, then the upper; a NaN stays
    Div                integers: towards zero; by 0 gives 0; the least integer by -1 wraps to itself
    Mod                the divisor's sign, with fmod the dividend's; integers by 0 give 0; of floats C's fmod is exact
    BitShift           by the width or more, or by less than 0: 0, or -1 where a negative number is shifted right
    Round              half to even
    Sign               0 of ±0, NaN of NaN
    Cast               float16 by way of float32, but with one rounding; integer to integer wraps; float to integer:
                       towards zero, the nearest that there is, 0 of NaN
    Pow                a constant exponent 2, 3, ½, -½, -1 is x·x, x·x·x, √x, 1/√x, 1/x; others as C's pow, in float32
    Erf Exp Tanh Sigmoid Gelu …     the formulas of activations/reference.py
    Log Softplus Sin Cos Pow        those of reference_functions.py
    Tan Asin Cosh Atanh …, Exp Log Sigmoid Softplus of float64      those of reference_more.py

Everything else is one IEEE 754 operation each, in the order written. Which bits a NaN has is not defined.

Operands beyond ONNX's inputs are its attributes:
    LeakyRelu(x, alpha) Elu(x, alpha) Celu(x, alpha) Selu(x, alpha, gamma) HardSigmoid(x, alpha, beta)
    ThresholdedRelu(x, alpha) Clip(x, least, most) Mod(a, b) Fmod(a, b)
GeluTanh is Gelu with approximate="tanh"; Swish is x·sigmoid(x).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial, reduce
from typing import Any, NamedTuple

import numpy as np

from ..activations import reference as activations
from ..activations.reference import HALF, ONE, ZERO, at_least, at_most
from . import reference_functions as functions
from . import reference_more as more

#: Types of leaves, operations and constants.
TYPES = (
    "float32", "float64", "int64", "int32", "uint8", "int8", "bool", "int16", "uint16", "uint32", "uint64", "float16",
)  # fmt: skip

#: A number of a value, or a constant.
Operand = Any
Operation = tuple[str, tuple[Operand, ...], str]


class Region(NamedTuple):
    """Hashable; but regions whose constants are 0.0 and -0.0 are equal: tell them apart by `repr`."""

    leaves: tuple[str, ...]
    operations: tuple[Operation, ...]
    results: tuple[int, ...]

    @property
    def types(self) -> tuple[str, ...]:
        """The type of every value."""
        return (*self.leaves, *(kind for _, _, kind in self.operations))

    @property
    def operands(self) -> tuple[str, ...]:
        """Types of what a call takes addresses of: leaves, then results."""
        types = self.types
        return (*self.leaves, *(types[result] for result in self.results))


def constant(operand: Operand) -> np.generic:
    """A constant operand as numpy's scalar."""
    kind, value = operand
    return np.dtype(kind).type(value)


def is_constant(operand: Operand) -> bool:
    return isinstance(operand, tuple)


#: Arrays of numpy, or the lanes of isa/traced.py.
Values = Any

_FLOAT = frozenset({"float32"})
_REAL = _FLOAT | {"float64"}
_SIGNED = frozenset({"int8", "int16", "int32", "int64"})
_INTEGER = _SIGNED | {"uint8", "uint16", "uint32", "uint64"}
_NUMBER = _REAL | _INTEGER
_BOOL = frozenset({"bool"})
_ANY = _NUMBER | _BOOL


def _one(like: Values) -> Any:
    return like.dtype.type(1)


def _zero(like: Values) -> Any:
    return like.dtype.type(0)


def maximum(a: Values, b: Values) -> Values:
    larger = np.where(a > b, a, b)
    return larger if a.dtype.kind != "f" else np.where(np.isnan(a), a, larger)


def minimum(a: Values, b: Values) -> Values:
    smaller = np.where(a < b, a, b)
    return smaller if a.dtype.kind != "f" else np.where(np.isnan(a), a, smaller)


def _towards_zero(a: Values, b: Values) -> Values:
    zero, one = _zero(b), _one(b)
    if b.dtype.kind == "u":
        return np.where(b == zero, zero, a // np.where(b == zero, one, b))
    minus = b == -one
    divisor = np.where((b == zero) | minus, one, b)
    quotient = a // divisor
    up = (quotient * divisor != a) & ((a < zero) ^ (divisor < zero))
    quotient = np.where(up, quotient + one, quotient)
    return np.where(minus, -a, np.where(b == zero, zero, quotient))


def _divide(a: Values, b: Values) -> Values:
    return a / b if a.dtype.kind == "f" else _towards_zero(a, b)


def _fmod(a: Values, b: Values) -> Values:
    if a.dtype.kind == "f":
        return np.fmod(a, b)
    return np.where(b == _zero(b), _zero(b), a - _towards_zero(a, b) * b)


def _mod(a: Values, b: Values) -> Values:
    rest, zero = _fmod(a, b), _zero(b)
    if b.dtype.kind == "u":
        return rest
    whole = np.where((rest != zero) & ((rest < zero) ^ (b < zero)), rest + b, rest)
    return np.where(rest == zero, np.where(b < zero, -zero, zero), whole) if b.dtype.kind == "f" else whole


def _shifted(a: Values, b: Values, *, left: bool) -> Values:
    zero, bits, beyond = _zero(a), a.dtype.type(8 * a.dtype.itemsize), _zero(a)
    fits = b < bits if b.dtype.kind == "u" else (b < bits) & (b >= zero)
    by = np.where(fits, b, zero)
    if not left and a.dtype.kind == "i":
        beyond = np.where(a < zero, -_one(a), zero)
    return np.where(fits, a << by if left else a >> by, beyond)


def _by_width(narrow: Callable[[Values], Values], wide: Callable[[Values], Values]) -> Callable[[Values], Values]:
    """The formula of float32, and that of float64."""
    return lambda x: wide(x) if x.dtype == np.float64 else narrow(x)


def _sign(x: Values) -> Values:
    zero, one = _zero(x), _one(x)
    up = np.where(x > zero, one, np.where(x == zero, zero, x))
    return up if x.dtype.kind == "u" else np.where(x < zero, -one, up)


def _clip(x: Values, least: Values, most: Values) -> Values:
    return at_most(at_least(x, least), most)


def _is_infinite(x: Values) -> Values:
    return np.abs(x) == x.dtype.type(np.inf)


def _hard_sigmoid(x: Values, alpha: Values, beta: Values) -> Values:
    return _clip(x * alpha + beta, ZERO, ONE)


def _elu(x: Values, alpha: Values) -> Values:
    return np.where(x < ZERO, alpha * (activations.exp(x) - ONE), x)


def _celu(x: Values, alpha: Values) -> Values:
    return np.where(x < ZERO, alpha * (activations.exp(x / alpha) - ONE), x)


def _selu(x: Values, alpha: Values, gamma: Values) -> Values:
    return gamma * np.where(x > ZERO, x, alpha * (activations.exp(x) - ONE))


_POWERS: dict[float, Callable[[Values], Values]] = {
    2.0: lambda x: x * x, 3.0: lambda x: x * x * x, 1.0: lambda x: x, 0.5: np.sqrt,
    -0.5: lambda x: _one(x) / np.sqrt(x), -1.0: lambda x: _one(x) / x,
}  # fmt: skip


def _power(x: Values, y: Values) -> Values:
    if not isinstance(y, np.generic):
        return functions.power(x, y)
    known = _POWERS.get(float(y))
    return functions.power(x, x.dtype.type(y)) if known is None else known(x)


def _half_as_float(x: Values) -> Values:
    """float32 of float16, by their bits: exact."""
    bits = x.view(np.uint16).astype(np.uint32)
    sign, rest = (bits & np.uint32(0x8000)) << np.uint32(16), bits & np.uint32(0x7FFF)
    large = np.where(rest < np.uint32(0x7C00), np.uint32(112 << 23), np.uint32(224 << 23))
    normal = ((rest << np.uint32(13)) + large).view(np.float32)
    y = np.where(rest < np.uint32(0x0400), rest.astype(np.float32) * np.float32(2.0**-24), normal)
    return (y.view(np.uint32) | sign).view(np.float32)


def _float_as_half(x: Values) -> Values:
    """float16 of float32, to the nearest, half to even."""
    bits = x.view(np.uint32)
    sign, rest = (bits >> np.uint32(16)) & np.uint32(0x8000), bits & np.uint32(0x7FFFFFFF)
    odd = (rest >> np.uint32(13)) & np.uint32(1)
    normal = ((rest + np.uint32(0xFFF) + odd) >> np.uint32(13)) - np.uint32(112 << 10)
    small = rest < np.uint32(0x38800000)  # below 2⁻¹⁴: steps of 2⁻²⁴
    steps = np.rint(np.where(small, rest, np.uint32(0)).view(np.float32) * np.float32(2.0**24))
    y = np.where(small, steps.astype(np.uint32), normal)
    y = np.where(rest < np.uint32(0x47800000), y, np.uint32(0x7C00))
    y = np.where(rest > np.uint32(0x7F800000), np.uint32(0x7E00), y)
    return (y | sign).astype(np.uint16).view(np.float16)


def _double_to_odd(x: Values) -> Values:
    """float32 of float64, of which a second rounding makes what one rounding would: towards zero, inexact ones odd."""
    y = x.astype(np.float32)
    back, bits = y.astype(np.float64), y.view(np.uint32)
    bits = np.where(np.abs(back) > np.abs(x), bits - np.uint32(1), bits)
    return np.where((back != x) & (x == x), bits | np.uint32(1), bits).view(np.float32)


def cast(x: Values, kind: str) -> Values:
    """`x` as another type."""
    to = np.dtype(kind)
    if x.dtype == to:
        return x
    if x.dtype == np.float16:
        return cast(_half_as_float(x), kind)
    if to == np.float16:
        return _float_as_half(_double_to_odd(x) if x.dtype == np.float64 else cast(x, "float32"))
    if x.dtype.kind != "f" or to.kind not in "iu":
        return x != _zero(x) if to.kind == "b" else x.astype(to)
    of, limits = x.dtype.type, np.iinfo(to)
    top, bottom = of(2.0 ** (limits.bits - (to.kind == "i"))), of(limits.min)
    within = np.where((x < top) & (x > bottom), x, of(0))  # so that it fits
    y = np.where(x >= top, to.type(limits.max), within.astype(to))
    return np.where(x <= bottom, to.type(limits.min), y)


@dataclass(frozen=True)
class Operator:
    """An operator: its formula; how many operands it has; their types; whether a result is boolean; and about how many
    picoseconds a value takes of a thread."""

    formula: Callable
    count: range
    types: frozenset[str]
    boolean: bool = False
    cost: int = 8


def _of(formula: Callable, count: int, types: frozenset[str], *, boolean: bool = False, cost: int = 8) -> Operator:
    return Operator(formula, range(count, count + 1), types, boolean, cost)


def _joined(formula: Callable) -> Callable:
    return lambda *values: reduce(formula, values)


_MANY = range(1, 1 << 10)

#: By ONNX's name. Where and Cast have operands of other types, and are treated by name.
OPERATORS: dict[str, Operator] = {
    "Add": _of(np.add, 2, _NUMBER),
    "Sub": _of(np.subtract, 2, _NUMBER),
    "Mul": _of(np.multiply, 2, _NUMBER),
    "Div": _of(_divide, 2, _NUMBER, cost=120),
    "Mod": _of(_mod, 2, _NUMBER, cost=5000),
    "Fmod": _of(_fmod, 2, _NUMBER, cost=5000),
    "BitShiftLeft": _of(partial(_shifted, left=True), 2, _INTEGER),
    "BitShiftRight": _of(partial(_shifted, left=False), 2, _INTEGER),
    "Neg": _of(np.negative, 1, _REAL | _SIGNED),
    "Abs": _of(lambda x: x if x.dtype.kind == "u" else np.abs(x), 1, _NUMBER),
    "Sign": _of(_sign, 1, _NUMBER),
    "Sqrt": _of(np.sqrt, 1, _REAL, cost=150),
    "Reciprocal": _of(lambda x: _one(x) / x, 1, _REAL, cost=120),
    "Floor": _of(np.floor, 1, _REAL),
    "Ceil": _of(np.ceil, 1, _REAL),
    "Round": _of(np.rint, 1, _REAL),
    "Min": Operator(_joined(minimum), _MANY, _NUMBER),
    "Max": Operator(_joined(maximum), _MANY, _NUMBER),
    "Sum": Operator(_joined(np.add), _MANY, _REAL),
    "Mean": Operator(lambda *x: reduce(np.add, x) / x[0].dtype.type(len(x)), _MANY, _REAL, cost=120),
    "Clip": _of(_clip, 3, _NUMBER),
    "Pow": _of(_power, 2, _NUMBER, cost=4000),
    "Exp": _of(_by_width(activations.exp, more.exp), 1, _REAL, cost=250),
    "Log": _of(_by_width(functions.log, more.log), 1, _REAL, cost=1200),
    "Sin": _of(functions.sin, 1, _FLOAT, cost=6000),
    "Cos": _of(functions.cos, 1, _FLOAT, cost=6000),
    "Tan": _of(more.tan, 1, _FLOAT, cost=6000),
    "Asin": _of(more.asin, 1, _FLOAT, cost=3000),
    "Acos": _of(more.acos, 1, _FLOAT, cost=3000),
    "Atan": _of(more.atan, 1, _FLOAT, cost=2500),
    "Sinh": _of(more.sinh, 1, _FLOAT, cost=3500),
    "Cosh": _of(more.cosh, 1, _FLOAT, cost=3000),
    "Asinh": _of(more.asinh, 1, _FLOAT, cost=3000),
    "Acosh": _of(more.acosh, 1, _FLOAT, cost=3000),
    "Atanh": _of(more.atanh, 1, _FLOAT, cost=2500),
    "Erf": _of(activations.erf, 1, _FLOAT, cost=250),
    "Tanh": _of(activations.tanh, 1, _FLOAT, cost=280),
    "Sigmoid": _of(_by_width(activations.sigmoid, more.sigmoid), 1, _REAL, cost=350),
    "Softplus": _of(_by_width(functions.softplus, more.softplus), 1, _REAL, cost=1800),
    "Mish": _of(lambda x: x * activations.tanh(functions.softplus(x)), 1, _FLOAT, cost=2100),
    "Softsign": _of(lambda x: x / (ONE + np.abs(x)), 1, _FLOAT, cost=130),
    "Relu": _of(lambda x: at_least(x, _zero(x)), 1, _NUMBER),
    "Gelu": _of(activations.gelu, 1, _FLOAT, cost=300),
    "GeluTanh": _of(activations.gelu_tanh, 1, _FLOAT, cost=400),
    "Swish": _of(activations.silu, 1, _FLOAT, cost=370),
    "LeakyRelu": _of(lambda x, alpha: np.where(x < _zero(x), alpha * x, x), 2, _REAL),
    "PRelu": _of(lambda x, slope: np.where(x < _zero(x), slope * x, x), 2, _NUMBER),
    "ThresholdedRelu": _of(lambda x, alpha: np.where(x > alpha, x, _zero(x)), 2, _REAL),
    "HardSigmoid": _of(_hard_sigmoid, 3, _FLOAT),
    "HardSwish": _of(lambda x: x * _hard_sigmoid(x, ONE / np.float32(6), HALF), 1, _FLOAT),
    "Elu": _of(_elu, 2, _FLOAT, cost=270),
    "Celu": _of(_celu, 2, _FLOAT, cost=380),
    "Selu": _of(_selu, 3, _FLOAT, cost=280),
    "And": _of(np.bitwise_and, 2, _BOOL),
    "Or": _of(np.bitwise_or, 2, _BOOL),
    "Xor": _of(np.bitwise_xor, 2, _BOOL),
    "Not": _of(np.invert, 1, _BOOL),
    "BitwiseAnd": _of(np.bitwise_and, 2, _INTEGER),
    "BitwiseOr": _of(np.bitwise_or, 2, _INTEGER),
    "BitwiseXor": _of(np.bitwise_xor, 2, _INTEGER),
    "BitwiseNot": _of(np.invert, 1, _INTEGER),
    "Equal": _of(np.equal, 2, _ANY, boolean=True),
    "Less": _of(np.less, 2, _NUMBER, boolean=True),
    "Greater": _of(np.greater, 2, _NUMBER, boolean=True),
    "LessOrEqual": _of(np.less_equal, 2, _NUMBER, boolean=True),
    "GreaterOrEqual": _of(np.greater_equal, 2, _NUMBER, boolean=True),
    "IsNaN": _of(np.isnan, 1, _REAL, boolean=True),
    "IsInf": _of(_is_infinite, 1, _REAL, boolean=True),
    "Where": _of(np.where, 3, _ANY),
    "Cast": _of(cast, 1, _ANY),
    "Identity": _of(lambda x: x, 1, _ANY, cost=0),
}


def computed(region: Region, leaves: Sequence[Values]) -> list[Values]:
    """Every value of a region, of arrays or of lanes."""
    values = list(leaves)
    for name, operands, kind in region.operations:
        taken = [constant(o) if is_constant(o) else values[o] for o in operands]
        values.append(cast(taken[0], kind) if name == "Cast" else OPERATORS[name].formula(*taken))
    return values


@np.errstate(all="ignore")
def evaluate(region: Region, leaves: Sequence[np.ndarray]) -> list[np.ndarray]:
    """The results of a region for arrays, which broadcast."""
    shape = np.broadcast_shapes(*(leaf.shape for leaf in leaves))
    values, types = computed(region, leaves), region.types
    return [np.broadcast_to(np.asarray(values[r], types[r]), shape) for r in region.results]
