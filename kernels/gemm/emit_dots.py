"""One row times columns that each lie along K in memory, as keys do: without packing them.

    y[c] = fma(a[K-1], b[c][K-1], … fma(a[0], b[c][0], start[c]))       the chains of float_tile.py

          16 columns, 4 values of k each          4 vectors, one for each k
        b[c+0]  │ k … k+3 │                      ┌ 16 columns ┐
        …       │         │  ── interleaved ──▶  │ k          │  acc = fma(a[k], ·, acc), one after another
        b[c+15] │         │     in registers     │ …          │

Bounds: nothing is read beyond K, the columns and start's; nothing is written beyond out's.
"""

from __future__ import annotations

from functools import partial

from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from ..isa.emitter import BYTES, F32, I64, VOID, Emitter, internal_function
from .emit_columns import FLOATS, LANES, by_fours, sixteen

ARGUMENTS = [BYTES, I64, BYTES, I64, I64, I64, BYTES, BYTES]


def dots_function(module: ir.Module) -> ir.Function:
    """void dots(a, a_column, b, b_column, columns, k, start, out): strides in bytes; `start` may be NULL for zeros."""
    function, fresh = internal_function(module, "dynq_dots", VOID, ARGUMENTS)
    if not fresh:
        return function
    a, a_column, b, b_column, columns, k, start, out = function.args
    builder = ir.IRBuilder(function.append_basic_block("entry"))
    e = Emitter(builder)
    none = builder.icmp_unsigned("==", start, ir.Constant(BYTES, None))
    start = builder.select(none, out, start)
    zero = ir.Constant(I64, 0)

    def some(groups: int, state: list[ir.Value]) -> list[ir.Value]:
        """`groups` · 16 columns: whole ones, or a single group of as many as are left."""
        b, start, out, left = state
        rows, masks, sums = [], [], []
        for group in range(groups):
            rest = builder.sub(left, ir.Constant(I64, LANES * group))
            first = e.at(b, builder.mul(b_column, ir.Constant(I64, LANES * group)))
            if groups > 1:
                rows.append([e.at(first, builder.mul(b_column, ir.Constant(I64, r))) for r in range(LANES)])
            else:
                rows.append(sixteen(e, first, b_column, rest))
            masks.append(e.first_lanes(LANES, rest))
            there = e.first_lanes(LANES, builder.select(none, zero, rest))
            sums.append(e.masked_load(FLOATS, e.at(start, 4 * LANES * group), there, 4))

        def times(values: list[list[ir.Value]], state: list[ir.Value]) -> list[ir.Value]:
            """The next values of k: those of each group."""
            a, *sums = state
            for i in range(len(values[0])):
                factor = e.splat(e.load(F32, a, 4), LANES)
                sums = [e.fma(factor, own[i], total) for own, total in zip(values, sums, strict=True)]
                a = e.at(a, a_column)
            return [a, *sums]

        _, *sums = by_fours(e, k, rows, [a, *sums], times)
        for group, (total, mask) in enumerate(zip(sums, masks, strict=True)):
            e.masked_store(total, e.at(out, 4 * LANES * group), mask, 4)
        columns = LANES * groups
        following = e.at(b, builder.mul(b_column, ir.Constant(I64, columns)))
        left = builder.sub(left, ir.Constant(I64, columns))
        return [following, e.at(start, 4 * columns), e.at(out, 4 * columns), left]

    # Two groups: while the chain of one waits, the other is interleaved.
    both = ir.Constant(I64, 2 * LANES)
    state = e.repeat(builder.sdiv(columns, both), [b, start, out, columns], partial(some, 2))
    rest = builder.add(builder.srem(columns, both), ir.Constant(I64, LANES - 1))
    e.repeat(builder.sdiv(rest, ir.Constant(I64, LANES)), state, partial(some, 1))
    builder.ret_void()
    return function


@intrinsic
def dots(typingctx, a, a_column, b, b_column, columns, k, start, out):
    """``dots_function``."""

    def codegen(context, builder, signature, args):
        builder.call(dots_function(builder.module), args)
        return context.get_dummy_value()

    p, n = types.voidptr, types.intp
    return types.void(p, n, p, n, n, n, p, p), codegen
