"""Emitted functions as numba intrinsics: the door between LLVM IR and the jitted kernels."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache

from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from ..isa.base import InstructionSet
from ..isa.emitter import I64
from ..isa.intrinsics import NUMBA_TYPE
from .tile import Output, Scheme, Tile


def max_rows(isa: InstructionSet, scheme: Scheme) -> int:
    """The tallest tile of a scheme."""
    return isa.max_rows_grouped if scheme.group else isa.max_rows


@cache
def strip(isa: InstructionSet, scheme: Scheme, output: Output) -> Callable:
    """``strip(rows, <Tile.ARGUMENTS>)``: the tile of that height (1 … max_rows) over a strip of panels."""
    heights = range(1, max_rows(isa, scheme) + 1)
    signature = types.void(types.intp, *(NUMBA_TYPE[t] for t in Tile.ARGUMENTS))

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



