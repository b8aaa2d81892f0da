"""Quantizing rows of float32, and laying them out for the tile in the same pass. Any instruction set.

    range    lo = min(0, min x), hi = max(0, max x), and whether all of the row is finite (16 lanes, 4 sums in flight)
    convert  q = clip(rint(x / scale) + zero_point, 0, 255), ties to even, a true division

        rows r…r+3 of x                      panel [words][R] of 4-byte words
        ┌────────────────────┐               ┌─────────────┐
        │ x x x x│x x x x│ …  │  16 k of      │ r r+1 r+2 r+3 …  word 0
        │ x x x x│x x x x│ …  │  four rows ─▶ │ r r+1 r+2 r+3 …  word 1
        │ x x x x│x x x x│ …  │               │ …
        └────────────────────┘               └─────────────┘

Four rows go together so that the transposition ends in 16-byte stores instead of 4-byte ones.
rint is the addition of 1.5·2^23: |x/scale| stays below 2^22 (at most 382, when scale is denormal), where that sum
has unit spacing and rounds ties to even; its low mantissa bits are the integer.
NaN and infinities are noticed by a running sum of x - x: 0 for a finite value, NaN for others, in whatever order.
The last K % 16 values are loaded under a mask; in the padding a word holds zero points (the weights there are 0).

Source: ONNX DynamicQuantizeLinear-11.
"""

from __future__ import annotations

from llvmlite import ir

from .vectors import BYTES, F32, I8, I16, I32, I64, VOID, Emitter, constant, internal_function, vector

LANES = 16
SUMS = 4
MAGIC = 12582912.0
MAGIC_BITS = 0x4B400000
FLOATS = vector(F32, LANES)
INTS = vector(I32, LANES)


def range_function(module: ir.Module) -> ir.Function:
    """void range(x, count, result): lo, hi, total (float32) to result[0..2].

    total is 0, or NaN where x is not finite.
    """
    function, fresh = internal_function(module, "dynq_range", VOID, [BYTES, I64, BYTES])
    if not fresh:
        return function
    x, count, result = function.args
    builder = ir.IRBuilder(function.append_basic_block("entry"))
    e = Emitter(builder)

    def lesser(a: ir.Value, b: ir.Value) -> ir.Value:
        return builder.select(builder.fcmp_ordered("<", a, b), a, b)

    def greater(a: ir.Value, b: ir.Value) -> ir.Value:
        return builder.select(builder.fcmp_ordered(">", a, b), a, b)

    def take(state: list[ir.Value], value: ir.Value) -> list[ir.Value]:
        lo, hi, total = state
        return [lesser(value, lo), greater(value, hi), builder.fadd(total, builder.fsub(value, value))]

    zero = constant(FLOATS, 0.0)
    slots = [builder.alloca(FLOATS) for _ in range(3 * SUMS)]
    for slot in slots:
        builder.store(zero, slot)
    cursor = builder.alloca(BYTES)
    builder.store(x, cursor)

    def sweep(times: ir.Value, width: int) -> None:
        """`times` blocks of `width` vectors."""
        with e.when(builder.icmp_signed(">", times, ir.Constant(I64, 0))):
            used = [slots[3 * s + j] for s in range(width) for j in range(3)]

            def block(state: list[ir.Value]) -> list[ir.Value]:
                pointer, *sums = state
                for s in range(width):
                    value = e.load(FLOATS, e.at(pointer, 64 * s), 4)
                    sums[3 * s : 3 * s + 3] = take(sums[3 * s : 3 * s + 3], value)
                return [e.at(pointer, 64 * width), *sums]

            last = e.loop(times, [builder.load(cursor), *map(builder.load, used)], block)
            for slot, value in zip([cursor, *used], last, strict=True):
                builder.store(value, slot)

    blocks = builder.sdiv(count, ir.Constant(I64, LANES * SUMS))
    sweep(blocks, SUMS)
    rest = builder.srem(count, ir.Constant(I64, LANES * SUMS))
    sweep(builder.sdiv(rest, ir.Constant(I64, LANES)), 1)
    tail = builder.srem(count, ir.Constant(I64, LANES))
    with e.when(builder.icmp_signed(">", tail, ir.Constant(I64, 0))):
        value = e.masked_load(FLOATS, builder.load(cursor), e.first_lanes(LANES, tail), 4)
        for slot, taken in zip(slots, take([builder.load(s) for s in slots[:3]], value), strict=False):
            builder.store(taken, slot)

    for j, combine in enumerate((lesser, greater, builder.fadd)):
        merged = [builder.load(slots[3 * s + j]) for s in range(SUMS)]
        while len(merged) > 1:
            merged = [combine(a, b) for a, b in zip(merged[::2], merged[1::2], strict=True)]
        value, lanes = merged[0], LANES
        while lanes > 1:
            lanes //= 2
            value = combine(e.part(value, 0, lanes), e.part(value, lanes, lanes))
        e.store(builder.extract_element(value, ir.Constant(I32, 0)), e.at(result, 4 * j), 4)
    builder.ret_void()
    return function


def convert_function(module: ir.Module, k_per_word: int, rows: int) -> ir.Function:
    """void convert(x, x_stride, k, scale, zero_point, panel, panel_rows): `rows` (1, 2 or 4) rows into a panel.

    `scale` and `zero_point` are the first row's float32 and int32; `panel` is the first row's word 0, and words
    of the same row are `panel_rows` words apart. Writes ceil(k / 16) · 16 values a row.
    """
    args = [BYTES, I64, I64, BYTES, BYTES, BYTES, I64]
    function, fresh = internal_function(module, f"dynq_convert_{rows}c{k_per_word}", VOID, args)
    if not fresh:
        return function
    x, x_stride, k, scale, zero_point, panel, panel_rows = function.args
    builder = ir.IRBuilder(function.append_basic_block("entry"))
    e = Emitter(builder)
    words = LANES // k_per_word
    stored = vector(I8 if k_per_word == 4 else I16, LANES)
    sources = [x]
    for _ in range(1, rows):
        sources.append(e.at(sources[-1], x_stride))
    scales = [e.splat(e.load(F32, e.at(scale, 4 * r), 4), LANES) for r in range(rows)]
    bias = ir.Constant(I32, MAGIC_BITS)
    shifts = [e.splat(builder.sub(e.load(I32, e.at(zero_point, 4 * r), 4), bias), LANES) for r in range(rows)]
    word_stride = builder.mul(panel_rows, ir.Constant(I64, 4))

    def quantized(value: ir.Value, r: int) -> ir.Value:
        """One row's 16 values as its words: <words x i32>."""
        rounded = builder.fadd(builder.fdiv(value, scales[r]), constant(FLOATS, MAGIC))
        q = builder.add(builder.bitcast(rounded, INTS), shifts[r])
        low, high = constant(INTS, 0), constant(INTS, 255)
        q = builder.select(builder.icmp_signed(">", q, low), q, low)
        q = builder.select(builder.icmp_signed("<", q, high), q, high)
        return builder.bitcast(builder.trunc(q, stored), vector(I32, words))

    def scatter(values: list[ir.Value], target: ir.Value) -> None:
        """Interleave the rows' words, then store each word of all rows at once."""
        if rows == 4:
            pair = vector(I64, words)
            upper, lower = (builder.bitcast(e.interleave(*values[i : i + 2]), pair) for i in (0, 2))
            together = builder.bitcast(e.interleave(upper, lower), vector(I32, rows * words))
        elif rows == 2:
            together = e.interleave(*values)
        else:
            together = values[0]
            alone = builder.icmp_signed("==", panel_rows, ir.Constant(I64, 1))
            with builder.if_else(alone) as (then, otherwise):
                with then:
                    e.store(together, target, 4)
                with otherwise:
                    spread(together, target)
            return
        spread(together, target)

    def spread(together: ir.Value, target: ir.Value) -> None:
        for w in range(words):
            e.store(e.part(together, w * rows, rows), target, 4)
            target = e.at(target, word_stride)

    def block(state: list[ir.Value], load) -> list[ir.Value]:
        target, *pointers = state
        scatter([quantized(load(pointer), r) for r, pointer in enumerate(pointers)], target)
        step = builder.mul(word_stride, ir.Constant(I64, words))
        return [e.at(target, step), *(e.at(pointer, 4 * LANES) for pointer in pointers)]

    whole = builder.sdiv(k, ir.Constant(I64, LANES))
    cursors = [builder.alloca(BYTES) for _ in range(rows + 1)]
    for cursor, value in zip(cursors, [panel, *sources], strict=True):
        builder.store(value, cursor)
    with e.when(builder.icmp_signed(">", whole, ir.Constant(I64, 0))):
        last = e.loop(whole, [*map(builder.load, cursors)], lambda s: block(s, lambda p: e.load(FLOATS, p, 4)))
        for cursor, value in zip(cursors, last, strict=True):
            builder.store(value, cursor)
    tail = builder.srem(k, ir.Constant(I64, LANES))
    with e.when(builder.icmp_signed(">", tail, ir.Constant(I64, 0))):
        mask = e.first_lanes(LANES, tail)
        block([*map(builder.load, cursors)], lambda p: e.masked_load(FLOATS, p, mask, 4))
    builder.ret_void()
    return function
