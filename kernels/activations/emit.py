"""The emitted activations: formulas of reference.py on vectors (isa/traced.py), applied to rows in place.

    out[r, c] = function(out[r, c]) + addend[r, c]        float32; whole blocks of lanes, then the rest with a mask

LLVM's own vectors of a jitted loop have half the width of the registers on CPUs with AVX-512.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any

from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from ..isa.emitter import BYTES, F32, I64, VOID, Emitter, internal_function, vector
from ..isa.traced import Lanes
from .reference import ACTIVATIONS

#: Values of a block: the longest register's.
LANES = 16
#: (out, out_stride, addend, addend_stride, rows, columns): strides in bytes; at least one row and column.
ARGUMENTS = [BYTES, I64, BYTES, I64, I64, I64]


def emit_rows(function: ir.Function, lanes: int, result: Callable[[Lanes], Lanes], residual: bool) -> None:
    """The body of a function of ARGUMENTS. Without `residual` no addend is read."""
    out, stride, addend, addend_stride, rows, columns = function.args
    builder = ir.IRBuilder(function.append_basic_block("entry"))
    e, kind = Emitter(builder), vector(F32, lanes)
    whole, rest = builder.sdiv(columns, ir.Constant(I64, lanes)), builder.srem(columns, ir.Constant(I64, lanes))
    inside = e.first_lanes(lanes, rest)

    def values(places: list[ir.Value], load: Callable[[ir.Value], ir.Value]) -> ir.Value:
        found = result(Lanes(e, load(places[0])))
        return (found + Lanes(e, load(places[1])) if residual else found).value

    def block(places: list[ir.Value]) -> list[ir.Value]:
        e.store(values(places, lambda place: e.load(kind, place, 4)), places[0], 4)
        return [e.at(place, 4 * lanes) for place in places]

    def row(firsts: list[ir.Value]) -> list[ir.Value]:
        places = e.repeat(whole, firsts, block)
        with e.when(builder.icmp_signed(">", rest, ir.Constant(I64, 0))):
            some = values(places, lambda place: e.masked_load(kind, place, inside, 4))
            e.masked_store(some, places[0], inside, 4)
        return [e.at(first, each) for first, each in zip(firsts, (stride, addend_stride), strict=True)]

    e.loop(rows, [out, addend], row)
    builder.ret_void()


@cache
def activate_rows(activation: str | None, residual: bool) -> Callable:
    """``activate(<ARGUMENTS>)`` for an activation of reference.py, or none."""
    formula: Any = ACTIVATIONS[activation] if activation else lambda x: x

    @intrinsic
    def activate(typingctx, out, out_stride, addend, addend_stride, rows, columns):
        def codegen(context, builder, signature, args):
            name = f"dynq_activate_{activation}_{residual}"
            function, fresh = internal_function(builder.module, name, VOID, ARGUMENTS)
            if fresh:
                emit_rows(function, LANES, formula, residual)
            builder.call(function, args)
            return context.get_dummy_value()

        p, n = types.voidptr, types.intp
        return types.void(p, n, p, n, n, n), codegen

    return activate
