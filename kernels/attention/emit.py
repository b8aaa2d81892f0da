"""Attention of 16 to 64 query rows over a block of keys; a lane is a row, so nothing crosses lanes.

    scores    s[j, row] = Σ_d fma(k[j, d], q[d, row])          ascending d
    weights   p = exp(s - max), their sum, and the factor of what blocks before have summed
    values    o[d, row] = fma(o[d, row], factor[row], Σ_j fma(p[j, row], v[j, d]))      ascending j

    q [D][rows]   ┐  a vector of rows ──────────┐
    p [keys][rows]┘                             ├─ height × vectors sums in registers, chain by chain
    k, v [keys][D], any stride ── one value ────┘  in every lane: each is loaded once per block

    registers: height · vectors sums, `vectors` rows, 1 value. 512 bit: 16 + 4 + 1 of 32; 256 bit (two per vector of
    16): 8 + 2 + 1 of 16. At least 8 chains hide an FMA's latency.

Every sum is one chain in ascending order. So heights, vectors and blocks of rows cannot change the result.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

from llvmlite import ir

from ..activations.reference import EXP_MIN, EXP_P, LN2_HIGH, LN2_LOW, LOG2_E
from ..isa.base import InstructionSet
from ..isa.emitter import BYTES, F32, I32, I64, VOID, Emitter, constant, internal_function, vector
from ..isa.transpose import FLOATS, LANES, LINE, MINUS_INF

INTS = vector(I32, LANES)
#: Values of d or keys of one unrolled step.
UNROLL = 4
#: What is added to round to an integer and leave its exponent field with 25 above the bias in the low byte; 2^-25.
EXP_MAGIC, EXP_REST = 1.5 * 2**23 + 127 + 25, 2.0**-25

SCORES_ARGUMENTS = [BYTES, I64, BYTES, I64, I64, BYTES]
WEIGHTS_ARGUMENTS = [BYTES, I64, BYTES, BYTES, I64, BYTES]
VALUES_ARGUMENTS = [BYTES, BYTES, I64, I64, I64, BYTES, BYTES, BYTES, I64]


def max_vectors(isa: InstructionSet) -> int:
    """Vectors of 16 rows that one register tile may have."""
    return 4 if isa.lanes == LANES else 1


def heights(isa: InstructionSet, vectors: int) -> list[int]:
    """Heights of tiles, tallest first: what is left by one goes to the next."""
    tallest = {1: 16, 2: 8}.get(vectors, 4) if isa.lanes == LANES else 4
    return sorted({tallest, min(4, tallest), 1}, reverse=True)


def greater(e: Emitter, a: ir.Value, b: ir.Value) -> ir.Value:
    """The greater of two; b where either is NaN."""
    return e.builder.select(e.builder.fcmp_ordered(">", a, b), a, b)


def exp(e: Emitter, x: ir.Value) -> ir.Value:
    """exp of activations/jitted.py for x ≤ 0, bit for bit: 2^n goes in as 2^(n + 25) · 2^-25, n ≥ -150.

    What is below EXP_MIN gives 0 there; here without a product that underflows, which costs many CPUs a hundred cycles.
    """
    builder, kind = e.builder, x.type

    def c(value: Any) -> ir.Constant:
        return constant(kind, float(value))

    vanishes = builder.fcmp_ordered("<", x, c(EXP_MIN))
    x = builder.select(vanishes, c(0), x)
    shifted = builder.fadd(builder.fmul(x, c(LOG2_E)), c(EXP_MAGIC))
    n = builder.fsub(shifted, c(EXP_MAGIC))
    r = builder.fsub(builder.fsub(x, builder.fmul(n, c(LN2_HIGH))), builder.fmul(n, c(LN2_LOW)))
    p = c(EXP_P[3])
    for coefficient in EXP_P[2::-1]:
        p = builder.fadd(builder.fmul(p, r), c(coefficient))
    p = builder.fadd(builder.fadd(builder.fmul(builder.fmul(r, r), p), r), c(1))
    bits = builder.bitcast(shifted, vector(I32, kind.count))
    power = builder.bitcast(builder.shl(bits, constant(bits.type, 23)), kind)
    return builder.select(vanishes, c(0), builder.fmul(builder.fmul(p, power), c(EXP_REST)))


def finite_or_zero(e: Emitter, m: ir.Value) -> ir.Value:
    """What is subtracted from scores: their maximum, or 0 where there is none yet."""
    none = e.builder.fcmp_ordered("==", m, constant(m.type, MINUS_INF))
    return e.builder.select(none, constant(m.type, 0.0), m)


def begin(module: ir.Module, name: str, arguments: list[ir.Type]) -> tuple[ir.Function, Emitter | None]:
    function, fresh = internal_function(module, name, VOID, arguments)
    return function, Emitter(ir.IRBuilder(function.append_basic_block("entry"))) if fresh else None


def vectors_at(e: Emitter, base: ir.Value, vectors: int) -> list[ir.Value]:
    return [e.load(FLOATS, e.at(base, LINE * v), 4) for v in range(vectors)]


def cascade(e: Emitter, count: ir.Value, sizes: list[int], state: list, tile: Callable) -> None:
    """`tile(height, state)` until `count` is used up, by the tallest tiles that fit."""
    builder = e.builder
    for height in sizes:
        size = ir.Constant(I64, height)
        state = e.repeat(builder.sdiv(count, size), state, partial(tile, height))
        count = builder.srem(count, size)


def unrolled(e: Emitter, count: ir.Value, state: list[ir.Value], step: Callable) -> list[ir.Value]:
    """`step(state, n)` for `count` values, UNROLL or 1 at a time."""
    size = ir.Constant(I64, UNROLL)
    state = e.repeat(e.builder.sdiv(count, size), state, lambda s: step(s, UNROLL))
    return e.repeat(e.builder.srem(count, size), state, lambda s: step(s, 1))


def scores_function(isa: InstructionSet, vectors: int, module: ir.Module) -> ir.Function:
    """void scores(q, count, k, k_stride, keys, s): s [keys][rows] from q [count][rows] and rows of k."""
    function, e = begin(module, f"dynq_scores_{isa.name}_{vectors}", SCORES_ARGUMENTS)
    if e is None:
        return function
    q, count, k, stride, keys, s = function.args
    builder = e.builder
    strides = [None, stride, builder.mul(stride, ir.Constant(I64, 2)), builder.mul(stride, ir.Constant(I64, 3))]

    def tile(height: int, state: list[ir.Value]) -> list[ir.Value]:
        k, s = state
        bases = [k]  # of every fourth row: the three after it are one address computation away
        for _ in range(4, height, 4):
            bases.append(e.at(bases[-1], builder.mul(stride, ir.Constant(I64, 4))))

        def step(state: list[ir.Value], n: int) -> list[ir.Value]:
            q, bases, acc = state[0], state[1 : 1 + len(bases_)], state[1 + len(bases_) :]
            for u in range(n):
                rows = vectors_at(e, e.at(q, LINE * vectors * u), vectors)
                for j in range(height):
                    place = bases[j // 4] if j % 4 == 0 else e.at(bases[j // 4], strides[j % 4])
                    value = e.splat(e.load(F32, e.at(place, 4 * u), 1), LANES)
                    for v in range(vectors):
                        i = j * vectors + v
                        acc[i] = e.fma(value, rows[v], acc[i])
            return [e.at(q, LINE * vectors * n), *(e.at(base, 4 * n) for base in bases), *acc]

        bases_ = bases
        zeros = [constant(FLOATS, 0.0)] * (height * vectors)
        acc = unrolled(e, count, [q, *bases, *zeros], step)[1 + len(bases) :]
        for i, value in enumerate(acc):
            e.store(value, e.at(s, LINE * i), 4)
        return [e.at(k, builder.mul(stride, ir.Constant(I64, height))), e.at(s, LINE * vectors * height)]

    cascade(e, keys, heights(isa, vectors), [k, s], tile)
    builder.ret_void()
    return function


def largest(e: Emitter, vectors: int, *arguments: ir.Value) -> tuple[list[ir.Value], list[ir.Value], list[ir.Value]]:
    """Mask s, as `weights_function` says; each row's maximum before and now, and what is subtracted from its scores."""
    s, keys, bias, limits, first, sums = arguments
    builder = e.builder
    null, wide, minus_inf = ir.Constant(BYTES, None), LINE * vectors, constant(FLOATS, MINUS_INF)

    with e.when(builder.icmp_unsigned("!=", bias, null)):

        def biased(state: list[ir.Value]) -> list[ir.Value]:
            s, bias = state
            for v in range(vectors):
                b = e.load(FLOATS, e.at(bias, LINE * v), 4)
                value = builder.fadd(e.load(FLOATS, e.at(s, LINE * v), 4), b)
                value = builder.select(builder.fcmp_ordered("==", b, minus_inf), minus_inf, value)
                e.store(value, e.at(s, LINE * v), 4)
            return [e.at(s, wide), e.at(bias, wide)]

        e.loop(keys, [s, bias], biased)
    with e.when(builder.icmp_unsigned("!=", limits, null)):

        def limited(state: list[ir.Value]) -> list[ir.Value]:
            s, j = state
            for v in range(vectors):
                seen = builder.icmp_signed("<", e.splat(j, LANES), e.load(INTS, e.at(limits, LINE * v), 4))
                value = builder.select(seen, e.load(FLOATS, e.at(s, LINE * v), 4), minus_inf)
                e.store(value, e.at(s, LINE * v), 4)
            return [e.at(s, wide), builder.add(j, ir.Constant(I32, 1))]

        e.loop(keys, [s, builder.trunc(first, I32)], limited)

    def larger(state: list[ir.Value]) -> list[ir.Value]:
        s, *most = state
        return [e.at(s, wide), *(greater(e, a, m) for a, m in zip(vectors_at(e, s, vectors), most, strict=True))]

    before = vectors_at(e, sums, vectors)
    _, *most = e.loop(keys, [s, *before], larger)
    return before, most, [finite_or_zero(e, m) for m in most]


def sum_up(e: Emitter, exp: Callable, sums: ir.Value, *rows: list[ir.Value]) -> None:
    """What a block leaves in sums: of what `largest` gave, and the sums of its weights."""
    wide = LINE * len(rows[0])
    for v, (before, most, shift, total) in enumerate(zip(*rows, strict=True)):
        factor = exp(e, e.builder.fsub(before, shift))
        place = e.at(sums, wide + LINE * v)
        e.store(most, e.at(sums, LINE * v), 4)
        e.store(e.fma(e.load(FLOATS, place, 4), factor, total), place, 4)
        e.store(factor, e.at(place, wide), 4)


def weights_function(isa: InstructionSet, vectors: int, module: ir.Module) -> ir.Function:
    """void weights(s, keys, bias, limits, first, sums): s [keys][rows] becomes weights.

    bias [keys][rows] is added, but -inf takes a key away whatever its score; or NULL. Rows see keys below limits
    [rows], where the block's own begin with number `first`; or NULL. sums [3][rows]: maximum, sum of weights, and (a
    result) the factor of what was summed before.
    """
    function, e = begin(module, f"dynq_weights_{isa.name}_{vectors}", WEIGHTS_ARGUMENTS)
    if e is None:
        return function
    s, keys, bias, limits, first, sums = function.args
    before, most, shifts = largest(e, vectors, s, keys, bias, limits, first, sums)

    def weigh(state: list[ir.Value]) -> list[ir.Value]:
        s, *total = state
        for v, value in enumerate(vectors_at(e, s, vectors)):
            weight = exp(e, e.builder.fsub(value, shifts[v]))
            e.store(weight, e.at(s, LINE * v), 4)
            total[v] = e.builder.fadd(total[v], weight)
        return [e.at(s, LINE * vectors), *total]

    _, *total = e.loop(keys, [s, *[constant(FLOATS, 0.0)] * vectors], weigh)
    sum_up(e, exp, sums, before, most, shifts, total)
    e.builder.ret_void()
    return function


def values_function(
    isa: InstructionSet, vectors: int, limited: bool, module: ir.Module, units: bool = False
) -> ir.Function:
    """void values(p, v, v_stride, keys, count, factor, o, limits, first): o [count][rows] from p and rows of v.

    `limited`: what a row must not see does not touch it, not even a NaN (see `weights_function`). `units`: what a sum
    is multiplied by, after the factors.
    """
    name = f"dynq_values_{'limited_' if limited else ''}{'units_' if units else ''}{isa.name}_{vectors}"
    function, e = begin(module, name, VALUES_ARGUMENTS)
    if e is None:
        return function
    p, v, stride, keys, count, factor, o, limits, first = function.args
    builder = e.builder
    factors, start = vectors_at(e, factor, vectors), builder.trunc(first, I32)

    def tile(height: int, state: list[ir.Value]) -> list[ir.Value]:
        source, o = state

        def step(state: list[ir.Value]) -> list[ir.Value]:
            p, v, j, *acc = state
            weights = vectors_at(e, p, vectors)
            for d in range(height):
                value = e.splat(e.load(F32, e.at(v, 4 * d), 1), LANES)
                for w in range(vectors):
                    i = d * vectors + w
                    more = e.fma(weights[w], value, acc[i])
                    if limited:
                        seen = builder.icmp_signed("<", e.splat(j, LANES), e.load(INTS, e.at(limits, LINE * w), 4))
                        more = builder.select(seen, more, acc[i])
                    acc[i] = more
            return [e.at(p, LINE * vectors), e.at(v, stride), builder.add(j, ir.Constant(I32, 1)), *acc]

        zeros = [constant(FLOATS, 0.0)] * (height * vectors)
        _, _, _, *acc = e.loop(keys, [p, source, start, *zeros], step)
        for i, value in enumerate(acc):
            place = e.at(o, LINE * i)
            if units:
                value = builder.fmul(value, e.load(FLOATS, e.at(factor, LINE * (vectors + i % vectors)), 4))
            e.store(e.fma(e.load(FLOATS, place, 4), factors[i % vectors], value), place, 4)
        return [e.at(source, 4 * height), e.at(o, LINE * vectors * height)]

    cascade(e, count, heights(isa, vectors), [v, o], tile)
    builder.ret_void()
    return function
