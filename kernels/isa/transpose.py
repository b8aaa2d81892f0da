"""Sixteen rows to sixteen columns and back, for matrices whose lanes are rows.

    rows  r0: a0 a1 a2 …         columns  c0: a0 b0 … p0
          r1: b0 b1 b2 …   ◀──▶           c1: a1 b1 … p1       64 shuffles: pairs, fours, then quarters of a register
          …                               …

A table of 16 offsets says where rows are; columns are one `stride` apart. Rows shorter than a multiple of 16 are
read and written with masks: no byte beyond them is touched.
"""

from __future__ import annotations

from collections.abc import Callable

from llvmlite import ir

from .emitter import BYTES, F32, I8, I64, VOID, Emitter, constant, internal_function, vector

LANES = 16
LINE = 64
FLOATS = vector(F32, LANES)
SOME_BYTES = vector(I8, LANES)
MINUS_INF = float("-inf")

GATHER_ARGUMENTS = [BYTES, BYTES, I64, BYTES, BYTES, I64]
SCATTER_ARGUMENTS = [BYTES, I64, I64, BYTES, BYTES, BYTES, BYTES, I64]


def transposed(e: Emitter, rows: list[ir.Value]) -> list[ir.Value]:
    """The columns of 16 vectors of 16, by shuffles that are one instruction each on x86."""

    def both(a: ir.Value, b: ir.Value, low: list[int], high: list[int]) -> tuple[ir.Value, ir.Value]:
        return e.shuffle(a, b, low), e.shuffle(a, b, high)

    pairs = [both(*rows[i : i + 2], *_unpack([0, 16, 1, 17], [2, 18, 3, 19])) for i in range(0, LANES, 2)]
    fours: list[ir.Value] = []  # [4 g + c]: in quarter n, column 4 n + c of rows 4 g … 4 g + 3
    for i in range(0, len(pairs), 2):
        for half in (0, 1):
            fours += both(pairs[i][half], pairs[i + 1][half], *_unpack([0, 1, 16, 17], [2, 3, 18, 19]))
    columns: list[ir.Value] = [None] * LANES
    even, odd = ([q + lane for q in quarter for lane in range(4)] for quarter in ((0, 8, 16, 24), (4, 12, 20, 28)))
    for c in range(4):
        left, right = both(fours[c], fours[4 + c], even, odd), both(fours[8 + c], fours[12 + c], even, odd)
        for parity in (0, 1):
            columns[4 * parity + c], columns[8 + 4 * parity + c] = both(left[parity], right[parity], even, odd)
    return columns


def _unpack(low: list[int], high: list[int]) -> list[list[int]]:
    """A pattern of one quarter of a register for all four."""
    return [[lane + 4 * q for q in range(4) for lane in pattern] for pattern in (low, high)]


def by_sixteens(e: Emitter, count: ir.Value, state: list[ir.Value], step: Callable) -> list[ir.Value]:
    """`step(state, mask)` for 16 of `count` values at a time; the mask is None except for the last, incomplete ones."""
    builder = e.builder
    whole, rest = builder.sdiv(count, ir.Constant(I64, LANES)), builder.srem(count, ir.Constant(I64, LANES))
    state = e.repeat(whole, state, lambda s: step(s, None))
    some = builder.zext(builder.icmp_signed(">", rest, ir.Constant(I64, 0)), I64)
    return e.repeat(some, state, lambda s: step(s, e.first_lanes(LANES, rest)))


def _rows(e: Emitter, base: ir.Value, table: ir.Value) -> list[ir.Value]:
    return [e.at(base, e.load(I64, e.at(table, 8 * r), 8)) for r in range(LANES)]


def gather_function(boolean: bool, module: ir.Module) -> ir.Function:
    """void gather(base, table, count, factor, target, stride): 16 rows of `count` floats · factor, transposed.

    `boolean`: rows of bytes, of which 0 becomes -inf and the others 0; there is no factor. `target` gets whole
    sixteens of columns: those beyond `count` hold zeros, times the factor (or -inf).
    """
    name = f"dynq_gather_{'bytes' if boolean else 'floats'}"
    function, fresh = internal_function(module, name, VOID, GATHER_ARGUMENTS)
    if not fresh:
        return function
    base, table, count, factor, target, stride = function.args
    builder = ir.IRBuilder(function.append_basic_block("entry"))
    e = Emitter(builder)
    rows = _rows(e, base, table)
    factors = None if boolean else e.splat(e.load(F32, factor, 4), LANES)
    kind = SOME_BYTES if boolean else FLOATS

    def value(source: ir.Value, mask: ir.Value | None) -> ir.Value:
        some = e.load(kind, source, 1) if mask is None else e.masked_load(kind, source, mask, 1)
        if not boolean:
            return builder.fmul(some, factors)
        chosen = builder.icmp_unsigned("!=", some, constant(SOME_BYTES, 0))
        return builder.select(chosen, constant(FLOATS, 0.0), constant(FLOATS, MINUS_INF))

    def step(state: list[ir.Value], mask: ir.Value | None) -> list[ir.Value]:
        at, target = state
        for column in transposed(e, [value(e.at(row, at), mask) for row in rows]):
            e.store(column, target, 4)
            target = e.at(target, stride)
        return [builder.add(at, ir.Constant(I64, LANES * (1 if boolean else 4))), target]

    by_sixteens(e, count, [ir.Constant(I64, 0), target], step)
    builder.ret_void()
    return function


def scatter_function(module: ir.Module) -> ir.Function:
    """void scatter(source, stride, count, factor, divisor, base, table, rows): 16 columns to the first `rows` rows.

    Of every value x: x · factor + 0, so that no -0 comes out; 0 where the divisor is 0. Factor and divisor are a
    vector of 16 each. `source` has whole sixteens of columns.
    """
    function, fresh = internal_function(module, "dynq_scatter", VOID, SCATTER_ARGUMENTS)
    if not fresh:
        return function
    source, stride, count, factor, divisor, base, table, some = function.args
    builder = ir.IRBuilder(function.append_basic_block("entry"))
    e = Emitter(builder)
    rows = _rows(e, base, table)
    factors, zero = e.load(FLOATS, factor, 4), constant(FLOATS, 0.0)
    empty = builder.fcmp_ordered("==", e.load(FLOATS, divisor, 4), zero)

    def step(state: list[ir.Value], mask: ir.Value | None) -> list[ir.Value]:
        at, source = state
        columns = []
        for _ in range(LANES):
            columns.append(builder.fadd(builder.fmul(e.load(FLOATS, source, 4), factors), zero))
            source = e.at(source, stride)
        for r, row in enumerate(transposed(e, [builder.select(empty, zero, column) for column in columns])):
            with e.when(builder.icmp_signed(">", some, ir.Constant(I64, r))):
                if mask is None:
                    e.store(row, e.at(rows[r], at), 1)
                else:
                    e.masked_store(row, e.at(rows[r], at), mask, 1)
        return [builder.add(at, ir.Constant(I64, 4 * LANES)), source]

    by_sixteens(e, count, [ir.Constant(I64, 0), source], step)
    builder.ret_void()
    return function
