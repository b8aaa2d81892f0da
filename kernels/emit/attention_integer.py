"""Attention's products in integers: 16 to 64 query rows over a block of keys; a lane is a row, as in attention.py.

    scores    s[j, row] = float32(Σ_d iq[d, row] · ik[j, d]) · (sq[row] · sk[j])

Where the dot takes bytes (VNNI), iq + 128 is its unsigned side, four d to a word, and sums start at -128 · Σ ik[j, d].
Elsewhere the float kernel multiplies whole numbers, and |Σ| ≤ 127² · D < 2^24 for D ≤ LONGEST: the same, exactly.
Layouts: attention_pack.py.
"""

from __future__ import annotations

from llvmlite import ir

from ..reference_attention import BLOCK
from . import attention as floats
from .attention import begin, cascade, heights, unrolled
from .attention_pack import TOGETHER, in_words, whole
from .isa import InstructionSet
from .transpose import LANES, LINE
from .vectors import BYTES, F32, I32, I64, Emitter, vector

SCORES_ARGUMENTS = [BYTES, I64, BYTES, I64, BYTES, BYTES]


def _pieces(e: Emitter, kind: ir.VectorType, base: ir.Value, vectors: int) -> list[ir.Value]:
    """`vectors` vectors of 16, as many registers of that kind as it takes."""
    return [e.load(kind, e.at(base, 4 * kind.count * i), 4) for i in range(vectors * LANES // kind.count)]


def _in_fours(isa: InstructionSet, vectors: int) -> list[int]:
    return [height // TOGETHER for height in heights(isa, vectors) if height >= TOGETHER]


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
    if not in_words(isa):
        wide = builder.mul(padded, ir.Constant(I64, 4))
        builder.call(floats.scores_function(isa, vectors, module), [q, count, block, wide, keys, s])
        key_scales = e.at(block, builder.mul(wide, ir.Constant(I64, BLOCK)))
        kind = floats.FLOATS
        row_scales = _pieces(e, kind, scales, vectors)

        def scaled(state: list[ir.Value]) -> list[ir.Value]:
            s, place = state
            scale = e.splat(e.load(F32, place, 4), LANES)
            for v, row_scale in enumerate(row_scales):
                at = e.at(s, LINE * v)
                e.store(builder.fmul(e.load(kind, at, 4), builder.fmul(row_scale, scale)), at, 4)
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
