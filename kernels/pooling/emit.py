"""The emitted parts of pooling: a window's values along x, along y, and all of a plane.

    along   t[x] = first, then for kx = 0, 1, … inside the image    t[x] = combine(row[x·step + kx·dilate - left], t[x])
    down    y[x] = first, then for ky in the same way               y[x] = combine(t[ky][x], y[x])
            an average then is y[x] / (down · across[x])
    whole   Σ or maximum of a plane, in the order of rowwise's sums, and its average

Combine is + from 0, or the greater from -inf: of equal values the first stays (0 and -0 are equal), and NaN stays.
Nothing outside of a row is read or written. The same code serves every instruction set.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import numpy as np
from llvmlite import ir
from numba.extending import intrinsic

from ..isa.emitter import BYTES, F32, I32, I64, VOID, Emitter, constant, internal_function, vector
from ..isa.intrinsics import switch
from ..rowwise.reference import LANES, STREAMS
from ..rowwise.sweep import FLOATS, VECTOR_BYTES, Place, folded, sweep

#: Steps along x for which there is code, and vectors that `down` takes at once.
STEPS, WIDE = (1, 2), 4

ALONG_ARGUMENTS = [BYTES, I64, I64, I64, I64, BYTES, I64]
DOWN_ARGUMENTS = [BYTES, I64, I64, BYTES, F32, BYTES, I64]
WHOLE_ARGUMENTS = [BYTES, I64, BYTES]

Combine = Callable[[ir.Value, ir.Value], ir.Value]


def _operation(e: Emitter, average: bool) -> tuple[Combine, ir.Constant]:
    """combine(value, so far), and what it begins with."""

    def greater(value: ir.Value, largest: ir.Value) -> ir.Value:
        above = e.builder.fcmp_ordered(">", value, largest)
        return e.builder.select(e.builder.or_(above, e.builder.fcmp_unordered("uno", value, value)), value, largest)

    return (e.builder.fadd, constant(FLOATS, 0.0)) if average else (greater, constant(FLOATS, -np.inf))


def _begun(module: ir.Module, name: str, arguments: list[ir.Type]) -> tuple[ir.Function, Emitter | None]:
    function, fresh = internal_function(module, name, VOID, arguments)
    return function, Emitter(ir.IRBuilder(function.append_basic_block("entry"))) if fresh else None


def along_function(module: ir.Module, average: bool, step: int) -> ir.Function:
    """void along(row, width, taps, dilate, left, target, count): `count` values; writes whole vectors."""
    function, e = _begun(module, f"dynq_pool_along_{average}_{step}", ALONG_ARGUMENTS)
    if e is None:
        return function
    row, width, taps, dilate, left, target, count = function.args
    builder, wide = e.builder, LANES * step
    combine, first = _operation(e, average)
    kind = vector(F32, wide)
    numbers = ir.Constant(vector(I32, wide), list(range(wide)))
    chosen = ir.Constant(vector(I32, LANES), list(range(0, wide, step)))
    reach = builder.mul(builder.sub(taps, ir.Constant(I64, 1)), dilate)

    def every(values: ir.Value) -> ir.Value:
        return e.shuffle(values, ir.Constant(kind, ir.Undefined), list(range(0, wide, step))) if step > 1 else values

    def block(state: list[ir.Value]) -> list[ir.Value]:
        origin, target = state

        def taken(tap: Callable[[ir.Value, ir.Value, ir.Value], ir.Value]) -> None:
            def next_tap(state: list[ir.Value]) -> list[ir.Value]:
                place, total = state  # where lane 0 meets the row
                source = e.at(row, builder.mul(place, ir.Constant(I64, 4)))
                return [builder.add(place, dilate), tap(source, place, total)]

            e.store(e.loop(taps, [origin, first], next_tap)[1], target, 4)

        def inner(source: ir.Value, place: ir.Value, total: ir.Value) -> ir.Value:
            return combine(every(e.load(kind, source, 4)), total)

        def outer(source: ir.Value, place: ir.Value, total: ir.Value) -> ir.Value:
            low, high = (builder.trunc(each, I32) for each in (builder.neg(place), builder.sub(width, place)))

            def within(numbers: ir.Value) -> ir.Value:
                lanes = numbers.type.count
                above = builder.icmp_signed(">=", numbers, e.splat(low, lanes))
                return builder.and_(above, builder.icmp_signed("<", numbers, e.splat(high, lanes)))

            value = every(e.masked_load(kind, source, within(numbers), 4))
            return builder.select(within(chosen), combine(value, total), total)

        last = builder.add(builder.add(origin, reach), ir.Constant(I64, wide))
        whole = builder.and_(
            builder.icmp_signed(">=", origin, ir.Constant(I64, 0)), builder.icmp_signed("<=", last, width)
        )
        e.either(whole, lambda: taken(inner), lambda: taken(outer))
        return [builder.add(origin, ir.Constant(I64, wide)), e.at(target, VECTOR_BYTES)]

    blocks = builder.sdiv(builder.add(count, ir.Constant(I64, LANES - 1)), ir.Constant(I64, LANES))
    e.loop(blocks, [builder.neg(left), target], block)
    builder.ret_void()
    return function


def down_function(module: ir.Module, average: bool) -> ir.Function:
    """void down(rows, stride, taps, across, down, out, columns): of `taps` ≥ 0 rows; reads whole vectors of them."""
    function, e = _begun(module, f"dynq_pool_down_{average}", DOWN_ARGUMENTS)
    if e is None:
        return function
    rows, stride, taps, across, down, out, columns = function.args
    builder = e.builder
    combine, first = _operation(e, average)

    def body(places: list[Place], state: list[ir.Value]) -> list[ir.Value]:
        def tap(state: list[ir.Value]) -> list[ir.Value]:
            row, *totals = state
            values = (e.load(FLOATS, e.at(row, place.offset), 4) for place in places)
            return [e.at(row, stride), *(combine(v, total) for v, total in zip(values, totals, strict=True))]

        _, *totals = e.repeat(taps, [rows, *[first] * len(places)], tap)
        for place, total in zip(places, totals, strict=True):
            if average:
                number = builder.fmul(e.splat(down, LANES), e.load(FLOATS, e.at(across, place.offset), 4))
                total = builder.fdiv(total, number)
            place.store(total, out)
        return []

    sweep(e, columns, WIDE, [], body, singly=True)
    builder.ret_void()
    return function


def whole_function(module: ir.Module, average: bool) -> ir.Function:
    """void whole(x, values, out): one float32 of a plane of values ≥ 1."""
    function, e = _begun(module, f"dynq_pool_whole_{average}", WHOLE_ARGUMENTS)
    if e is None:
        return function
    x, values, out = function.args
    builder = e.builder
    combine, first = _operation(e, average)
    lowest = 0.0 if average else -np.inf
    parts = sweep(
        e, values, STREAMS, [first] * STREAMS,
        lambda places, state: [
            combine(place.only(place.load(x), lowest), total) for place, total in zip(places, state, strict=True)
        ],
    )  # fmt: skip
    total = e.lane(folded(e, [parts], lambda low, high: combine(high, low)), 0)
    e.store(builder.fdiv(total, builder.sitofp(values, F32)) if average else total, out, 4)
    builder.ret_void()
    return function


@intrinsic
def pool_along(typingctx, which, row, width, taps, dilate, left, target, count):
    """See `along_function`; `which` counts (maximum, average) × STEPS."""
    every = [partial(along_function, average=average, step=step) for average in (False, True) for step in STEPS]
    return switch(dict(enumerate(every)), ALONG_ARGUMENTS)


@intrinsic
def pool_down(typingctx, average, rows, stride, taps, across, down, out, columns):
    """See `down_function`."""
    return switch({i: partial(down_function, average=bool(i)) for i in (0, 1)}, DOWN_ARGUMENTS)


@intrinsic
def pool_whole(typingctx, average, x, values, out):
    """See `whole_function`."""
    return switch({i: partial(whole_function, average=bool(i)) for i in (0, 1)}, WHOLE_ARGUMENTS)
