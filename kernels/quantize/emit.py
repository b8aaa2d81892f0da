"""Quantizing rows of float32, and laying them out for the tile in the same pass: 1, 2 or 4 rows at a time.

    range    lo = min(0, min x), hi = max(0, max x), and whether all of the row is finite
    convert  q = clip(rint(x / scale) + zero_point, 0, 255), ties to even, the quotient correctly rounded
             with 65535 for 255 if x has 16 bits: q = 256·high + low, and the two bytes are two rows of the panel

        rows r…r+3 of x                      panel [words][R] of 4-byte words
        ┌────────────────────┐               ┌─────────────┐
        │ x x x x│x x x x│ …  │  16 k of      │ r r+1 r+2 r+3 …  word 0
        │ x x x x│x x x x│ …  │  four rows ─▶ │ r r+1 r+2 r+3 …  word 1
        │ x x x x│x x x x│ …  │               │ …
        └────────────────────┘               └─────────────┘

Four rows are done together, so that saturating packs put the four words of one k-word side by side, for one 16-byte
store (`InstructionSet.pack_words`).

The quotient without a division, which would take longer than all the rest (inv = RN(1/s), rest = (1 - inv·s)·inv):

    q' = RN(x·inv + x·rest)          off by at most (1/2 + 2^-22) ulp, so one of the two floats around x / s
    q  = RN(q' + RN(x - q'·s)·inv)   is RN(x / s): Markstein's theorem (the subtraction is exact)

It holds if nothing under- or overflows: for 2^-60 ≤ s ≤ 2^60. (If x - q'·s does underflow, |x / s| < 1/4 and q is 0
anyway.) Rows with other scales, and sets without fused multiply-add, divide.

rint is the addition of 1.5·2^23: |x/scale| stays below 2^22 (at most 1.5 times the steps, when scale is denormal),
where that sum has unit spacing and rounds ties to even; its low mantissa bits are the integer.
The last K % 16 values are loaded under a mask; in the padding a word holds zero points (the weights there are 0).

Sources: ONNX DynamicQuantizeLinear-11; Markstein, IBM J. Res. Dev. 34 (1990) 111, theorem 7; Handbook of
Floating-Point Arithmetic (2nd ed.), section 4.7.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from llvmlite import ir

from ..isa.base import InstructionSet
from ..isa.emitter import BYTES, F32, I32, I64, VOID, Emitter, constant, internal_function, vector

LANES = 16
#: Vectors in flight in the range pass, over all its rows.
STREAMS = 8
MAGIC = 12582912.0
MAGIC_BITS = 0x4B400000
FLOATS = vector(F32, LANES)
INTS = vector(I32, LANES)
#: Vector to vector: x / scale.
Quotient = Callable[[ir.Value], ir.Value]
#: Scales between which the quotient needs no division.
LEAST, LARGEST = 2.0**-60, 2.0**60
#: How many rows are handled together.
TOGETHER = (4, 2, 1)
#: Floats between the lo, the hi and the flag that `range` writes for one row.
BOUNDS_STRIDE = 16


def sources_of(e: Emitter, x: ir.Value, x_stride: ir.Value, rows: int) -> list[ir.Value]:
    """Where each row starts."""
    sources = [x]
    for _ in range(1, rows):
        sources.append(e.at(sources[-1], x_stride))
    return sources


def range_function(module: ir.Module, rows: int, masked: bool = False) -> ir.Function:
    """void range(x, x_stride, count, bounds): float32 lo, hi, flag of row r to bounds[r + {0, 1, 2}·BOUNDS_STRIDE].

    The flag is 0, or NaN where the row is not finite: from lo - lo, hi - hi, and a mask of the NaN seen.
    `masked`: before bounds stands int32 [count], of which 0 makes x 0 and -1 leaves it.
    """
    name, more = (f"dynq_masked_range_{rows}", [BYTES]) if masked else (f"dynq_range_{rows}", [])
    function, fresh = internal_function(module, name, VOID, [BYTES, I64, I64, *more, BYTES])
    if not fresh:
        return function
    x, x_stride, count, *masks, bounds = function.args
    builder = ir.IRBuilder(function.append_basic_block("entry"))
    e = Emitter(builder)
    width, streams = STREAMS // rows, rows + len(masks)

    def lesser(a: ir.Value, b: ir.Value) -> ir.Value:
        return builder.select(builder.fcmp_ordered("<", a, b), a, b)

    def greater(a: ir.Value, b: ir.Value) -> ir.Value:
        return builder.select(builder.fcmp_ordered(">", a, b), a, b)

    def take(state: list[ir.Value], values: list[ir.Value]) -> list[ir.Value]:
        """One row's lo, hi and NaN mask after `values`, an even number of vectors."""
        lo, hi, odd = state
        for a, b in zip(values[::2], values[1::2], strict=True):
            lo, hi = lesser(b, lesser(a, lo)), greater(b, greater(a, hi))
            odd = builder.or_(odd, builder.fcmp_unordered("uno", a, b))
        return [lo, hi, odd]

    def sweep(state: list[ir.Value], load) -> list[ir.Value]:
        """One block of every row; state: where the rows stand, and `mask`, then lo, hi, NaN mask of each."""
        pointers, sums = state[:streams], state[streams:]
        kept = [builder.bitcast(load(e.at(p, 4 * LANES * v), v), INTS) for p in pointers[rows:] for v in range(width)]
        for r in range(rows):
            values = [load(e.at(pointers[r], 4 * LANES * v), v) for v in range(width)]
            for v, keep in enumerate(kept):
                values[v] = builder.bitcast(builder.and_(builder.bitcast(values[v], INTS), keep), FLOATS)
            sums[3 * r : 3 * r + 3] = take(sums[3 * r : 3 * r + 3], values)
        return [e.at(pointer, 4 * LANES * width) for pointer in pointers] + sums

    zero, none = constant(FLOATS, 0.0), constant(vector(ir.IntType(1), LANES), 0)
    state = sources_of(e, x, x_stride, rows) + masks + [zero, zero, none] * rows
    block = ir.Constant(I64, LANES * width)
    state = e.repeat(builder.sdiv(count, block), state, lambda s: sweep(s, lambda p, v: e.load(FLOATS, p, 4)))
    left = builder.srem(count, block)

    def tail(pointer: ir.Value, v: int) -> ir.Value:
        mask = e.first_lanes(LANES, builder.sub(left, ir.Constant(I64, LANES * v)))
        return e.masked_load(FLOATS, pointer, mask, 4)

    some = builder.zext(builder.icmp_signed(">", left, ir.Constant(I64, 0)), I64)
    state = e.repeat(some, state, lambda s: sweep(s, tail))

    def across(values: list[ir.Value], combine) -> ir.Value:
        """Each row's vector down to one lane: the four rows' results as <4 x float>."""
        for lanes in (LANES // 2, LANES // 4):
            values = [combine(e.part(value, 0, lanes), e.part(value, lanes, lanes)) for value in values]
        a, b, c, d = (values[r % rows] for r in range(4))
        columns = []
        for lane in (0, 2):  # the transpose of four vectors of four
            ab, cd = (e.shuffle(*pair, [lane, lane + 4, lane + 1, lane + 5]) for pair in ((a, b), (c, d)))
            columns += [e.shuffle(ab, cd, [0, 1, 4, 5]), e.shuffle(ab, cd, [2, 3, 6, 7])]
        return combine(combine(columns[0], columns[1]), combine(columns[2], columns[3]))

    lo, hi = (across(state[streams + which :: 3], combine) for which, combine in ((0, lesser), (1, greater)))
    odd = ir.Constant(vector(ir.IntType(1), 4), ir.Undefined)
    for r in range(4):
        mask = builder.bitcast(state[streams + 3 * (r % rows) + 2], ir.IntType(LANES))
        seen = builder.icmp_unsigned("!=", mask, ir.Constant(ir.IntType(LANES), 0))
        odd = builder.insert_element(odd, seen, ir.Constant(I32, r))
    flag = builder.fadd(builder.fsub(lo, lo), builder.fsub(hi, hi))
    flag = builder.select(odd, constant(vector(F32, 4), float("nan")), flag)
    for j, value in enumerate((lo, hi, flag)):
        e.store(e.part(value, 0, rows), e.at(bounds, 4 * j * BOUNDS_STRIDE), 4)
    builder.ret_void()
    return function


def each_row(e: Emitter, values: ir.Value) -> list[ir.Value]:
    """A row's value in every lane, row by row."""
    undefined = ir.Constant(values.type, ir.Undefined)
    return [e.shuffle(values, undefined, [r] * LANES) for r in range(values.type.count)]


def each_lane(e: Emitter, values: ir.Value) -> list[ir.Value]:
    """Where a lane is a row: all of them at once."""
    return [values]


def divisions(e: Emitter, scales: ir.Value, spread: Callable = each_row) -> list[Quotient]:
    """x ↦ RN(x / s) of each row, for any s."""
    return [partial(_divided, e, s) for s in spread(e, scales)]


def _divided(e: Emitter, s: ir.Value, value: ir.Value) -> ir.Value:
    return e.builder.fdiv(value, s)


def multiplications(e: Emitter, scales: ir.Value, spread: Callable = each_row) -> list[Quotient]:
    """x ↦ RN(x / s) of each row as at the head of this file, for LEAST ≤ s ≤ LARGEST."""
    builder = e.builder
    one = constant(scales.type, 1.0)
    inverses = builder.fdiv(one, scales)
    rests = builder.fmul(e.fma(builder.fneg(inverses), scales, one), inverses)

    def quotient(inverse: ir.Value, rest: ir.Value, minus: ir.Value) -> Quotient:
        def rounded(value: ir.Value) -> ir.Value:
            near = e.fma(value, inverse, builder.fmul(value, rest))
            return e.fma(e.fma(near, minus, value), inverse, near)

        return rounded

    parts = (spread(e, inverses), spread(e, rests), spread(e, builder.fneg(scales)))
    return [quotient(*row) for row in zip(*parts, strict=True)]


def by_quotient(
    e: Emitter,
    isa: InstructionSet,
    scales: ir.Value,
    convert: Callable[[list[Quotient]], None],
    spread: Callable = each_row,
) -> None:
    """Emit `convert` with the quotients by `scales`: by multiplication where it is exact for all, else by division.

    There is one for each row, or (`each_lane`) one for vectors whose lanes are the rows.
    """
    builder = e.builder
    if not isa.fused:
        convert(divisions(e, scales, spread))
        return
    rows = scales.type.count
    least, largest = (constant(scales.type, bound) for bound in (LEAST, LARGEST))
    above, below = builder.fcmp_ordered(">=", scales, least), builder.fcmp_ordered("<=", scales, largest)
    every = ir.IntType(rows)
    inside = builder.bitcast(builder.and_(above, below), every)
    safe = builder.icmp_unsigned("==", inside, ir.Constant(every, 2**rows - 1))
    with builder.if_else(safe, likely=True) as (then, otherwise):
        with then:
            convert(multiplications(e, scales, spread))
        with otherwise:
            convert(divisions(e, scales, spread))


def shift(e: Emitter, zero_point: ir.Value) -> ir.Value:
    """What `quantized` adds to the bits of a rounded quotient."""
    return e.splat(e.builder.sub(zero_point, ir.Constant(I32, MAGIC_BITS)), LANES)


def quantized(e: Emitter, quotient: ir.Value, shifts: ir.Value) -> ir.Value:
    """rint(quotient) + zero_point, int32, not yet clipped."""
    rounded = e.builder.fadd(quotient, constant(FLOATS, MAGIC))
    return e.builder.add(e.builder.bitcast(rounded, INTS), shifts)


def byte_planes(e: Emitter, q: ir.Value, planes: int) -> list[ir.Value]:
    """Integers as they are; or, for 2 planes, the high and low bytes of 16 bits."""
    if planes == 1:
        return [q]
    return [e.builder.lshr(q, constant(q.type, 8)), e.builder.and_(q, constant(q.type, 0xFF))]


def clipped_planes(e: Emitter, q: ir.Value, planes: int) -> list[ir.Value]:
    """The same, clipped to 16 bits first. (One plane is clipped when it is packed.)"""
    if planes == 2:
        low, high = constant(q.type, 0), constant(q.type, 0xFFFF)
        q = e.builder.select(e.builder.icmp_signed(">", q, low), q, low)
        q = e.builder.select(e.builder.icmp_signed("<", q, high), q, high)
    return byte_planes(e, q, planes)


def convert_function(module: ir.Module, isa: InstructionSet, rows: int, planes: int = 1) -> ir.Function:
    """void convert(x, x_stride, k, scale, zero_point, panel, panel_rows): `rows` rows into a panel.

    `scale` and `zero_point` are the first row's float32 and int32; `panel` is the first row's word 0, and words
    of the same row are `panel_rows` words apart. Writes ceil(k / 16) · 16 values a row. With 2 planes, of 16 bits, each
    row is two rows of the panel, high bytes and low bytes. 1, 2 or 4 rows of the panel are written together.
    """
    args = [BYTES, I64, I64, BYTES, BYTES, BYTES, I64]
    name = f"dynq_convert_{rows}{'_x16' if planes == 2 else ''}__{isa.name}"
    function, fresh = internal_function(module, name, VOID, args)
    if not fresh:
        return function
    x, x_stride, k, scale, zero_point, panel, panel_rows = function.args
    builder = ir.IRBuilder(function.append_basic_block("entry"))
    e = Emitter(builder)
    words, height = LANES // isa.k_per_word * isa.parts, rows * planes
    scales = e.load(vector(F32, rows), scale, 4)
    shifts = [shift(e, e.load(I32, e.at(zero_point, 4 * r), 4)) for r in range(rows)]
    word_stride = builder.mul(panel_rows, ir.Constant(I64, 4))

    def scatter(values: list[ir.Value], target: ir.Value) -> None:
        """Store each k-word of all rows at once."""
        written = [part for value in values for part in clipped_planes(e, value, planes)]
        together = isa.pack_words(e, [written[r % height] for r in range(4)])
        if height > 1:
            spread(together, target)
            return
        alone = builder.icmp_signed("==", panel_rows, ir.Constant(I64, 1))
        with builder.if_else(alone) as (then, otherwise):
            with then:  # one row's words follow each other
                merged = [e.part(word, 0, 1) for word in together]
                while len(merged) > 1:
                    merged = [e.join(a, b) for a, b in zip(merged[::2], merged[1::2], strict=True)]
                e.store(merged[0], target, 4)
            with otherwise:
                spread(together, target)

    def spread(together: list[ir.Value], target: ir.Value) -> None:
        for word in together:
            e.store(e.part(word, 0, height) if height < 4 else word, target, 4)
            target = e.at(target, word_stride)

    def convert(quotients: list[Quotient]) -> None:
        def block(state: list[ir.Value], load) -> list[ir.Value]:
            target, *pointers = state
            scatter([quantized(e, quotients[r](load(p)), shifts[r]) for r, p in enumerate(pointers)], target)
            step = builder.mul(word_stride, ir.Constant(I64, words))
            return [e.at(target, step), *(e.at(pointer, 4 * LANES) for pointer in pointers)]

        state = [panel, *sources_of(e, x, x_stride, rows)]
        whole, tail = builder.sdiv(k, ir.Constant(I64, LANES)), builder.srem(k, ir.Constant(I64, LANES))
        state = e.repeat(whole, state, lambda s: block(s, lambda p: e.load(FLOATS, p, 4)))
        mask = e.first_lanes(LANES, tail)
        some = builder.zext(builder.icmp_signed(">", tail, ir.Constant(I64, 0)), I64)
        e.repeat(some, state, lambda s: block(s, lambda p: e.masked_load(FLOATS, p, mask, 4)))

    by_quotient(e, isa, scales, convert)
    builder.ret_void()
    return function
