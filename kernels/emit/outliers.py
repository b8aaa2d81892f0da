"""The float32 share of a few columns of x, added to rows of out (see kernels/outliers.py).

                          w  [count] rows of `columns` values
                          ┌─────────────────────────┐
    x[r, c0] broadcast ▶  │ fma   fma   fma   fma   │  64 columns at a time, their sums t in registers;
    x[r, c1] broadcast ▶  │ fma   fma   fma   fma   │  all rows of a panel follow, so w stays in L1
                          └────────────┬────────────┘
                             out[r] + t, one rounding
"""

from __future__ import annotations

from collections.abc import Callable

from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from .quantize import FLOATS, LANES
from .vectors import BYTES, F32, I64, VOID, Emitter, constant, internal_function

#: Vectors of a row that go together.
WIDE = 4
ARGUMENTS = [BYTES, I64, I64, BYTES, I64, BYTES, I64, BYTES, I64, I64]


def add_function(module: ir.Module) -> ir.Function:
    """void add(x, x_stride, rows, places, count, w, w_stride, out, out_stride, columns); rows and count at least 1.

    `places` holds the int64 byte offsets of the columns in a row of x.
    """
    function, fresh = internal_function(module, "dynq_add_outliers", VOID, ARGUMENTS)
    if not fresh:
        return function
    x, x_stride, rows, places, count, w, w_stride, out, out_stride, columns = function.args
    builder = ir.IRBuilder(function.append_basic_block("entry"))
    e = Emitter(builder)
    zero = constant(FLOATS, 0.0)

    def stripe(w: ir.Value, out: ir.Value, vectors: int, load: Callable, store: Callable) -> None:
        """All rows of `vectors` vectors of columns."""

        def one_row(state: list[ir.Value]) -> list[ir.Value]:
            source, target = state

            def one_column(state: list[ir.Value]) -> list[ir.Value]:
                place, weights, *t = state
                value = e.splat(e.load(F32, e.at(source, e.load(I64, place, 8)), 4), LANES)
                t = [e.fma(value, load(e.at(weights, 4 * LANES * v)), t[v]) for v in range(vectors)]
                return [e.at(place, 8), e.at(weights, w_stride), *t]

            _, _, *t = e.loop(count, [places, w, *[zero] * vectors], one_column)
            for v in range(vectors):
                place = e.at(target, 4 * LANES * v)
                store(builder.fadd(load(place), t[v]), place)
            return [e.at(source, x_stride), e.at(target, out_stride)]

        e.loop(rows, [x, out], one_row)

    def whole(state: list[ir.Value]) -> list[ir.Value]:
        w, out = state
        stripe(w, out, WIDE, lambda p: e.load(FLOATS, p, 4), lambda value, p: e.store(value, p, 4))
        return [e.at(w, 4 * LANES * WIDE), e.at(out, 4 * LANES * WIDE)]

    def part(state: list[ir.Value]) -> list[ir.Value]:
        w, out, left = state
        mask = e.first_lanes(LANES, left)
        stripe(
            w, out, 1,
            lambda p: e.masked_load(FLOATS, p, mask, 4), lambda value, p: e.masked_store(value, p, mask, 4),
        )  # fmt: skip
        return [e.at(w, 4 * LANES), e.at(out, 4 * LANES), builder.sub(left, ir.Constant(I64, LANES))]

    stripes = ir.Constant(I64, LANES * WIDE)
    w, out = e.repeat(builder.sdiv(columns, stripes), [w, out], whole)
    left = builder.srem(columns, stripes)
    vectors = builder.sdiv(builder.add(left, ir.Constant(I64, LANES - 1)), ir.Constant(I64, LANES))
    e.repeat(vectors, [w, out, left], part)
    builder.ret_void()
    return function


@intrinsic
def add_products(typingctx, x, x_stride, rows, places, count, w, w_stride, out, out_stride, columns):
    """See `add_function`."""

    def codegen(context, builder, signature, args):
        builder.call(add_function(builder.module), args)
        return context.get_dummy_value()

    return types.void(*(types.voidptr if kind == BYTES else types.intp for kind in ARGUMENTS)), codegen
