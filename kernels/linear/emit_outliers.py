"""The float32 share of a few columns of x, added to rows of out (see kernels/linear/outliers.py).

                            w  [vectors][count][16]
                            ┌─────────────┐
    x[r … r+3, c0] each ▶   │ 4 × 2 fma   │  4, 2 or 1 rows and a weight panel at a time, sums t in registers:
    x[r … r+3, c1] each ▶   │ 4 × 2 fma   │  eight chains hide an fma's latency, and a panel's w stays in L1
                            └──────┬──────┘  while the rows go by
                          out[r … r+3] + t
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache, partial

from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from ..isa.emitter import BYTES, F32, I64, VOID, Emitter, constant, internal_function
from ..quantize.emit import FLOATS, LANES

ARGUMENTS = [BYTES, I64, I64, BYTES, I64, BYTES, BYTES, I64, I64]
#: How many rows go together.
TOGETHER = (4, 2, 1)


def add_function(module: ir.Module, vectors: int) -> ir.Function:
    """void add(x, x_stride, rows, places, count, w, out, out_stride, columns); rows, count, columns at least 1.

    `places` holds the int64 byte offsets of the columns in a row of x; `vectors` is a panel's width.
    """
    function, fresh = internal_function(module, f"dynq_add_outliers_{vectors}", VOID, ARGUMENTS)
    if not fresh:
        return function
    x, x_stride, rows, places, count, w, out, out_stride, columns = function.args
    builder = ir.IRBuilder(function.append_basic_block("entry"))
    e = Emitter(builder)
    width = ir.Constant(I64, LANES * vectors)
    w_stride = builder.mul(count, ir.Constant(I64, 4 * LANES))

    def some_rows(height: int, w: ir.Value, masks: list[ir.Value], state: list[ir.Value]) -> list[ir.Value]:
        sources, targets = [state[0]], [state[1]]
        for _ in range(height):
            sources.append(e.at(sources[-1], x_stride))
            targets.append(e.at(targets[-1], out_stride))

        def one_column(state: list[ir.Value]) -> list[ir.Value]:
            place, *streams = state
            streams, t = streams[:vectors], streams[vectors:]
            at = e.load(I64, place, 8)
            weights = [e.load(FLOATS, stream, 4 * LANES) for stream in streams]
            for r in range(height):
                value = e.splat(e.load(F32, e.at(sources[r], at), 4), LANES)
                for v in range(vectors):
                    t[r * vectors + v] = e.fma(value, weights[v], t[r * vectors + v])
            return [e.at(place, 8), *(e.at(stream, 4 * LANES) for stream in streams), *t]

        streams = [w]
        for _ in range(1, vectors):
            streams.append(e.at(streams[-1], w_stride))
        zeros = [constant(FLOATS, 0.0)] * (height * vectors)
        t = e.loop(count, [places, *streams, *zeros], one_column)[1 + vectors :]
        for r in range(height):
            for v, mask in enumerate(masks):
                place = e.at(targets[r], 4 * LANES * v)
                total = builder.fadd(e.masked_load(FLOATS, place, mask, 4), t[r * vectors + v])
                e.masked_store(total, place, mask, 4)
        return [sources[-1], targets[-1]]

    def one_panel(state: list[ir.Value]) -> list[ir.Value]:
        w, out, left = state
        masks = [e.first_lanes(LANES, builder.sub(left, ir.Constant(I64, LANES * v))) for v in range(vectors)]
        place, rest = [x, out], rows
        for height in TOGETHER:
            times = builder.sdiv(rest, ir.Constant(I64, height))
            place = e.repeat(times, place, partial(some_rows, height, w, masks))
            rest = builder.srem(rest, ir.Constant(I64, height))
        following = e.at(w, builder.mul(w_stride, ir.Constant(I64, vectors)))
        return [following, e.at(out, 4 * LANES * vectors), builder.sub(left, width)]

    panels = builder.sdiv(builder.add(columns, ir.Constant(I64, LANES * vectors - 1)), width)
    e.loop(panels, [w, out, columns], one_panel)
    builder.ret_void()
    return function


@cache
def add_products(vectors: int) -> Callable:
    """``add_products(…)``: see `add_function`."""

    @intrinsic
    def add_products(typingctx, x, x_stride, rows, places, count, w, out, out_stride, columns):
        def codegen(context, builder, signature, args):
            builder.call(add_function(builder.module, vectors), args)
            return context.get_dummy_value()

        return types.void(*(types.voidptr if kind == BYTES else types.intp for kind in ARGUMENTS)), codegen

    return add_products
