"""Emitted functions as numba intrinsics: the door between LLVM IR and the jitted kernels."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache

from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from .isa import InstructionSet
from .quantize import convert_function, range_function
from .tile import Output, Scheme, Tile
from .vectors import BYTES, I64, Emitter

_NUMBA_TYPE = {BYTES: types.voidptr, I64: types.intp}


def max_rows(isa: InstructionSet, scheme: Scheme) -> int:
    """The tallest tile of a scheme."""
    return isa.max_rows_grouped if scheme.group else isa.max_rows


@cache
def strip(isa: InstructionSet, scheme: Scheme, output: Output) -> Callable:
    """``strip(rows, <Tile.ARGUMENTS>)``: the tile of that height (1 … max_rows) over a strip of panels."""
    heights = range(1, max_rows(isa, scheme) + 1)
    signature = types.void(types.intp, *(_NUMBA_TYPE[t] for t in Tile.ARGUMENTS))

    @intrinsic
    def strip(typingctx, rows, a, b, words, scale, zero_point, columns, out, out_stride, panels, panel_stride, last):
        def codegen(context, builder, signature, args):
            done = builder.append_basic_block("strip.done")
            choose = builder.switch(args[0], done)
            for height in heights:
                function = Tile(isa, scheme, output, height).function(builder.module)
                block = builder.append_basic_block(f"strip.{height}")
                choose.add_case(ir.Constant(I64, height), block)
                with builder.goto_block(block):
                    builder.call(function, args[1:])
                    builder.branch(done)
            builder.position_at_end(done)
            return context.get_dummy_value()

        return signature, codegen

    return strip


@intrinsic
def fma(typingctx, a, b, c):
    """float32 a·b + c with one rounding."""

    def codegen(context, builder, signature, args):
        return Emitter(builder).fma(*args)

    return types.float32(types.float32, types.float32, types.float32), codegen


@intrinsic
def row_range(typingctx, x, count, result):
    """result[0..2] (float32) = min(0, min x), max(0, max x), and 0, or NaN where x is not finite."""

    def codegen(context, builder, signature, args):
        builder.call(range_function(builder.module), args)
        return context.get_dummy_value()

    return types.void(types.voidptr, types.intp, types.voidptr), codegen


@cache
def convert_rows(k_per_word: int) -> Callable:
    """``convert_rows(rows, …)``: quantize 1, 2 or 4 rows into a panel; see ``convert_function``."""
    p, n = types.voidptr, types.intp

    @intrinsic
    def convert_rows(typingctx, rows, x, x_stride, k, scale, zero_point, panel, panel_rows):
        def codegen(context, builder, signature, args):
            done = builder.append_basic_block("convert.done")
            choose = builder.switch(args[0], done)
            for rows in (1, 2, 4):
                block = builder.append_basic_block(f"convert.{rows}")
                choose.add_case(ir.Constant(I64, rows), block)
                with builder.goto_block(block):
                    builder.call(convert_function(builder.module, k_per_word, rows), args[1:])
                    builder.branch(done)
            builder.position_at_end(done)
            return context.get_dummy_value()

        return types.void(n, p, n, n, p, p, p, n), codegen

    return convert_rows
