"""Attention's products in integers: 16 to 64 query rows over a block of keys; a lane is a row, as in emit.py.

    scores    s[j, row] = float32(Σ_d iq[d, row] · ik[j, d]) · (sq[row] · sk[j])
    weights   p = exp(s - max);  u = p · sv[j], 0 where p is 0;  t = max(max_j u, LEAST);  ip = rint(u · (255 / t))
    values    o[d, row] = fma(o[d, row], factor[row], float32(Σ_j ip[j, row] · iv[j, d]) · (t / 255))

Where the dot takes bytes (VNNI), iq + 128 and ip are its unsigned side, four d or four keys to a word; the sums of
scores start at -128 · Σ_d ik[j, d]. On other sets the float kernels multiply whole numbers. |Σ_d| ≤ 127² · D < 2^24 for
D ≤ LONGEST, and |Σ_j| ≤ 255 · 127 · 64 < 2^21: the same, exactly. Layouts: emit_int8_pack.py.

Instructions for 16 scores, D = Dv = 32: 64 FMAs and 30 for weights in floats; here 16 dots, 10 around them, 20 for
weights. exp needs only 8 bits: a polynomial of degree 4 without a second part of ln 2.
"""

from __future__ import annotations

from typing import Any

from llvmlite import ir

from ..activations.reference import LOG2_E
from ..isa.base import InstructionSet
from ..isa.emitter import BYTES, F32, I32, I64, Emitter, constant, vector
from ..isa.transpose import FLOATS, LANES, LINE
from ..quantize.emit import MAGIC
from . import emit
from .emit import INTS, begin, cascade, heights, largest, sum_up, unrolled, vectors_at
from .emit_int8_pack import TOGETHER, greater_bits, whole, words_of
from .reference import BLOCK, LEAST, POWER_MAGIC, SHORT_MIN, SHORT_P

SCORES_ARGUMENTS = [BYTES, I64, BYTES, I64, BYTES, BYTES]
WEIGHTS_ARGUMENTS = [BYTES, I64, BYTES, BYTES, I64, BYTES, BYTES]
VALUES_ARGUMENTS = [BYTES, BYTES, I64, I64, BYTES, BYTES]


def _pieces(e: Emitter, kind: ir.VectorType, base: ir.Value, vectors: int) -> list[ir.Value]:
    """`vectors` vectors of 16, as many registers of that kind as it takes."""
    return [e.load(kind, e.at(base, 4 * kind.count * i), 4) for i in range(vectors * LANES // kind.count)]


def _in_fours(isa: InstructionSet, vectors: int) -> list[int]:
    return [height // TOGETHER for height in heights(isa, vectors) if height >= TOGETHER]


def exp(e: Emitter, x: ir.Value) -> ir.Value:
    """`short_exp` of reference.py for x ≤ 0, bit for bit. A NaN stays one, as no product loses it."""
    builder, kind = e.builder, x.type

    def c(value: Any) -> ir.Constant:
        return constant(kind, float(value))

    shifted = e.fma(x, c(LOG2_E), c(POWER_MAGIC))
    f = e.fma(x, c(LOG2_E), builder.fsub(c(POWER_MAGIC), shifted))
    p = c(SHORT_P[-1])
    for coefficient in SHORT_P[-2::-1]:
        p = e.fma(p, f, c(coefficient))
    bits = builder.bitcast(shifted, vector(I32, kind.count))
    power = builder.bitcast(builder.shl(bits, constant(bits.type, 23)), kind)
    return builder.select(builder.fcmp_ordered("<", x, c(SHORT_MIN)), c(0), builder.fmul(p, power))


def scores_function(isa: InstructionSet, vectors: int, module: ir.Module) -> ir.Function:
    """void scores(q, count, block, keys, s, scales): s [keys][rows] from a packed q, its scales and a block of keys.

    Rows of s up to a multiple of four are written.
    """
    function, e = begin(module, f"dynq_integer_scores_{isa.name}_{vectors}", SCORES_ARGUMENTS)
    if e is None:
        return function
    q, count, block, keys, s, scales = function.args
    builder = e.builder
    padded = whole(e, count)
    if not isa.byte_dot:
        wide = builder.mul(padded, ir.Constant(I64, 4))
        builder.call(emit.scores_function(isa, vectors, module), [q, count, block, wide, keys, s])
        key_scales = e.at(block, builder.mul(wide, ir.Constant(I64, BLOCK)))
        row_scales = vectors_at(e, scales, vectors)

        def scaled(state: list[ir.Value]) -> list[ir.Value]:
            s, place = state
            scale = e.splat(e.load(F32, place, 4), LANES)
            for v, row_scale in enumerate(row_scales):
                at = e.at(s, LINE * v)
                e.store(builder.fmul(e.load(FLOATS, at, 4), builder.fmul(row_scale, scale)), at, 4)
            return [e.at(s, LINE * vectors), e.at(place, 4)]

        e.loop(keys, [s, e.at(key_scales, 4 * BLOCK)], scaled)
        builder.ret_void()
        return function

    lanes, group = isa.lanes, builder.mul(padded, ir.Constant(I64, TOGETHER))
    integers, kind = vector(I32, lanes), vector(F32, lanes)
    row_scales = _pieces(e, kind, scales, vectors)
    width = len(row_scales)
    words = builder.sdiv(whole(e, count, 4), ir.Constant(I64, 4))

    def tile(fours: int, state: list[ir.Value]) -> list[ir.Value]:
        block, starts, s = state
        bases = [block]
        for _ in range(1, fours):
            bases.append(e.at(bases[-1], group))

        def step(state: list[ir.Value], n: int) -> list[ir.Value]:
            q, bases, acc = state[0], state[1 : 1 + fours], state[1 + fours :]
            for u in range(n):
                rows = _pieces(e, integers, e.at(q, LINE * vectors * u), vectors)
                for j in range(TOGETHER * fours):
                    place = e.at(bases[j // TOGETHER], 4 * (TOGETHER * u + j % TOGETHER))
                    word = e.splat(e.load(I32, place, 4), lanes)
                    for i, row in enumerate(rows, j * width):
                        acc[i] = isa.dot(e, acc[i], row, word)
            return [e.at(q, LINE * vectors * n), *(e.at(base, 4 * TOGETHER * n) for base in bases), *acc]

        acc = []
        for j in range(TOGETHER * fours):
            acc += [e.splat(e.load(I32, e.at(starts, 4 * j), 4), lanes)] * width
        acc = unrolled(e, words, [q, *bases, *acc], step)[1 + fours :]
        for j in range(TOGETHER * fours):
            scale = e.splat(e.load(F32, e.at(starts, 4 * (BLOCK + j)), 4), lanes)
            for i, row_scale in enumerate(row_scales):
                total = builder.sitofp(acc[j * width + i], kind)
                place = e.at(s, LINE * vectors * j + 4 * lanes * i)
                e.store(builder.fmul(total, builder.fmul(row_scale, scale)), place, 4)
        size = TOGETHER * fours
        return [e.at(bases[-1], group), e.at(starts, 4 * size), e.at(s, LINE * vectors * size)]

    fours = builder.sdiv(whole(e, keys, TOGETHER), ir.Constant(I64, TOGETHER))
    starts = e.at(block, builder.mul(padded, ir.Constant(I64, BLOCK)))
    cascade(e, fours, _in_fours(isa, vectors), [block, starts, s], tile)
    builder.ret_void()
    return function


def weights_function(isa: InstructionSet, vectors: int, module: ir.Module) -> ir.Function:
    """void weights(s, keys, bias, limits, first, sums, scales): s [keys][rows] becomes ip; `scales` are the keys' sv.

    bias, limits, first as in emit.py. sums [4][rows]: maximum, sum of weights and, results, factor and unit.
    Words of ip lie in s from its beginning; there must be space for three rows more.
    """
    function, e = begin(module, f"dynq_integer_weights_{isa.name}_{vectors}", WEIGHTS_ARGUMENTS)
    if e is None:
        return function
    s, keys, bias, limits, first, sums, scales = function.args
    builder, wide, zero = e.builder, LINE * vectors, constant(FLOATS, 0.0)
    before, most, shifts = largest(e, vectors, s, keys, bias, limits, first, sums)

    def weigh(state: list[ir.Value]) -> list[ir.Value]:
        s, place, total, tops = state[0], state[1], state[2 : 2 + vectors], state[2 + vectors :]
        scale = e.splat(e.load(F32, place, 4), LANES)
        for v, value in enumerate(vectors_at(e, s, vectors)):
            weight = exp(e, builder.fsub(value, shifts[v]))
            total[v] = builder.fadd(total[v], weight)
            u = builder.select(builder.fcmp_ordered("==", weight, zero), zero, builder.fmul(weight, scale))
            tops[v] = greater_bits(e, builder.bitcast(u, INTS), tops[v])  # a NaN is the greatest
            e.store(u, e.at(s, LINE * v), 4)
        return [e.at(s, wide), e.at(place, 4), *total, *tops]

    start = [s, scales, *[zero] * vectors, *[constant(INTS, 0)] * vectors]
    end, _, *results = e.loop(keys, start, weigh)
    sum_up(e, exp, sums, before, most, shifts, results[:vectors])
    inverses = []
    for v, bits in enumerate(results[vectors:]):
        top, least, steps = builder.bitcast(bits, FLOATS), constant(FLOATS, LEAST), constant(FLOATS, 255.0)
        top = builder.select(builder.fcmp_ordered("<", top, least), least, top)
        inverses.append(builder.fdiv(steps, top))
        e.store(builder.fdiv(top, steps), e.at(sums, 3 * wide + LINE * v), 4)

    def shifted(s: ir.Value, v: int) -> ir.Value:
        """ip in the low bits of a float."""
        return e.fma(e.load(FLOATS, e.at(s, LINE * v), 4), inverses[v], constant(FLOATS, MAGIC))

    def word(state: list[ir.Value]) -> list[ir.Value]:
        s, target = state
        for v in range(vectors):
            four = [builder.bitcast(shifted(e.at(s, wide * j), v), INTS) for j in range(TOGETHER)]
            e.store(words_of(e, four), e.at(target, LINE * v), 4)
        return [e.at(s, TOGETHER * wide), e.at(target, wide)]

    def number(state: list[ir.Value]) -> list[ir.Value]:
        for v in range(vectors):
            e.store(builder.fsub(shifted(state[0], v), constant(FLOATS, MAGIC)), e.at(state[0], LINE * v), 4)
        return [e.at(state[0], wide)]

    if isa.byte_dot:
        for i in range((TOGETHER - 1) * vectors):  # keys that make four of the last ones
            e.store(zero, e.at(end, LINE * i), 4)
        e.loop(builder.sdiv(whole(e, keys, TOGETHER), ir.Constant(I64, TOGETHER)), [s, s], word)
    else:
        e.loop(keys, [s], number)
    builder.ret_void()
    return function


def values_function(isa: InstructionSet, vectors: int, module: ir.Module) -> ir.Function:
    """void values(p, block, keys, count, factors, o): o [count][rows] from ip and a block of v; factors, then units."""
    function, e = begin(module, f"dynq_integer_values_{isa.name}_{vectors}", VALUES_ARGUMENTS)
    if e is None:
        return function
    p, block, keys, count, factors, o = function.args
    builder = e.builder
    wide = builder.mul(whole(e, count), ir.Constant(I64, 4))
    if not isa.byte_dot:
        null, zero = ir.Constant(BYTES, None), ir.Constant(I64, 0)
        plain = emit.values_function(isa, vectors, False, module, units=True)
        builder.call(plain, [p, block, wide, keys, count, factors, o, null, zero])
        builder.ret_void()
        return function

    lanes, fours = isa.lanes, builder.sdiv(whole(e, keys, TOGETHER), ir.Constant(I64, TOGETHER))
    integers, kind = vector(I32, lanes), vector(F32, lanes)
    row_factors, units = (_pieces(e, kind, e.at(factors, LINE * vectors * i), vectors) for i in (0, 1))
    width = len(units)

    def tile(height: int, state: list[ir.Value]) -> list[ir.Value]:
        block, o = state

        def step(state: list[ir.Value]) -> list[ir.Value]:
            p, v, *acc = state
            rows = _pieces(e, integers, p, vectors)
            for d in range(height):
                word = e.splat(e.load(I32, e.at(v, 4 * d), 4), lanes)
                for i, row in enumerate(rows, d * width):
                    acc[i] = isa.dot(e, acc[i], row, word)
            return [e.at(p, LINE * vectors), e.at(v, wide), *acc]

        _, _, *acc = e.loop(fours, [p, block, *[constant(integers, 0)] * (height * width)], step)
        for i, value in enumerate(acc):
            place, part = e.at(o, 4 * lanes * i), builder.fmul(builder.sitofp(value, kind), units[i % width])
            e.store(e.fma(e.load(kind, place, 4), row_factors[i % width], part), place, 4)
        return [e.at(block, 4 * height), e.at(o, LINE * vectors * height)]

    cascade(e, count, heights(isa, vectors), [block, o], tile)
    builder.ret_void()
    return function
