"""Rows of float32: softmax, layer_norm, rms_norm, element by element functions, and rotary embeddings.

    softmax      m = max v;  e = exp(v - m), s = Σ e;  out = e·(1/s)                     v = x, masked
    layer_norm   v = x + residual, m = Σ v / K;  s = Σ (v - m)²;  out = (v - m)·(1/√(s/K + eps))·weight + bias
    rms_norm     v = x + residual, s = Σ v²;     out = v·(1/√(s/K + eps))·weight
    map          out = f(x) or f(x, second)
    rotary       (a, b) ─▶ (a·cos - b·sin, b·cos + a·sin)      a, b: the halves of a row, or its even and odd values

Each `;` ends a pass over the row, which stays in L1: memory is read once and written once. A pass goes by blocks of one
or more vectors of 16 lanes; the last, short block is masked and touches no byte beyond the row:

    ┌ block ─────────────────────────┬ block ┬ masked block ┐
    │ stream 0 │ stream 1 │ 2 │ 3    │ …     │ x x x x 0 0  │      lanes beyond the row are 0 in every sum
    └──────────┴──────────┴──────────┴───────┴──────────────┘

Formulas and the order of sums are those of reference_floats.py; the formulas are that file's own functions, traced.
In every pass a block is read before it is written, so `out` may be x, the residual, or the second operand themselves.
No fused multiply-add and nothing reassociated: LLVM turns <16 x float> into what the target has, with the same bits.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from llvmlite import ir

from .. import reference_floats as formulas
from ..reference_floats import LANES, NORM_STREAMS, SOFTMAX_STREAMS
from .traced import Lanes
from .vectors import BYTES, F32, I8, I64, VOID, Emitter, constant, internal_function, vector

FLOATS = vector(F32, LANES)
PAIRS = vector(F32, 2 * LANES)
SOME_BYTES = vector(I8, LANES)
VECTOR_BYTES = 4 * LANES
#: What a mask is: none, a byte per value (0: left out), a float32 per value (added).
MASKS = ("none", "bool", "float")

SOFTMAX_ARGUMENTS = [BYTES, BYTES, I64, BYTES]
NORM_ARGUMENTS = [BYTES, BYTES, BYTES, BYTES, F32, I64, BYTES, BYTES]
MAP_ARGUMENTS = [BYTES, BYTES, I64, BYTES]
ROTARY_ARGUMENTS = [BYTES, BYTES, BYTES, I64, BYTES]


class Place:
    """A vector's place in every row of the pass: its bytes from the row's start, and which lanes are in the row."""

    def __init__(self, e: Emitter, offset: ir.Value, left: ir.Value | None):
        self.e, self.offset, self.left = e, offset, left

    def _mask(self, lanes: int = LANES) -> ir.Value:
        left = self.left if lanes == LANES else self.e.builder.mul(self.left, ir.Constant(I64, lanes // LANES))
        return self.e.first_lanes(lanes, left)

    def load(self, row: ir.Value, kind: ir.VectorType = FLOATS) -> ir.Value:
        """Values of a row of floats, of bytes, or of pairs of floats; 0 in lanes beyond it."""
        width = kind.count * (1 if kind.element == I8 else 4)
        offset = self.offset
        if width < VECTOR_BYTES:
            offset = self.e.builder.udiv(offset, ir.Constant(I64, VECTOR_BYTES // width))
        elif width > VECTOR_BYTES:
            offset = self.e.builder.mul(offset, ir.Constant(I64, width // VECTOR_BYTES))
        if self.left is None:
            return self.e.load(kind, self.e.at(row, offset), 1)
        return self.e.masked_load(kind, self.e.at(row, offset), self._mask(kind.count), 1)

    def store(self, value: ir.Value, row: ir.Value) -> None:
        offset = self.offset
        if value.type.count > LANES:
            offset = self.e.builder.mul(offset, ir.Constant(I64, value.type.count // LANES))
        if self.left is None:
            self.e.store(value, self.e.at(row, offset), 1)
        else:
            self.e.masked_store(value, self.e.at(row, offset), self._mask(value.type.count), 1)

    def only(self, value: ir.Value, other: float) -> ir.Value:
        """`other` in lanes beyond the row."""
        if self.left is None:
            return value
        return self.e.builder.select(self._mask(), value, constant(FLOATS, other))


def sweep(
    e: Emitter, k: ir.Value, vectors: int, state: list[ir.Value],
    body: Callable[[list[Place], list[ir.Value]], list[ir.Value]],
) -> list[ir.Value]:  # fmt: skip
    """Go over a row of k values in blocks of `vectors` vectors; gives the last state."""
    builder = e.builder
    block = ir.Constant(I64, LANES * vectors)
    left = builder.srem(k, block)

    def step(masked: bool, state: list[ir.Value]) -> list[ir.Value]:
        offset, *rest = state
        places = []
        for v in range(vectors):
            lanes = builder.sub(left, ir.Constant(I64, LANES * v)) if masked else None
            places.append(Place(e, builder.add(offset, ir.Constant(I64, VECTOR_BYTES * v)), lanes))
        return [builder.add(offset, ir.Constant(I64, VECTOR_BYTES * vectors)), *body(places, rest)]

    carried = e.repeat(builder.sdiv(k, block), [ir.Constant(I64, 0), *state], lambda s: step(False, s))
    some = builder.zext(builder.icmp_signed(">", left, ir.Constant(I64, 0)), I64)
    return e.repeat(some, carried, lambda s: step(True, s))[1:]


def _folded(e: Emitter, parts: list[ir.Value], combine: Callable[[ir.Value, ir.Value], ir.Value]) -> ir.Value:
    """Streams, then lanes, combined half to half: a scalar."""
    while len(parts) > 1:
        half = len(parts) // 2
        parts = [combine(a, b) for a, b in zip(parts[:half], parts[half:], strict=True)]
    (value,) = parts
    while value.type.count > 1:
        half = value.type.count // 2
        value = combine(e.part(value, 0, half), e.part(value, half, half))
    return e.builder.extract_element(value, ir.Constant(I64, 0))


def _started(module: ir.Module, name: str, arguments: list[ir.Type]) -> tuple[ir.Function, Emitter | None]:
    function, fresh = internal_function(module, name, VOID, arguments)
    return function, Emitter(ir.IRBuilder(function.append_basic_block("entry"))) if fresh else None


def softmax_function(module: ir.Module, mask: str) -> ir.Function:
    """void softmax(x, mask, k, out): one row."""
    function, e = _started(module, f"dynq_softmax_{mask}", SOFTMAX_ARGUMENTS)
    if e is None:
        return function
    x, masks, k, out = function.args
    builder = e.builder
    lowest = constant(FLOATS, -np.inf)

    def greater(a: ir.Value, b: ir.Value) -> ir.Value:
        return builder.select(builder.fcmp_ordered(">", a, b), a, b)  # b where a is NaN

    def value(place: Place) -> ir.Value:
        loaded = place.load(x)
        if mask == "float":
            loaded = builder.fadd(loaded, place.load(masks))
        if mask == "bool":
            kept = builder.icmp_unsigned("!=", place.load(masks, SOME_BYTES), constant(SOME_BYTES, 0))
            loaded = builder.select(kept, loaded, lowest)
        return place.only(loaded, -np.inf)

    largest = sweep(
        e, k, NORM_STREAMS, [lowest] * NORM_STREAMS,
        lambda places, state: [greater(value(place), m) for place, m in zip(places, state, strict=True)],
    )  # fmt: skip
    origin = e.splat(formulas.origin(Lanes(e, _folded(e, largest, greater))).value, LANES)

    def exponentials(places: list[Place], state: list[ir.Value]) -> list[ir.Value]:
        sums = []
        for place, total in zip(places, state, strict=True):
            power = formulas.exp_negative(Lanes(e, builder.fsub(value(place), origin))).value
            place.store(power, out)
            sums.append(builder.fadd(total, power))
        return sums

    sums = sweep(e, k, SOFTMAX_STREAMS, [constant(FLOATS, 0.0)] * SOFTMAX_STREAMS, exponentials)
    inverse = e.splat(formulas.inverse(Lanes(e, _folded(e, sums, builder.fadd))).value, LANES)

    def scale(places: list[Place], state: list[ir.Value]) -> list[ir.Value]:
        for place in places:
            place.store(builder.fmul(place.load(out), inverse), out)
        return []

    sweep(e, k, 1, [], scale)
    builder.ret_void()
    return function


def norm_function(module: ir.Module, centred: bool, residual: bool, affine: int) -> ir.Function:
    """void norm(x, residual, weight, bias, eps, k, out, total): one row; x + residual is kept at `total`.

    `affine`: 0 neither weight nor bias, 1 weight, 2 both.
    """
    name = f"dynq_{'layer' if centred else 'rms'}_norm_{int(residual)}{affine}"
    function, e = _started(module, name, NORM_ARGUMENTS)
    if e is None:
        return function
    x, addend, weight, bias, eps, k, out, total = function.args
    builder = e.builder
    zeros = [constant(FLOATS, 0.0)] * NORM_STREAMS
    count = builder.sitofp(k, F32)
    source = total if residual else x

    def summed(term: Callable[[Place], ir.Value]) -> ir.Value:
        def body(places: list[Place], state: list[ir.Value]) -> list[ir.Value]:
            return [builder.fadd(s, term(place)) for place, s in zip(places, state, strict=True)]

        return _folded(e, sweep(e, k, NORM_STREAMS, zeros, body), builder.fadd)

    def first(place: Place) -> ir.Value:
        value = place.load(x)
        if residual:
            value = builder.fadd(value, place.load(addend))
            place.store(value, total)
        return value

    def squared(value: ir.Value) -> ir.Value:
        return builder.fmul(value, value)

    if centred:
        mean = e.splat(builder.fdiv(summed(first), count), LANES)
        squares = summed(lambda place: squared(place.only(builder.fsub(place.load(source), mean), 0.0)))
    else:
        squares = summed(lambda place: squared(first(place)))
    scale = formulas.inverse_deviation(*(Lanes(e, value) for value in (squares, count, eps))).value
    scale = e.splat(scale, LANES)

    def finish(places: list[Place], state: list[ir.Value]) -> list[ir.Value]:
        for place in places:
            value = place.load(source)
            value = builder.fmul(builder.fsub(value, mean) if centred else value, scale)
            value = builder.fmul(value, place.load(weight)) if affine else value
            place.store(builder.fadd(value, place.load(bias)) if affine == 2 else value, out)
        return []

    sweep(e, k, 1, [], finish)
    builder.ret_void()
    return function


def map_function(module: ir.Module, name: str) -> ir.Function:
    """void map(x, second, k, out): one of `reference_floats.MAPS`."""
    function, e = _started(module, f"dynq_map_{name}", MAP_ARGUMENTS)
    if e is None:
        return function
    *operands, k, out = function.args

    def body(places: list[Place], state: list[ir.Value]) -> list[ir.Value]:
        for place in places:
            values = [Lanes(e, place.load(row)) for row in operands[: 2 if name == "swiglu" else 1]]
            place.store(formulas.MAPS[name](*values).value, out)
        return []

    sweep(e, k, 1, [], body)
    e.builder.ret_void()
    return function


def rotary_function(module: ir.Module, interleaved: bool) -> ir.Function:
    """void rotate(x, cos, sin, half, out): the first 2·half values of a row."""
    function, e = _started(module, f"dynq_rotary_{int(interleaved)}", ROTARY_ARGUMENTS)
    if e is None:
        return function
    x, cos, sin, half, out = function.args
    apart = e.builder.mul(half, ir.Constant(I64, 4))

    def body(places: list[Place], state: list[ir.Value]) -> list[ir.Value]:
        for place in places:
            if interleaved:
                pairs = place.load(x, PAIRS)
                a, b = (e.shuffle(pairs, pairs, list(range(odd, 2 * LANES, 2))) for odd in (0, 1))
            else:
                a, b = place.load(x), place.load(e.at(x, apart))
            angles = (place.load(table) for table in (cos, sin))
            a, b = (turned.value for turned in formulas.rotate(*(Lanes(e, value) for value in (a, b, *angles))))
            if interleaved:
                place.store(e.interleave(a, b), out)
            else:
                place.store(a, out)
                place.store(b, e.at(out, apart))
        return []

    sweep(e, half, 1, [], body)
    e.builder.ret_void()
    return function
