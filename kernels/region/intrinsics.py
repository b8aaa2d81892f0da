"""How rows.py calls a region's function."""

from __future__ import annotations

from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from ..base.memory import BYTES, I64


@intrinsic
def call_blocks(typingctx, function, pointers, steps, blocks):
    """Call a region's function through its address."""

    def codegen(context, builder, signature, args):
        kind = ir.FunctionType(ir.VoidType(), [BYTES, BYTES, I64])
        builder.call(builder.bitcast(args[0], kind.as_pointer()), args[1:])
        return context.get_dummy_value()

    p = types.voidptr
    return types.void(p, p, p, types.intp), codegen
