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
from itertools import product

import numpy as np
from llvmlite import ir

from .. import reference_floats as formulas
from ..reference_floats import LANES, STREAMS
from .traced import Lanes
from .vectors import BYTES, F32, I8, I64, VOID, Emitter, constant, internal_function, vector

FLOATS = vector(F32, LANES)
PAIRS = vector(F32, 2 * LANES)
SOME_BYTES = vector(I8, LANES)
VECTOR_BYTES = 4 * LANES
#: What a mask is: none, a byte per value (0: left out), a float32 per value (added).
MASKS = ("none", "bool", "float")

#: Rows that are reduced together, most first: of one row alone, every sum would be waited for.
TOGETHER = (2, 1)
#: Vectors that a formula is emitted for at once, operation by operation, so that a core has as many independent chains
#: before it (8 instead of 1: two thirds of the time, for AVX-512 as for AVX2).
WIDE = 8

SOFTMAX_ARGUMENTS = [BYTES, I64, BYTES, I64, BYTES, I64]
NORM_ARGUMENTS = [BYTES, I64, BYTES, I64, BYTES, BYTES, F32, I64, BYTES, I64, BYTES, I64]
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


#: What is done at some places of a row, from one state to the next.
Body = Callable[[list[Place], list[ir.Value]], list[ir.Value]]


def sweep(
    e: Emitter, k: ir.Value, vectors: int, state: list[ir.Value], body: Body, *, singly: bool = False
) -> list[ir.Value]:
    """Go over a row of k values in blocks of `vectors` vectors, the last one short; gives the last state.

    `singly`: what is no whole block goes vector by vector.
    """
    builder = e.builder

    def step(vectors: int, left: ir.Value | None) -> Callable[[list[ir.Value]], list[ir.Value]]:
        def run(state: list[ir.Value]) -> list[ir.Value]:
            offset, *rest = state
            places = []
            for v in range(vectors):
                lanes = None if left is None else builder.sub(left, ir.Constant(I64, LANES * v))
                places.append(Place(e, builder.add(offset, ir.Constant(I64, VECTOR_BYTES * v)), lanes))
            return [builder.add(offset, ir.Constant(I64, VECTOR_BYTES * vectors)), *body(places, rest)]

        return run

    carried, left = [ir.Constant(I64, 0), *state], k
    for size in (vectors, 1) if singly and vectors > 1 else (vectors,):
        block = ir.Constant(I64, LANES * size)
        carried = e.repeat(builder.sdiv(left, block), carried, step(size, None))
        left = builder.srem(left, block)
    some = builder.zext(builder.icmp_signed(">", left, ir.Constant(I64, 0)), I64)
    return e.repeat(some, carried, step(size, left))[1:]


def _joined(e: Emitter, values: list[ir.Value]) -> ir.Value:
    """The lanes of a power of two of vectors, one after another."""
    while len(values) > 1:
        values = [e.join(a, b) for a, b in zip(values[::2], values[1::2], strict=True)]
    return values[0]


def _formula(e: Emitter, function: Callable, *operands: list[ir.Value]) -> list[ir.Value]:
    """A formula of lists of vectors, WIDE at a time."""
    results = []
    for first in range(0, len(operands[0]), WIDE):
        parts = [values[first : first + WIDE] for values in operands]
        wide = function(*(Lanes(e, _joined(e, values)) for values in parts)).value
        results += [e.part(wide, LANES * i, LANES) for i in range(len(parts[0]))]
    return results


def _folded(e: Emitter, rows: list[list[ir.Value]], combine: Callable[[ir.Value, ir.Value], ir.Value]) -> ir.Value:
    """Each row's streams, then its lanes, combined half to half: a vector of the rows' results."""
    sums = []
    for parts in rows:
        while len(parts) > 1:
            half = len(parts) // 2
            parts = [combine(a, b) for a, b in zip(parts[:half], parts[half:], strict=True)]
        sums += parts
    value, width = _joined(e, sums), LANES
    while width > 1:
        low = [r * width + i for r in range(len(rows)) for i in range(width // 2)]
        high = [lane + width // 2 for lane in low]
        value, width = combine(e.shuffle(value, value, low), e.shuffle(value, value, high)), width // 2
    return value


def _each_row(e: Emitter, values: ir.Value) -> list[ir.Value]:
    """Every row's value in all lanes."""
    return [e.shuffle(values, values, [r] * LANES) for r in range(values.type.count)]


def _rows_from(e: Emitter, first: ir.Value, stride: ir.Value, rows: int) -> list[ir.Value]:
    found = [first]
    while len(found) < rows:
        found.append(e.at(found[-1], stride))
    return found


def _by_row(values: list[ir.Value], rows: int) -> list[list[ir.Value]]:
    """A state of all rows' streams as a list for each."""
    return [values[r * STREAMS : (r + 1) * STREAMS] for r in range(rows)]


def _started(module: ir.Module, name: str, arguments: list[ir.Type]) -> tuple[ir.Function, Emitter | None]:
    function, fresh = internal_function(module, name, VOID, arguments)
    return function, Emitter(ir.IRBuilder(function.append_basic_block("entry"))) if fresh else None


def softmax_function(module: ir.Module, mask: str, rows: int) -> ir.Function:
    """void softmax(x, x_stride, masks, k, out, out_stride): `rows` rows; `masks` holds the addresses of theirs."""
    function, e = _started(module, f"dynq_softmax_{mask}_{rows}", SOFTMAX_ARGUMENTS)
    if e is None:
        return function
    x, x_stride, masks, k, out, out_stride = function.args
    builder = e.builder
    lowest = constant(FLOATS, -np.inf)
    sources, targets = _rows_from(e, x, x_stride, rows), _rows_from(e, out, out_stride, rows)
    if mask != "none":
        mask_rows = [e.load(BYTES, e.at(masks, 8 * r), 8) for r in range(rows)]

    def greater(a: ir.Value, b: ir.Value) -> ir.Value:
        return builder.select(builder.fcmp_ordered(">", a, b), a, b)  # b where a is NaN

    def value(place: Place, r: int) -> ir.Value:
        loaded = place.load(sources[r])
        if mask == "float":
            loaded = builder.fadd(loaded, place.load(mask_rows[r]))
        if mask == "bool":
            kept = builder.icmp_unsigned("!=", place.load(mask_rows[r], SOME_BYTES), constant(SOME_BYTES, 0))
            loaded = builder.select(kept, loaded, lowest)
        return place.only(loaded, -np.inf)

    def values(places: list[Place]) -> list[ir.Value]:
        return [value(place, r) for r in range(rows) for place in places]

    largest = sweep(
        e, k, STREAMS, [lowest] * (rows * STREAMS),
        lambda places, state: [greater(v, m) for v, m in zip(values(places), state, strict=True)],
    )  # fmt: skip
    folded = _folded(e, _by_row(largest, rows), greater)
    origins = [origin for origin in _each_row(e, formulas.origin(Lanes(e, folded)).value) for _ in range(STREAMS)]

    def exponentials(places: list[Place], state: list[ir.Value]) -> list[ir.Value]:
        shifted = [builder.fsub(v, origin) for v, origin in zip(values(places), origins, strict=True)]
        powers = _formula(e, formulas.exp_negative, shifted)
        for power, (target, place) in zip(powers, product(targets, places), strict=True):
            place.store(power, target)
        return [builder.fadd(total, power) for total, power in zip(state, powers, strict=True)]

    sums = sweep(e, k, STREAMS, [constant(FLOATS, 0.0)] * (rows * STREAMS), exponentials)
    inverses = _each_row(e, formulas.inverse(Lanes(e, _folded(e, _by_row(sums, rows), builder.fadd))).value)

    def scale(places: list[Place], state: list[ir.Value]) -> list[ir.Value]:
        for place, (target, inverse) in product(places, zip(targets, inverses, strict=True)):
            place.store(builder.fmul(place.load(target), inverse), target)
        return []

    sweep(e, k, 1, [], scale)
    builder.ret_void()
    return function


def norm_function(module: ir.Module, centred: bool, residual: bool, affine: int, rows: int) -> ir.Function:
    """void norm(x, x_stride, residual, residual_stride, weight, bias, eps, k, out, out_stride, total, total_stride).

    `rows` rows. x + residual is kept at `total`. `affine`: 0 neither weight nor bias, 1 weight, 2 both.
    """
    name = f"dynq_{'layer' if centred else 'rms'}_norm_{int(residual)}{affine}_{rows}"
    function, e = _started(module, name, NORM_ARGUMENTS)
    if e is None:
        return function
    x, x_stride, addend, addend_stride, weight, bias, eps, k, out, out_stride, total, total_stride = function.args
    builder = e.builder
    sources, targets = _rows_from(e, x, x_stride, rows), _rows_from(e, out, out_stride, rows)
    addends, totals = _rows_from(e, addend, addend_stride, rows), _rows_from(e, total, total_stride, rows)
    counts, epsilons = (e.splat(value, rows) for value in (builder.sitofp(k, F32), eps))

    def summed(term: Callable[[Place, int], ir.Value]) -> ir.Value:
        def body(places: list[Place], state: list[ir.Value]) -> list[ir.Value]:
            terms = [term(place, r) for r in range(rows) for place in places]
            return [builder.fadd(s, t) for s, t in zip(state, terms, strict=True)]

        sums = sweep(e, k, STREAMS, [constant(FLOATS, 0.0)] * (rows * STREAMS), body)
        return _folded(e, _by_row(sums, rows), builder.fadd)

    def first(place: Place, r: int) -> ir.Value:
        value = place.load(sources[r])
        if residual:
            value = builder.fadd(value, place.load(addends[r]))
            place.store(value, totals[r])
        return value

    def squared(value: ir.Value) -> ir.Value:
        return builder.fmul(value, value)

    kept = totals if residual else sources
    means = _each_row(e, builder.fdiv(summed(first), counts)) if centred else []

    def deviation(place: Place, r: int) -> ir.Value:
        value = place.load(kept[r])
        return builder.fsub(value, means[r]) if centred else value

    if centred:
        squares = summed(lambda place, r: squared(place.only(deviation(place, r), 0.0)))
    else:
        squares = summed(lambda place, r: squared(first(place, r)))
    operands = (Lanes(e, value) for value in (squares, counts, epsilons))
    scales = _each_row(e, formulas.inverse_deviation(*operands).value)

    def finish(places: list[Place], state: list[ir.Value]) -> list[ir.Value]:
        for place in places:
            weights = place.load(weight) if affine else None
            biases = place.load(bias) if affine == 2 else None
            for r in range(rows):
                value = builder.fmul(deviation(place, r), scales[r])
                value = builder.fmul(value, weights) if affine else value
                place.store(builder.fadd(value, biases) if affine == 2 else value, targets[r])
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
        values = ([place.load(row) for place in places] for row in operands[: 2 if name == "swiglu" else 1])
        for place, result in zip(places, _formula(e, formulas.MAPS[name], *values), strict=True):
            place.store(result, out)
        return []

    sweep(e, k, WIDE, [], body, singly=True)
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
