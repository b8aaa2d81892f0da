"""The operands of `attention(bits=8)`: rows of float32 as integers, each row with its own scale.

    scale     max |x| / 127; 1 if that is 0, NaN where a value of the row is not finite
    integer   rint(x / scale), ties to even, the quotient correctly rounded and within ±127; 127 where the scale is NaN

    words     (VNNI)    q  [D/4][rows] of 4 d, integer + 128      lanes are rows; in place of the floats
                        k  [16][D/4][4 keys] of 4 d               with starts [64]: -128 · Σ integers
                        v  [16][Dv] of 4 keys
    floats    (others)  q  [D][rows]   k  [64][D]   v  [64][Dv]   whole numbers, whose products and sums are exact

    A block of 64 keys is its integers and then, 64 of each, starts and scales; D and Dv there are whole sixteens.

Magnitudes are compared as bits: there NaN is greater than infinity, and infinity is greater than any number.
"""

from __future__ import annotations

from llvmlite import ir

from ..isa.base import InstructionSet
from ..isa.emitter import BYTES, F32, I32, I64, Emitter, constant, vector
from ..isa.transpose import FLOATS, LANES, LINE, by_sixteens
from ..quantize.emit import MAGIC, Quotient, by_quotient, each_lane, quantized, shift
from .emit import INTS, begin
from .reference import BLOCK

#: Rows of k or v that are quantized together: those of one word, and of one load of broadcasts.
TOGETHER = 4
#: How many rows ahead memory is asked for more of them.
AHEAD = 16
#: 128 in each byte of a word; bits of infinity and of a NaN.
TOPS, INFINITE, NAN = -0x7F7F7F80, 0x7F800000, 0x7FC00000

KEYS_ARGUMENTS = [BYTES, I64, I64, I64, BYTES]
QUERIES_ARGUMENTS = [BYTES, I64, I64, BYTES]


def value_bytes(isa: InstructionSet) -> int:
    return 1 if isa.byte_dot else 4


def whole(e: Emitter, count: ir.Value, size: int = LANES) -> ir.Value:
    """`count` rounded up to a multiple of `size`, a power of two."""
    return e.builder.and_(e.builder.add(count, ir.Constant(I64, size - 1)), ir.Constant(I64, -size))


def greater_bits(e: Emitter, a: ir.Value, b: ir.Value) -> ir.Value:
    return e.builder.select(e.builder.icmp_unsigned(">", a, b), a, b)


def _magnitude(e: Emitter, values: ir.Value) -> ir.Value:
    kind = vector(I32, values.type.count)
    return e.builder.and_(e.builder.bitcast(values, kind), constant(kind, 0x7FFFFFFF))


def _scales(e: Emitter, most: ir.Value) -> ir.Value:
    """Scales of rows whose greatest magnitudes, as bits, are `most`."""
    builder, kind = e.builder, vector(F32, most.type.count)
    scale = builder.fdiv(builder.bitcast(most, kind), constant(kind, 127.0))
    scale = builder.select(builder.fcmp_ordered("==", scale, constant(kind, 0.0)), constant(kind, 1.0), scale)
    broken = builder.icmp_unsigned(">=", most, constant(most.type, INFINITE))
    return builder.select(broken, builder.bitcast(constant(most.type, NAN), kind), scale)


def _across(e: Emitter, rows: list[ir.Value]) -> ir.Value:
    """The greatest bits of each of four vectors."""
    while rows[0].type.count > 4:
        half = rows[0].type.count // 2
        rows = [greater_bits(e, e.part(row, 0, half), e.part(row, half, half)) for row in rows]

    def fold(a: ir.Value, b: ir.Value, left: list[int], right: list[int]) -> ir.Value:
        return greater_bits(e, e.shuffle(a, b, left), e.shuffle(a, b, right))

    pairs = [fold(a, b, [0, 1, 4, 5], [2, 3, 6, 7]) for a, b in (rows[:2], rows[2:])]
    return fold(pairs[0], pairs[1], [0, 2, 4, 6], [1, 3, 5, 7])


def _clipped(e: Emitter, quotient: ir.Value) -> ir.Value:
    """Within ±127: a scale that is denormal may be off by half of itself."""
    builder, high, low = e.builder, constant(quotient.type, 127.0), constant(quotient.type, -127.0)
    quotient = builder.select(builder.fcmp_ordered("<", quotient, high), quotient, high)
    return builder.select(builder.fcmp_ordered(">", quotient, low), quotient, low)


def rounded(e: Emitter, quotient: ir.Value) -> ir.Value:
    """rint, as a float."""
    magic = constant(quotient.type, MAGIC)
    return e.builder.fsub(e.builder.fadd(quotient, magic), magic)


def words_of(e: Emitter, four: list[ir.Value]) -> ir.Value:
    """Words of the low bytes of four vectors of integers."""
    builder, words = e.builder, None
    for i, values in enumerate(four):
        if i < 3:
            values = builder.and_(values, constant(values.type, 255))
        values = builder.shl(values, constant(values.type, 8 * i)) if i else values
        words = values if words is None else builder.or_(words, values)
    return words


def keys_function(isa: InstructionSet, values: bool, module: ir.Module) -> ir.Function:
    """void keys(k, k_stride, keys, count, block): up to 64 rows of k, or of v, become a block.

    In the last four, the last row takes the place of missing ones.
    """
    name = "values" if values else "keys"
    function, e = begin(module, f"dynq_integer_{name}_{isa.name}", KEYS_ARGUMENTS)
    if e is None:
        return function
    k, stride, keys, count, block = function.args
    builder = e.builder
    wide = builder.mul(whole(e, count), ir.Constant(I64, value_bytes(isa)))
    last = builder.sub(keys, ir.Constant(I64, 1))
    none, tops = constant(vector(I32, TOGETHER), 0), constant(vector(I32, TOGETHER), TOPS)
    shifts = shift(e, ir.Constant(I32, 0 if values else 128))

    def stored(quotients: list[Quotient], some: list[ir.Value], target: ir.Value, sums: ir.Value) -> list[ir.Value]:
        """16 values of four keys; the next place, and sums of all integers so far · 128."""
        numbers = [_clipped(e, quotient(row)) for quotient, row in zip(quotients, some, strict=True)]
        if not isa.byte_dot:
            for i, row in enumerate(numbers):
                e.store(rounded(e, row), e.at(target, builder.mul(wide, ir.Constant(I64, i))), 4)
            return [e.at(target, LINE), sums]
        integers = [quantized(e, row, shifts) for row in numbers]
        if values:
            e.store(words_of(e, integers), target, 4)
            return [e.at(target, LINE), sums]
        for word in isa.pack_words(e, integers):
            signed = builder.xor(word, tops)
            sums = e.call("llvm.x86.avx512.vpdpbusd.128", sums.type, [sums, tops, signed])
            e.store(signed, target, 4)
            target = e.at(target, 4 * TOGETHER)
        return [target, sums]

    def four(state: list[ir.Value]) -> list[ir.Value]:
        first, target, starts = state
        places, following = [], []
        for i in range(TOGETHER):
            j = builder.add(first, ir.Constant(I64, i))
            following.append(e.at(k, builder.mul(builder.add(j, ir.Constant(I64, AHEAD)), stride)))
            places.append(e.at(k, builder.mul(builder.select(builder.icmp_signed("<", j, last), j, last), stride)))

        def rows(at: ir.Value, mask: ir.Value | None) -> list[ir.Value]:
            sources = [e.at(place, at) for place in places]
            return [e.load(FLOATS, p, 1) if mask is None else e.masked_load(FLOATS, p, mask, 1) for p in sources]

        def widest(state: list[ir.Value], mask: ir.Value | None) -> list[ir.Value]:
            at, *most = state
            for place in following:
                e.prefetch(e.at(place, at))
            most = [greater_bits(e, _magnitude(e, row), m) for row, m in zip(rows(at, mask), most, strict=True)]
            return [builder.add(at, ir.Constant(I64, LINE)), *most]

        def convert(quotients: list[Quotient]) -> None:
            def step(state: list[ir.Value], mask: ir.Value | None) -> list[ir.Value]:
                at, target, sums = state
                return [builder.add(at, ir.Constant(I64, LINE)), *stored(quotients, rows(at, mask), target, sums)]

            _, _, sums = by_sixteens(e, count, [ir.Constant(I64, 0), target, none], step)
            e.store(builder.sub(none, sums), starts, 4)

        _, *most = by_sixteens(e, count, [ir.Constant(I64, 0), *[constant(INTS, 0)] * TOGETHER], widest)
        scales = _scales(e, _across(e, most))
        e.store(scales, e.at(starts, 4 * BLOCK), 4)
        by_quotient(e, isa, scales, convert)
        step = ir.Constant(I64, TOGETHER)
        return [builder.add(first, step), e.at(target, builder.mul(wide, step)), e.at(starts, 4 * TOGETHER)]

    groups = builder.sdiv(whole(e, keys, TOGETHER), ir.Constant(I64, TOGETHER))
    e.loop(groups, [ir.Constant(I64, 0), block, e.at(block, builder.mul(wide, ir.Constant(I64, BLOCK)))], four)
    builder.ret_void()
    return function


def queries_function(isa: InstructionSet, module: ir.Module) -> ir.Function:
    """void queries(q, stride, count, scales): 16 rows of q, a lane each; columns beyond `count` up to a whole word."""
    function, e = begin(module, f"dynq_integer_queries_{isa.name}", QUERIES_ARGUMENTS)
    if e is None:
        return function
    q, stride, count, place = function.args
    builder = e.builder

    def widest(state: list[ir.Value]) -> list[ir.Value]:
        q, most = state
        return [e.at(q, stride), greater_bits(e, _magnitude(e, e.load(FLOATS, q, 4)), most)]

    _, most = e.repeat(count, [q, constant(INTS, 0)], widest)
    scales = _scales(e, most)
    e.store(scales, place, 4)

    def convert(quotients: list[Quotient]) -> None:
        quotient, shifts = quotients[0], shift(e, ir.Constant(I32, 128))

        def word(state: list[ir.Value]) -> list[ir.Value]:
            source, target = state
            some = []
            for _ in range(4):
                some.append(quantized(e, _clipped(e, quotient(e.load(FLOATS, source, 4))), shifts))
                source = e.at(source, stride)
            e.store(words_of(e, some), target, 4)
            return [source, e.at(target, stride)]

        def number(state: list[ir.Value]) -> list[ir.Value]:
            e.store(rounded(e, _clipped(e, quotient(e.load(FLOATS, state[0], 4)))), state[0], 4)
            return [e.at(state[0], stride)]

        if isa.byte_dot:
            e.repeat(builder.sdiv(whole(e, count, 4), ir.Constant(I64, 4)), [q, q], word)
        else:
            e.repeat(count, [q], number)

    by_quotient(e, isa, scales, convert, each_lane)
    builder.ret_void()
    return function
