"""Emitted functions as numba intrinsics: the door between LLVM IR and the jitted kernels."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache, partial

from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from ..isa.base import InstructionSet
from ..isa.emitter import BYTES, I64, Emitter
from ..quantize.emit import TOGETHER, convert_function, range_function
from ..quantize.emit_rows import DEQUANTIZE_ARGUMENTS, QUANTIZE_ARGUMENTS, dequantize_function, quantize_function
from .tile import Output, Scheme, Tile

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
    def strip(
        typingctx, rows, a, b, words, scale, zero_point, columns, out, out_stride, panels, panel_stride, last,
        ahead, near,
    ):  # fmt: skip
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


def _by_rows(name: str, function: Callable[[ir.Module, int], ir.Function], arguments: list[ir.Type]) -> tuple:
    """Typing and code of ``name(rows, *arguments)``: the emitted function for 1, 2 or 4 rows."""
    signature = types.void(types.intp, *(_NUMBA_TYPE[t] for t in arguments))

    def codegen(context, builder, signature, args):
        done = builder.append_basic_block(f"{name}.done")
        choose = builder.switch(args[0], done)
        for rows in TOGETHER:
            block = builder.append_basic_block(f"{name}.{rows}")
            choose.add_case(ir.Constant(I64, rows), block)
            with builder.goto_block(block):
                builder.call(function(builder.module, rows), args[1:])
                builder.branch(done)
        builder.position_at_end(done)
        return context.get_dummy_value()

    return signature, codegen


@intrinsic
def rows_range(typingctx, rows, x, x_stride, count, bounds):
    """Ranges of 1, 2 or 4 rows: see ``range_function``."""
    return _by_rows("range", range_function, [BYTES, I64, I64, BYTES])


@intrinsic
def masked_range(typingctx, rows, x, x_stride, count, mask, bounds):
    """The same of what a mask leaves of them."""
    return _by_rows("range", partial(range_function, masked=True), [BYTES, I64, I64, BYTES, BYTES])


@cache
def convert_rows(isa: InstructionSet) -> Callable:
    """``convert_rows(rows, …)``: quantize 1, 2 or 4 rows into a panel; see ``convert_function``."""

    @intrinsic
    def convert_rows(typingctx, rows, x, x_stride, k, scale, zero_point, panel, panel_rows):
        emitted = partial(_convert, isa)
        return _by_rows("convert", emitted, [BYTES, I64, I64, BYTES, BYTES, BYTES, I64])

    return convert_rows


def _convert(isa: InstructionSet, module: ir.Module, rows: int) -> ir.Function:
    return convert_function(module, isa, rows)


def _streaming(function: Callable, isa: InstructionSet, arguments: list[ir.Type]) -> tuple:
    """Typing and code of ``name(stream, *arguments)``: the emitted function that streams, or the one that does not."""

    def codegen(context, builder, signature, args):
        plain, stream = (function(builder.module, isa, which) for which in (False, True))
        with builder.if_else(builder.icmp_signed("!=", args[0], ir.Constant(I64, 0))) as (then, otherwise):
            with then:
                builder.call(stream, args[1:])
            with otherwise:
                builder.call(plain, args[1:])
        return context.get_dummy_value()

    return types.void(types.intp, *(_NUMBA_TYPE[t] for t in arguments)), codegen


@cache
def quantize_row(isa: InstructionSet) -> Callable:
    """``quantize_row(stream, …)``: see ``rows.quantize_function``."""

    @intrinsic
    def quantize_row(typingctx, stream, x, k, scale, zero_point, low, flip, out, ahead):
        return _streaming(quantize_function, isa, QUANTIZE_ARGUMENTS)

    return quantize_row


@cache
def dequantize_row(isa: InstructionSet) -> Callable:
    """``dequantize_row(stream, …)``: see ``rows.dequantize_function``."""

    @intrinsic
    def dequantize_row(typingctx, stream, data, k, scale, zero_point, flip, out, ahead):
        return _streaming(dequantize_function, isa, DEQUANTIZE_ARGUMENTS)

    return dequantize_row
