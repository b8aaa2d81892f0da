"""Rows of a quantized table, looked up, or added up bag by bag.

    row of the table    ┌ scale float32 ┬ minimum float32 ┬ 8 bits: D bytes, one for each column ───────┐
                        │               │                 │ 4 bits: ceil(D/2) bytes: low nibbles the    │
                        └───────────────┴─────────────────┴ first half of the row, high ones the second ┘
    rows    out = float32(q · scale) + minimum
    sum     t = fma(q, float32(weight · scale), t), b = fma(weight, minimum, b) for the ids of a bag in their order,
            out = (t + b) · factor, factor = 1 or, for the mean, float32(1 / ids of the bag, at least 1)
            where that is not finite, again in float64: out = Σ weight · (q · scale + minimum), over the ids for a mean
    max     t = float32(q · scale) + minimum where that is greater than t; 0 for an empty bag

A function handles a block of columns: `size` vectors of 16 bytes, that many sums (4 bits: twice as many) in registers
for all of a bag. The last vector of a row is read whole (after it comes the next row, or the table's padding), and only
its columns are stored. For a FAR table (larger than a core's cache), rows that are needed some ids later are
prefetched, also those of the next bags.

Ids of any width are read as 32 bits (little-endian; they were checked to be below 2^32).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import cache, partial

from llvmlite import ir
from numba.extending import intrinsic

from ..isa.base import InstructionSet
from ..isa.emitter import BYTES, F32, F64, I8, I32, I64, VOID, Emitter, constant, internal_function, vector
from ..isa.intrinsics import switch
from ..quantize.emit import FLOATS, INTS, LANES
from .context import LookupContext

#: Bytes of a row before its integers.
HEAD = 8
#: Vectors of 16 bytes that a function may handle; which of them fit depends on the registers.
SIZES = (1, 2, 3, 4, 6, 8, 10, 12, 16, 20, 24)
LINE = 64
#: Vectors of a row that are loaded together.
TOGETHER = 2
#: Cache lines on their way at a time, about (48 took twice as long as 160 on 4 M rows of 64 columns), and the least ids
#: between asking for a row and using it.
IN_FLIGHT, LEAST_AHEAD = 160, 4
KINDS = ("rows", "sum", "max")


def sizes(isa: InstructionSet, bits: int) -> tuple[int, ...]:
    """Those whose sums leave two 16-lane values free in the registers (four where a value is one register)."""
    registers = LANES // isa.lanes
    free = (isa.registers - (8 if registers == 1 else 2 * registers)) // registers * bits // 8
    return tuple(size for size in SIZES if size <= max(1, free))


def wide_sum_function(module: ir.Module, bits: int) -> ir.Function:
    """void wide(context, skip, bag): a bag's sums of 16 bytes of rows, in float64, where out is not finite."""
    function, fresh = internal_function(module, f"dynq_embedding_wide_{bits}", VOID, [BYTES, I64, I64])
    if not fresh:
        return function
    context, skip, bag = function.args
    builder = ir.IRBuilder(function.append_basic_block("entry"))
    e = Emitter(builder)
    doubles, double = vector(F64, LANES), partial(builder.fpext, typ=F64)
    zero, one = ir.Constant(I64, 0), ir.Constant(I64, 1)

    word = partial(LookupContext.load, builder, context)

    def add(state: list[ir.Value]) -> list[ir.Value]:
        i, *sums = state
        place = e.at(word("ids"), builder.mul(i, word("id_bytes")))
        row = e.at(word("table"), builder.mul(builder.zext(e.load(I32, place, 4), I64), word("row_bytes")))
        scale, minimum = (e.splat(double(e.load(F32, e.at(row, 4 * j), 1)), LANES) for j in range(2))
        weight = e.load(F32, e.at(word("weights"), builder.mul(i, word("weight_stride"))), 4)
        packed = e.load(vector(I8, LANES), e.at(row, builder.add(skip, ir.Constant(I64, HEAD))), 1)
        parts = [packed] if bits == 8 else [builder.and_(packed, constant(packed.type, 15)),
                                            builder.lshr(packed, constant(packed.type, 4))]  # fmt: skip
        for h, part in enumerate(parts):
            value = builder.fadd(builder.fmul(builder.uitofp(part, doubles), scale), minimum)
            sums[h] = builder.fadd(sums[h], builder.fmul(e.splat(double(weight), LANES), value))
        return [builder.add(i, one), *sums]

    ends = e.at(word("offsets"), builder.mul(bag, ir.Constant(I64, 8)))
    begin = e.load(I64, ends, 8)
    inside, columns = builder.sub(e.load(I64, e.at(ends, 8), 8), begin), word("columns")
    sums = e.repeat(inside, [begin, *[constant(doubles, 0.0)] * (8 // bits)], add)[1:]
    of_mean = builder.icmp_signed("!=", word("mean"), zero)
    divisor = builder.select(of_mean, builder.sitofp(inside, F64), constant(F64, 1.0))
    half = columns if bits == 8 else builder.sdiv(builder.add(columns, one), ir.Constant(I64, 2))
    row = e.at(word("out"), builder.mul(bag, word("out_stride")))
    for total, start, width in zip(sums, (zero, half), (half, builder.sub(columns, half)), strict=False):
        target = e.at(row, builder.mul(builder.add(start, skip), ir.Constant(I64, 4)))
        there = e.first_lanes(LANES, builder.sub(width, skip))
        before = e.masked_load(FLOATS, target, there, 1)
        odd = builder.fcmp_unordered("uno", builder.fsub(before, before), constant(FLOATS, 0.0))
        result = builder.fptrunc(builder.fdiv(total, e.splat(divisor, LANES)), FLOATS)
        e.masked_store(result, target, builder.and_(there, odd), 1)
    builder.ret_void()
    return function


def lookup_function(module: ir.Module, bits: int, kind: str, size: int) -> ir.Function:
    """void lookup(context, skip, first, count): bytes skip … skip + 16·size of rows, for bags first … first + count."""
    name = f"dynq_embedding_{kind}_{bits}_{size}"
    function, fresh = internal_function(module, name, VOID, [BYTES, I64, I64, I64])
    if not fresh:
        return function
    context, skip, first, count = function.args
    builder = ir.IRBuilder(function.append_basic_block("entry"))
    e = Emitter(builder)

    def number(value: int) -> ir.Value:
        return ir.Constant(I64, value)

    word = partial(LookupContext.load, builder, context)

    table, row_bytes, ids, id_stride = word("table"), word("row_bytes"), word("ids"), word("id_bytes")
    columns, out, out_stride = word("columns"), word("out"), word("out_stride")
    offsets, weights, weight_stride = word("offsets"), word("weights"), word("weight_stride")
    last = builder.sub(word("count"), number(1))
    far, mean = (builder.icmp_signed("!=", word(name), number(0)) for name in ("far", "mean"))
    cells = e.at(table, builder.add(skip, number(HEAD)))
    half = columns if bits == 8 else builder.sdiv(builder.add(columns, number(1)), number(2))
    halves = [(number(0), half)] if bits == 8 else [(number(0), half), (half, builder.sub(columns, half))]
    bytes_ = HEAD + LANES * size
    # The last byte has a line of its own only where it is more than an aligned word beyond the line before it.
    lines = [*range(0, bytes_, LINE), *([bytes_ - 1] if (bytes_ - 1) % LINE >= HEAD else [])]
    ahead = number(max(LEAST_AHEAD, IN_FLIGHT // len(lines)))

    def changing(value: ir.Value) -> ir.Value:
        """The value, as something that no loop may compute ahead."""
        kind = ir.FunctionType(I64, [I64])
        return builder.call(ir.InlineAsm(kind, "", "=r,0", side_effect=True), [value])

    def place(i: ir.Value) -> ir.Value:
        """Bytes from the first row to that of the i-th id."""
        row = builder.zext(e.load(I32, e.at(ids, builder.mul(i, id_stride)), 4), I64)
        return builder.mul(row, row_bytes)

    def bring_near(i: ir.Value) -> None:
        later = builder.add(i, ahead)
        row = e.at(cells, place(builder.select(builder.icmp_signed("<", later, last), later, last)))
        for line in lines:
            e.prefetch(e.at(row, line - HEAD))

    def head_of(row: ir.Value) -> tuple[ir.Value, ir.Value]:
        head = e.at(table, row)
        return e.load(F32, head, 1), e.load(F32, e.at(head, 4), 1)

    def values_of(row: ir.Value) -> Iterator[tuple[int, ir.Value]]:
        """The row's integers as floats, with their place among the sums: the first half's vectors, then the second's.

        A few at a time: LLVM would load all of them first, and push the sums out of the registers.
        """
        source = e.at(cells, row)
        for v in range(size):
            if v and v % TOGETHER == 0:
                builder.call(ir.InlineAsm(ir.FunctionType(VOID, []), "", "~{memory}", side_effect=True), [])
            wide = builder.zext(e.load(vector(I8, LANES), e.at(source, LANES * v), 1), INTS)
            if bits == 8:
                yield v, builder.sitofp(wide, FLOATS)
            else:
                yield v, builder.sitofp(builder.and_(wide, constant(INTS, 15)), FLOATS)
                yield size + v, builder.sitofp(builder.lshr(wide, constant(INTS, 4)), FLOATS)

    def combine(row: ir.Value, state: list[ir.Value], term: Callable[[ir.Value, ir.Value], ir.Value]) -> list[ir.Value]:
        """Each sum and the value that belongs to it."""
        results = list(state)
        for place, value in values_of(row):
            results[place] = term(value, state[place])
        return results

    def dequantizing(row: ir.Value) -> Callable[[ir.Value], ir.Value]:
        scale, minimum = (e.splat(value, LANES) for value in head_of(row))
        return lambda value: builder.fadd(builder.fmul(value, scale), minimum)

    def store(bag: ir.Value, results: list[ir.Value]) -> None:
        row = e.at(out, builder.add(builder.mul(bag, out_stride), builder.mul(skip, number(4))))
        for h, (start, width) in enumerate(halves):
            target, left = e.at(row, builder.mul(start, number(4))), builder.sub(width, skip)
            mine = results[h * size : (h + 1) * size]
            with builder.if_else(builder.icmp_signed(">=", left, number(LANES * size))) as (whole, some):
                with whole:
                    for v, value in enumerate(mine):
                        e.store(value, e.at(target, 4 * LANES * v), 1)
                with some:
                    left = changing(left)  # else the masks of all vectors are computed ahead, and take registers
                    for v, value in enumerate(mine):
                        mask = e.first_lanes(LANES, builder.sub(left, number(LANES * v)))
                        e.masked_store(value, e.at(target, 4 * LANES * v), mask, 1)

    def look_up(i: ir.Value) -> None:
        with e.when(far):
            bring_near(i)
        row, none = place(i), [constant(FLOATS, 0.0)] * (size * len(halves))
        dequantized = dequantizing(row)
        store(i, combine(row, none, lambda value, _: dequantized(value)))

    def add(i: ir.Value, state: list[ir.Value]) -> list[ir.Value]:
        row = place(i)
        scale, minimum = head_of(row)
        weight = e.load(F32, e.at(weights, builder.mul(i, weight_stride)), 4)
        step = e.splat(builder.fmul(weight, scale), LANES)
        base = e.fma(weight, minimum, state[0])
        return [base, *combine(row, state[1:], lambda value, t: e.fma(value, step, t))]

    def greater(i: ir.Value, state: list[ir.Value]) -> list[ir.Value]:
        row = place(i)
        dequantized = dequantizing(row)

        def larger(value: ir.Value, t: ir.Value) -> ir.Value:
            value = dequantized(value)
            return builder.select(builder.fcmp_ordered(">", value, t), value, t)

        return combine(row, state, larger)

    def reduce(bag: ir.Value) -> None:
        ends = e.at(offsets, builder.mul(bag, number(8)))
        begin = e.load(I64, ends, 8)
        inside, vectors = builder.sub(e.load(I64, e.at(ends, 8), 8), begin), size * len(halves)
        one, none = ir.Constant(F32, 1.0), builder.icmp_signed("<=", inside, number(0))
        body = add if kind == "sum" else greater
        sums = [constant(FLOATS, 0.0 if kind == "sum" else float("-inf"))] * vectors
        carried = [ir.Constant(F32, 0.0), *sums] if kind == "sum" else sums

        def near_step(state: list[ir.Value]) -> list[ir.Value]:
            return [builder.add(state[0], number(1)), *body(state[0], state[1:])]

        def far_step(state: list[ir.Value]) -> list[ir.Value]:
            bring_near(state[0])
            return near_step(state)

        # Two loops of one block each: with a branch inside, LLVM copies every sum at every step.
        with builder.if_else(far) as (then, otherwise):
            with then:
                there = e.repeat(inside, [begin, *carried], far_step)[1:], builder.block
            with otherwise:
                here = e.repeat(inside, [begin, *carried], near_step)[1:], builder.block
        total = [builder.phi(value.type) for value in carried]
        for values, block in (there, here):
            for phi, value in zip(total, values, strict=True):
                phi.add_incoming(value, block)
        if kind == "sum":
            divisor = builder.select(builder.and_(mean, builder.not_(none)), builder.sitofp(inside, F32), one)
            base, factor = e.splat(total[0], LANES), e.splat(builder.fdiv(one, divisor), LANES)
            results = [builder.fmul(builder.fadd(t, base), factor) for t in total[1:]]
            store(bag, results)
            whole = results[0]
            for value in results[1:]:
                whole = builder.fadd(whole, value)  # not finite where one of them is not
            odd = builder.fcmp_unordered("uno", builder.fsub(whole, whole), constant(FLOATS, 0.0))
            lanes = ir.IntType(LANES)
            some = builder.icmp_unsigned("!=", builder.bitcast(odd, lanes), ir.Constant(lanes, 0))
            with builder.if_then(some, likely=False):
                wide = wide_sum_function(module, bits)
                for v in range(size):
                    vector_skip = builder.add(skip, number(LANES * v))
                    with e.when(builder.icmp_signed("<", vector_skip, half)):
                        builder.call(wide, [context, vector_skip, bag])
        else:
            store(bag, [builder.select(none, constant(FLOATS, 0.0), t) for t in total])

    def one_bag(state: list[ir.Value]) -> list[ir.Value]:
        (look_up if kind == "rows" else reduce)(state[0])
        return [builder.add(state[0], number(1))]

    e.repeat(count, [first], one_bag)
    builder.ret_void()
    return function


@cache
def lookup(isa: InstructionSet, bits: int, kind: str) -> Callable:
    """``lookup(size, context, skip, first, count)``: see `lookup_function`."""

    @intrinsic
    def lookup(typingctx, size, context, skip, first, count):
        functions = {size: partial(lookup_function, bits=bits, kind=kind, size=size) for size in sizes(isa, bits)}
        return switch(functions, [BYTES, I64, I64, I64])

    return lookup
