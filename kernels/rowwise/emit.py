"""Rows of float32: softmax, layer_norm, rms_norm, element by element functions, and rotary embeddings.

    softmax      m = max v;  e = exp(v - m), s = Σ e;  out = e·(1/s)                     v = x, masked
    layer_norm   v = x + residual, m = Σ v / K;  s = Σ (v - m)²;  out = (v - m)·(1/√(s/K + eps))·weight + bias
    rms_norm     v = x + residual, s = Σ v²;     out = v·(1/√(s/K + eps))·weight
                 (if s/K + eps is not a normal float: the same of v·2^96, in passes of their own)
    map          out = f(x) or f(x, second)
    rotary       (a, b) ─▶ (a·cos - b·sin, b·cos + a·sin)      a, b: the halves of a row, or its even and odd values

Each `;` ends a pass over the row (sweep.py), which stays in L1: memory is read once and written once.
Formulas and the order of sums are those of reference.py; the formulas are that file's own functions, traced.
In every pass a block is read before it is written, so `out` may be x, the residual, or the second operand themselves.
No fused multiply-add, nothing reassociated: LLVM turns <16 x float> into the target's vectors, with the same bits.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from itertools import product

import numpy as np
from llvmlite import ir

from ..isa.emitter import BYTES, F32, I8, I64, VOID, Emitter, constant, internal_function, vector
from ..isa.traced import Lanes
from . import reference as formulas
from .reference import LANES, STREAMS
from .sweep import FLOATS, VECTOR_BYTES, WIDE, Place, aligned_sweep, folded, formula, sweep

PAIRS = vector(F32, 2 * LANES)
SOME_BYTES = vector(I8, LANES)
#: What a mask is: none, a byte per value (0: left out), a float32 per value (added).
MASKS = ("none", "bool", "float")

#: Rows that are reduced together, most first: of one row alone, every sum would be waited for.
TOGETHER = (2, 1)

SOFTMAX_ARGUMENTS = [BYTES, I64, BYTES, I64, BYTES, I64]
LIFTED_ARGUMENTS = [BYTES, F32, F32, F32, I64, BYTES, BYTES, BYTES]
NORM_ARGUMENTS = [BYTES, I64, BYTES, I64, BYTES, BYTES, F32, I64, BYTES, I64, BYTES, I64]
MAP_ARGUMENTS = [BYTES, BYTES, I64, BYTES]
ROTARY_ARGUMENTS = [BYTES, BYTES, BYTES, I64, BYTES]


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
    origin = formulas.origin(Lanes(e, folded(e, _by_row(largest, rows), greater))).value
    origins = [each for each in _each_row(e, origin) for _ in range(STREAMS)]

    def exponentials(places: list[Place], state: list[ir.Value]) -> list[ir.Value]:
        shifted = [builder.fsub(v, each) for v, each in zip(values(places), origins, strict=True)]
        powers = formula(e, formulas.exp_negative, shifted)
        for power, (target, place) in zip(powers, product(targets, places), strict=True):
            place.store(power, target)
        return [builder.fadd(total, power) for total, power in zip(state, powers, strict=True)]

    sums = sweep(e, k, STREAMS, [constant(FLOATS, 0.0)] * (rows * STREAMS), exponentials)
    inverses = _each_row(e, formulas.inverse(Lanes(e, folded(e, _by_row(sums, rows), builder.fadd))).value)

    def scale(places: list[Place], state: list[ir.Value]) -> list[ir.Value]:
        for place, (target, inverse) in product(places, zip(targets, inverses, strict=True)):
            place.store(builder.fmul(place.load(target), inverse), target)
        return []

    sweep(e, k, 1, [], scale)
    builder.ret_void()
    return function


def _summed(e: Emitter, k: ir.Value, rows: int, term: Callable[[Place, int], ir.Value]) -> ir.Value:
    """The sums over each row of `term(place, row)`."""

    def body(places: list[Place], state: list[ir.Value]) -> list[ir.Value]:
        terms = [term(place, r) for r in range(rows) for place in places]
        return [e.builder.fadd(s, t) for s, t in zip(state, terms, strict=True)]

    sums = sweep(e, k, STREAMS, [constant(FLOATS, 0.0)] * (rows * STREAMS), body)
    return folded(e, _by_row(sums, rows), e.builder.fadd)


def lifted_norm_function(module: ir.Module, centred: bool, affine: int) -> ir.Function:
    """void lifted(row, mean, lift, eps, k, weight, bias, out): the norm of (row - mean)·lift, centred once more.

    With a lift of 1, the norm of row - mean as it is: what stands beside a small row.
    """
    name = f"dynq_{'layer' if centred else 'rms'}_norm_lifted_{affine}"
    function, e = _started(module, name, LIFTED_ARGUMENTS)
    if e is None:
        return function
    row, mean, lift, eps, k, weight, bias, out = function.args
    builder, one = e.builder, ir.Constant(F32, 1.0)
    means, lifts, count = e.splat(mean, LANES), e.splat(lift, LANES), e.splat(builder.sitofp(k, F32), 1)

    def lifted(place: Place) -> ir.Value:
        value = place.load(row)
        return builder.fmul(builder.fsub(value, means) if centred else value, lifts)

    second = constant(FLOATS, 0.0)
    if centred:
        again = builder.fdiv(_summed(e, k, 1, lambda place, r: place.only(lifted(place), 0.0)), count)
        as_it_is = builder.fcmp_ordered("==", e.splat(lift, 1), e.splat(one, 1))
        second = _each_row(e, builder.select(as_it_is, constant(count.type, 0.0), again))[0]

    def deviation(place: Place) -> ir.Value:
        value = lifted(place)
        return builder.fsub(value, second) if centred else value

    def squared(place: Place, r: int) -> ir.Value:
        value = place.only(deviation(place), 0.0)
        return builder.fmul(value, value)

    epsilon = e.splat(builder.fmul(builder.fmul(eps, lift), lift), 1)
    operands = (Lanes(e, value) for value in (_summed(e, k, 1, squared), count, epsilon))
    scale = _each_row(e, formulas.inverse_deviation(*operands).value)[0]

    def finish(places: list[Place], state: list[ir.Value]) -> list[ir.Value]:
        for place in places:
            value = builder.fmul(deviation(place), scale)
            value = builder.fmul(value, place.load(weight)) if affine else value
            place.store(builder.fadd(value, place.load(bias)) if affine == 2 else value, out)
        return []

    sweep(e, k, 1, [], finish)
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

    summed = partial(_summed, e, k, rows)

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
    operands = [Lanes(e, value) for value in (squares, counts, epsilons)]
    scales = _each_row(e, formulas.inverse_deviation(*operands).value)
    small = (formulas.variance(*operands) < formulas.LEAST_NORMAL).value

    def finish(which: list[int]) -> None:
        """The last pass over some of the rows, whose results lie alike in their cache lines."""

        def body(place: Place) -> None:
            weights = place.load(weight) if affine else None
            biases = place.load(bias) if affine == 2 else None
            for r in which:
                value = builder.fmul(deviation(place, r), scales[r])
                value = builder.fmul(value, weights) if affine else value
                place.store(builder.fadd(value, biases) if affine == 2 else value, targets[r])

        aligned_sweep(e, k, targets[which[0]], body)

    def finish_all() -> None:
        if rows == 1:
            finish([0])
            return
        apart = builder.and_(out_stride, ir.Constant(I64, VECTOR_BYTES - 1))
        with builder.if_else(builder.icmp_signed("==", apart, ir.Constant(I64, 0))) as (alike, otherwise):
            with alike:
                finish(list(range(rows)))
            with otherwise:
                for r in range(rows):
                    finish([r])

    any_small = builder.icmp_unsigned("!=", builder.bitcast(small, ir.IntType(rows)), ir.Constant(ir.IntType(rows), 0))
    with builder.if_else(any_small, likely=False) as (then, otherwise):
        with then:
            lifted = lifted_norm_function(module, centred, affine)
            lifts = builder.select(small, constant(counts.type, float(formulas.LIFT)), constant(counts.type, 1.0))
            for r in range(rows):
                mean = e.lane(means[r], 0) if centred else ir.Constant(F32, 0.0)
                builder.call(lifted, [kept[r], mean, e.lane(lifts, r), eps, k, weight, bias, targets[r]])
        with otherwise:
            finish_all()
    builder.ret_void()
    return function


def map_function(module: ir.Module, name: str) -> ir.Function:
    """void map(x, second, k, out): one of `reference.MAPS`."""
    function, e = _started(module, f"dynq_map_{name}", MAP_ARGUMENTS)
    if e is None:
        return function
    *operands, k, out = function.args

    def body(places: list[Place], state: list[ir.Value]) -> list[ir.Value]:
        values = ([place.load(row) for place in places] for row in operands[: 2 if name == "swiglu" else 1])
        for place, result in zip(places, formula(e, formulas.MAPS[name], *values), strict=True):
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
