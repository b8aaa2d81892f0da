"""Some columns of a float32 matrix: as rows, 16 × 16 values at a time (isa/transpose.py), and as they are."""

from __future__ import annotations

from collections.abc import Callable

from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from ..isa.emitter import BYTES, F32, I32, I64, VOID, Emitter, constant, internal_function, vector
from ..isa.transpose import transposed

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


def four(e: Emitter, rows: list[ir.Value], at: ir.Value) -> list[ir.Value]:
    """Four columns, from `at` bytes on, of 16 rows in memory.

    Quarters of registers are put together by loads. With `transposed`, whose shuffles all need the same unit, it took
    1.4 times as long on a Sapphire Rapids, and twice as long to compile.
    """
    low, high, even, odd = (
        [lane + 4 * q for q in range(4) for lane in pattern]
        for pattern in ([0, 16, 1, 17], [2, 18, 3, 19], [0, 1, 16, 17], [2, 3, 18, 19])
    )
    parts = []
    for i in range(4):
        quarters = [e.load(vector(F32, 4), e.at(row, at), 4) for row in rows[i::4]]
        parts.append(e.join(e.join(quarters[0], quarters[1]), e.join(quarters[2], quarters[3])))
    pairs = [(e.shuffle(parts[0], parts[1], half), e.shuffle(parts[2], parts[3], half)) for half in (low, high)]
    return [e.shuffle(*pair, pattern) for pair in pairs for pattern in (even, odd)]


def one(e: Emitter, rows: list[ir.Value], at: ir.Value) -> ir.Value:
    """The column that lies `at` bytes from the rows' beginnings."""
    column: ir.Value = ir.Constant(FLOATS, ir.Undefined)
    for r, row in enumerate(rows):
        column = e.builder.insert_element(column, e.load(F32, e.at(row, at), 4), ir.Constant(I32, r))
    return column


def by_fours(
    e: Emitter,
    count: ir.Value,
    groups: list[list[ir.Value]],
    state: list[ir.Value],
    use: Callable[[list[list[ir.Value]], list[ir.Value]], list[ir.Value]],
) -> list[ir.Value]:
    """``use(columns, state)`` for the next 4 columns, then for each that is left, of some groups of 16 rows."""

    def some(state: list[ir.Value]) -> list[ir.Value]:
        following = e.builder.add(state[0], ir.Constant(I64, 16))
        return [following, *use([four(e, rows, state[0]) for rows in groups], state[1:])]

    def single(state: list[ir.Value]) -> list[ir.Value]:
        following = e.builder.add(state[0], ir.Constant(I64, 4))
        return [following, *use([[one(e, rows, state[0])] for rows in groups], state[1:])]

    state = [ir.Constant(I64, 0), *state]
    state = e.repeat(e.builder.sdiv(count, ir.Constant(I64, 4)), state, some)
    return e.repeat(e.builder.srem(count, ir.Constant(I64, 4)), state, single)[1:]


def interleave_function(module: ir.Module) -> ir.Function:
    """void interleave(source, stride, rows, count, target, apart): target[c][r] = source[r][c] for r < rows ≤ 16.

    As `columns_function`, but for any count, and without zeros: target[c] gets the last row's values from r = rows on,
    which the next c may overwrite. rows is 1 at least.
    """
    function, fresh = internal_function(module, "dynq_interleave", VOID, ARGUMENTS)
    if not fresh:
        return function
    source, stride, rows, count, target, apart = function.args
    builder = ir.IRBuilder(function.append_basic_block("entry"))
    e = Emitter(builder)

    def store(columns: list[list[ir.Value]], state: list[ir.Value]) -> list[ir.Value]:
        (target,) = state
        for column in columns[0]:
            e.store(column, target, 4)
            target = e.at(target, apart)
        return [target]

    by_fours(e, count, [sixteen(e, source, stride, rows)], [target], store)
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
