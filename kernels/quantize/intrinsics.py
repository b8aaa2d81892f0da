"""The emitted passes over rows as numba intrinsics."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache, partial

from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from ..isa.base import InstructionSet
from ..isa.emitter import BYTES, I64
from ..isa.intrinsics import NUMBA_TYPE, switch
from .emit import TOGETHER, convert_function, range_function
from .emit_rows import DEQUANTIZE_ARGUMENTS, QUANTIZE_ARGUMENTS, dequantize_function, quantize_function


def _by_rows(function: Callable[..., ir.Function], arguments: list[ir.Type]) -> tuple:
    """``name(rows, *arguments)``: the emitted function for 1, 2 or 4 rows."""
    return switch({rows: partial(function, rows=rows) for rows in TOGETHER}, arguments)


@intrinsic
def rows_range(typingctx, rows, x, x_stride, count, bounds):
    """Ranges of 1, 2 or 4 rows: see ``range_function``."""
    return _by_rows(range_function, [BYTES, I64, I64, BYTES])


@intrinsic
def masked_range(typingctx, rows, x, x_stride, count, mask, bounds):
    """The same of what a mask leaves of them."""
    return _by_rows(partial(range_function, masked=True), [BYTES, I64, I64, BYTES, BYTES])


@cache
def convert_rows(isa: InstructionSet, planes: int = 1) -> Callable:
    """``convert_rows(rows, …)``: 1, 2 or 4 rows (of 2 planes 1 or 2) into a panel; see ``convert_function``."""
    functions = {rows: partial(convert_function, isa=isa, rows=rows, planes=planes) for rows in TOGETHER}
    if planes == 2:
        del functions[4]

    @intrinsic
    def convert_rows(typingctx, rows, x, x_stride, k, scale, zero_point, panel, panel_rows):
        return switch(functions, [BYTES, I64, I64, BYTES, BYTES, BYTES, I64])

    return convert_rows


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

    return types.void(types.intp, *(NUMBA_TYPE[t] for t in arguments)), codegen


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
