"""Emitted functions as numba intrinsics, for the jitted kernels."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache

from numba import types
from numba.extending import intrinsic

from ..isa.base import InstructionSet
from ..isa.emitter import Emitter
from ..isa.intrinsics import NUMBA_TYPE, switch
from .matrix_tile import MatrixTile
from .matrix_tile import convert_function as matrix_convert_function
from .tile import Output, Scheme, Tile, max_rows


@cache
def strip(isa: InstructionSet, scheme: Scheme, output: Output) -> Callable:
    """``strip(rows, <Tile.ARGUMENTS>)``: the tile of that height (1 … max_rows) over a strip of panels."""
    heights = range(1, max_rows(isa, scheme) + 1)  # in rows of x

    @intrinsic
    def strip(
        typingctx, rows, a, b, words, scale, zero_point, columns, out, out_stride, panels, panel_stride, last,
        ahead, near,
    ):  # fmt: skip
        return switch({height: Tile(isa, scheme, output, height).function for height in heights}, Tile.ARGUMENTS)

    return strip


@cache
def matrix_strip(isa: InstructionSet, planes: int = 1) -> Callable:
    """``matrix_strip(rows, <Tile.ARGUMENTS>)``: the same on matrix registers, for 1 … `matrix_rows` / planes rows."""
    tile = MatrixTile(isa, planes)

    @intrinsic
    def matrix_strip(
        typingctx, rows, a, b, words, scale, zero_point, columns, out, out_stride, panels, panel_stride, last,
        ahead, near,
    ):  # fmt: skip
        def codegen(context, builder, signature, args):
            builder.call(tile.function(builder.module), args)
            return context.get_dummy_value()

        return types.void(types.intp, *(NUMBA_TYPE[t] for t in Tile.ARGUMENTS)), codegen

    return matrix_strip


@cache
def tile_row(isa: InstructionSet, planes: int = 1) -> Callable:
    """``tile_row(x, k, scale, zero_point, target)``: see ``matrix_tile.convert_function``; nothing on other sets."""

    @intrinsic
    def tile_row(typingctx, x, k, scale, zero_point, target):
        def codegen(context, builder, signature, args):
            if isa.matrix_rows:
                builder.call(matrix_convert_function(builder.module, isa, planes), args)
            return context.get_dummy_value()

        return types.void(types.voidptr, types.intp, types.voidptr, types.voidptr, types.voidptr), codegen

    return tile_row


@cache
def matrix_registers(isa: InstructionSet, verb: str) -> Callable:
    """``configure()`` or ``release()`` the matrix registers of this thread; nothing on sets without them."""

    @intrinsic
    def registers(typingctx):
        def codegen(context, builder, signature, args):
            if isa.matrix_rows:
                getattr(isa, verb)(Emitter(builder))
            return context.get_dummy_value()

        return types.void(), codegen

    return registers
