"""How rows.py calls a reduction's functions."""

from __future__ import annotations

from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from ..base.memory import BYTES, F32, I64


@intrinsic
def call_combine(typingctx, function, x, total, blocks):
    """across or along, through its address."""

    def codegen(context, builder, signature, args):
        kind = ir.FunctionType(ir.VoidType(), [BYTES, BYTES, I64])
        builder.call(builder.bitcast(args[0], kind.as_pointer()), args[1:])
        return context.get_dummy_value()

    p = types.voidptr
    return types.void(p, p, p, types.intp), codegen


@intrinsic
def call_fold(typingctx, function, total, out):
    """fold, through its address."""

    def codegen(context, builder, signature, args):
        kind = ir.FunctionType(ir.VoidType(), [BYTES, BYTES])
        builder.call(builder.bitcast(args[0], kind.as_pointer()), args[1:])
        return context.get_dummy_value()

    p = types.voidptr
    return types.void(p, p, p), codegen


@intrinsic
def call_finish(typingctx, function, total, blocks, count):
    """finish, through its address."""

    def codegen(context, builder, signature, args):
        kind = ir.FunctionType(ir.VoidType(), [BYTES, I64, F32])
        builder.call(builder.bitcast(args[0], kind.as_pointer()), args[1:])
        return context.get_dummy_value()

    p = types.voidptr
    return types.void(p, p, types.intp, types.float32), codegen
