"""Some columns of a float32 matrix: as rows, 16 × 16 values at a time (isa/transpose.py), and as they are."""

from __future__ import annotations

from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from ..isa.emitter import BYTES, F32, I64, VOID, Emitter, constant, internal_function, vector
from ..isa.transpose import by_sixteens, transposed

LANES = 16
FLOATS = vector(F32, LANES)
ARGUMENTS = [BYTES, I64, I64, I64, BYTES, I64]


def columns_function(module: ir.Module) -> ir.Function:
    """void columns(source, stride, rows, count, target, apart): target[c][r] = source[r][c] for c < count ≤ 16.

    Strides in bytes; columns lie side by side. Of target, rows r up to the next multiple of 16 are written (zeros), and
    16 rows whatever `count`: no byte of source beyond rows and columns is touched.
    """
    function, fresh = internal_function(module, "dynq_columns", VOID, ARGUMENTS)
    if not fresh:
        return function
    source, stride, rows, count, target, apart = function.args
    builder = ir.IRBuilder(function.append_basic_block("entry"))
    e = Emitter(builder)
    some = e.first_lanes(LANES, count)
    zero = ir.Constant(I64, 0)

    def store(values: list[ir.Value], target: ir.Value) -> None:
        for column in transposed(e, values):
            e.store(column, target, 4)
            target = e.at(target, apart)

    def block(state: list[ir.Value]) -> list[ir.Value]:
        source, target = state
        values = []
        for _ in range(LANES):
            values.append(e.masked_load(FLOATS, source, some, 4))
            source = e.at(source, stride)
        store(values, target)
        return [source, e.at(target, 4 * LANES)]

    whole, rest = builder.sdiv(rows, ir.Constant(I64, LANES)), builder.srem(rows, ir.Constant(I64, LANES))
    source, target = e.repeat(whole, [source, target], block)
    with e.when(builder.icmp_signed(">", rest, zero)):
        values, none = [], constant(vector(ir.IntType(1), LANES), 0)
        for r in range(LANES):
            inside = builder.icmp_signed("<", ir.Constant(I64, r), rest)
            values.append(e.masked_load(FLOATS, source, builder.select(inside, some, none), 4))
            source = e.at(source, builder.select(inside, stride, zero))
        store(values, target)
    builder.ret_void()
    return function


def sixteen(e: Emitter, source: ir.Value, stride: ir.Value, rows: ir.Value) -> list[ir.Value]:
    """Where 16 rows begin; from `rows` ≥ 1 on, the last one again."""
    starts = [source]
    for r in range(1, LANES):
        more = e.builder.icmp_signed("<", ir.Constant(I64, r), rows)
        starts.append(e.at(starts[-1], e.builder.select(more, stride, ir.Constant(I64, 0))))
    return starts


def gathered(e: Emitter, rows: list[ir.Value]) -> list[ir.Value]:
    """The columns of 16 rows of 16 in memory. Quarters of registers are put together by loads: with `transposed`, whose
    shuffles all need the same unit, this takes 1.5 times as long on a Sapphire Rapids."""
    columns = []
    low, high = [0, 16, 1, 17], [2, 18, 3, 19]
    even, odd = [0, 1, 16, 17], [2, 3, 18, 19]
    quarters = [[lane + 4 * q for q in range(4) for lane in pattern] for pattern in (low, high, even, odd)]
    for first in range(0, 4 * LANES, 16):
        parts = []
        for i in range(4):
            four = [e.load(vector(F32, 4), e.at(row, first), 4) for row in rows[i::4]]
            parts.append(e.join(e.join(four[0], four[1]), e.join(four[2], four[3])))
        pairs = [[e.shuffle(parts[i], parts[i + 1], pattern) for pattern in quarters[:2]] for i in (0, 2)]
        columns += [e.shuffle(pairs[0][half], pairs[1][half], p) for half in (0, 1) for p in quarters[2:]]
    return columns


def interleave_function(module: ir.Module) -> ir.Function:
    """void interleave(source, stride, rows, count, target, apart): target[c][r] = source[r][c] for r < rows ≤ 16.

    As `columns_function`, but for any count, and without zeros: target[c] gets the last row's values from r = rows on,
    which the next c may overwrite. Up to 15 rows of target behind the last are written, too. rows is 1 at least.
    """
    function, fresh = internal_function(module, "dynq_interleave", VOID, ARGUMENTS)
    if not fresh:
        return function
    source, stride, rows, count, target, apart = function.args
    builder = ir.IRBuilder(function.append_basic_block("entry"))
    e = Emitter(builder)
    starts = sixteen(e, source, stride, rows)

    def block(state: list[ir.Value], mask: ir.Value | None) -> list[ir.Value]:
        at, target = state
        places = [e.at(start, at) for start in starts]
        if mask is None:
            columns = gathered(e, places)
        else:
            columns = transposed(e, [e.masked_load(FLOATS, place, mask, 4) for place in places])
        for column in columns:
            e.store(column, target, 4)
            target = e.at(target, apart)
        return [builder.add(at, ir.Constant(I64, 4 * LANES)), target]

    by_sixteens(e, count, [ir.Constant(I64, 0), target], block)
    builder.ret_void()
    return function


def rows_function(module: ir.Module) -> ir.Function:
    """void rows(source, stride, rows, count, target, apart): target[r][c] = source[r][c] for c < count ≤ 16.

    Strides in bytes; a row is contiguous. Of every row of target 16 floats are written, in ascending order of rows:
    zeros from `count` on, which the next row may overwrite. No byte of source beyond rows and columns is touched.
    """
    function, fresh = internal_function(module, "dynq_rows", VOID, ARGUMENTS)
    if not fresh:
        return function
    source, stride, rows, count, target, apart = function.args
    builder = ir.IRBuilder(function.append_basic_block("entry"))
    e = Emitter(builder)
    some = e.first_lanes(LANES, count)

    def row(state: list[ir.Value]) -> list[ir.Value]:
        source, target = state
        e.store(e.masked_load(FLOATS, source, some, 4), target, 4)
        return [e.at(source, stride), e.at(target, apart)]

    e.repeat(rows, [source, target], row)
    builder.ret_void()
    return function


@intrinsic
def copy_columns(typingctx, source, stride, rows, count, target, apart):
    """``columns_function``."""

    def codegen(context, builder, signature, args):
        builder.call(columns_function(builder.module), args)
        return context.get_dummy_value()

    p, n = types.voidptr, types.intp
    return types.void(p, n, n, n, p, n), codegen


@intrinsic
def copy_rows(typingctx, source, stride, rows, count, target, apart):
    """``rows_function``."""

    def codegen(context, builder, signature, args):
        builder.call(rows_function(builder.module), args)
        return context.get_dummy_value()

    p, n = types.voidptr, types.intp
    return types.void(p, n, n, n, p, n), codegen


@intrinsic
def interleave_rows(typingctx, source, stride, rows, count, target, apart):
    """``interleave_function``."""

    def codegen(context, builder, signature, args):
        builder.call(interleave_function(builder.module), args)
        return context.get_dummy_value()

    p, n = types.voidptr, types.intp
    return types.void(p, n, n, n, p, n), codegen
