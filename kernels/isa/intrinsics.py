"""From emitted functions to numba intrinsics."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from .emitter import BYTES, F32, I32, I64, Emitter

#: The numba type of an argument of an emitted function.
NUMBA_TYPE = {BYTES: types.voidptr, I64: types.intp, F32: types.float32}


def switch(functions: Mapping[int, Callable[[ir.Module], ir.Function]], arguments: list[ir.Type]) -> tuple:
    """Typing and code of ``name(which, *arguments)``: the function of that number, nothing where there is none."""

    def codegen(context, builder, signature, args):
        done = builder.append_basic_block("switch.done")
        choose = builder.switch(args[0], done)
        for which, function in functions.items():
            block = builder.append_basic_block(f"switch.{which}")
            choose.add_case(ir.Constant(I64, which), block)
            with builder.goto_block(block):
                builder.call(function(builder.module), args[1:])
                builder.branch(done)
        builder.position_at_end(done)
        return context.get_dummy_value()

    return types.void(types.intp, *(NUMBA_TYPE[t] for t in arguments)), codegen


@intrinsic
def fma(typingctx, a, b, c):
    """float32 a·b + c with one rounding."""

    def codegen(context, builder, signature, args):
        return Emitter(builder).fma(*args)

    return types.float32(types.float32, types.float32, types.float32), codegen


@intrinsic
def float_bits(typingctx, value):
    """The bits of a float32, as uint32."""

    def codegen(context, builder, signature, args):
        return builder.bitcast(args[0], I32)

    return types.uint32(types.float32), codegen


@intrinsic
def bits_float(typingctx, bits):
    """The float32 of these bits."""

    def codegen(context, builder, signature, args):
        return builder.bitcast(args[0], F32)

    return types.float32(types.uint32), codegen
