"""The emitted transforms of Winograd's way (winograd.py): additions of vectors of tiles, as reference.py has them.

    into     4×4 values of the image for each tile → its values at 16 points       32 additions
    out of   its sums at 16 points → 2×2 values of the result for each tile        24 additions

A lane is a tile; neighbouring tiles of a row of tiles are side by side.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache

from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from ..isa.emitter import BYTES, F32, I64, Emitter, vector
from ..isa.float32 import Float32
from ..isa.traced import Lanes
from .emit import begun
from .reference import POINTS, TILE, along_both, into_points, out_of_points


def _lines(e: Emitter, first: ir.Value, stride: ir.Value, count: int) -> list[ir.Value]:
    """Addresses, `stride` bytes apart."""
    lines = [first]
    while len(lines) < count:
        lines.append(e.at(lines[-1], stride))
    return lines


def _into_function(module: ir.Module, isa: Float32) -> ir.Function:
    """void into(plane, channel_stride, row_stride, phase_stride, panel, point_stride, channels, count).

    `count` tiles side by side, of `channels` channels: value i, j of tile t is in the plane of column phase j mod 2,
    row i, column t + j div 2; its value at a point goes to panel[point][channel][t]. Reads up to a vector beyond them.
    """
    function, e = begun(module, f"dynq_into_points__{isa.name}", [BYTES, I64, I64, I64, BYTES, I64, I64, I64])
    if e is None:
        return function
    plane, channel_stride, row_stride, phase_stride, panel, point_stride, channels, count = function.args
    builder, lanes = e.builder, isa.lanes
    floats, every = vector(F32, lanes), ir.Constant(I64, lanes)
    whole, left = builder.sdiv(count, every), builder.srem(count, every)
    mask, some = e.first_lanes(lanes, left), builder.icmp_signed(">", left, ir.Constant(I64, 0))

    def tiles(plane: ir.Value, panel: ir.Value, store: Callable[[ir.Value, ir.Value], None]) -> None:
        phases = [_lines(e, phase, row_stride, POINTS) for phase in _lines(e, plane, phase_stride, TILE)]
        values = [
            [Lanes(e, e.load(floats, e.at(phases[j % TILE][i], 4 * (j // TILE)), 4)) for j in range(POINTS)]
            for i in range(POINTS)
        ]
        points = [each for row in along_both(into_points, values) for each in row]
        for point, place in zip(points, _lines(e, panel, point_stride, POINTS**2), strict=True):
            store(point.value, place)

    def block(state: list[ir.Value]) -> list[ir.Value]:
        tiles(state[0], state[1], lambda value, place: e.store(value, place, 4))
        return [e.at(each, 4 * lanes) for each in state]

    def channel(state: list[ir.Value]) -> list[ir.Value]:
        plane, panel = state
        rest = e.repeat(whole, state, block)
        with e.when(some):
            tiles(rest[0], rest[1], lambda value, place: e.masked_store(value, place, mask, 4))
        return [e.at(plane, channel_stride), e.at(panel, 4 * isa.columns)]

    e.loop(channels, [plane, panel], channel)
    builder.ret_void()
    return function


def _out_of_function(module: ir.Module, isa: Float32) -> ir.Function:
    """void out_of(sums, point_stride, rows, out, out_stride, line_stride, columns, lines): of `rows` channels.

    Sums are [point][rows][NR]; of each row those of some tiles side by side give `columns` values of `lines` (1 or 2)
    lines of out. Rows of out are `out_stride` bytes apart. Reads up to a vector beyond the sums.
    """
    function, e = begun(module, f"dynq_out_of_points__{isa.name}", [BYTES, I64, I64, BYTES, I64, I64, I64, I64])
    if e is None:
        return function
    sums, point_stride, rows, out, out_stride, line_stride, columns, lines = function.args
    builder, lanes = e.builder, isa.lanes
    wide = TILE * lanes
    floats, every = vector(F32, lanes), ir.Constant(I64, wide)
    whole, left = builder.sdiv(columns, every), builder.srem(columns, every)
    mask, some = e.first_lanes(wide, left), builder.icmp_signed(">", left, ir.Constant(I64, 0))
    both = builder.icmp_signed(">", lines, ir.Constant(I64, 1))

    def tiles(sums: ir.Value, out: ir.Value, store: Callable[[ir.Value, ir.Value], None]) -> None:
        points = [Lanes(e, e.load(floats, place, 4)) for place in _lines(e, sums, point_stride, POINTS**2)]
        rows = along_both(out_of_points, [points[i : i + POINTS] for i in range(0, POINTS**2, POINTS)])
        upper, lower = (e.interleave(*(each.value for each in row)) for row in rows)
        store(upper, out)
        with e.when(both):
            store(lower, e.at(out, line_stride))

    def block(state: list[ir.Value]) -> list[ir.Value]:
        tiles(state[0], state[1], lambda value, place: e.store(value, place, 4))
        return [e.at(state[0], 4 * lanes), e.at(state[1], 4 * wide)]

    def row(state: list[ir.Value]) -> list[ir.Value]:
        rest = e.repeat(whole, state, block)
        with e.when(some):
            tiles(rest[0], rest[1], lambda value, place: e.masked_store(value, place, mask, 4))
        return [e.at(state[0], 4 * isa.columns), e.at(state[1], out_stride)]

    e.loop(rows, [sums, out], row)
    builder.ret_void()
    return function


@cache
def image_into_points(isa: Float32) -> Callable:
    """``into(plane, channel_stride, row_stride, phase_stride, panel, point_stride, channels, count)``: see above."""

    @intrinsic
    def into(typingctx, plane, channel_stride, row_stride, phase_stride, panel, point_stride, channels, count):
        def codegen(context, builder, signature, args):
            builder.call(_into_function(builder.module, isa), args)
            return context.get_dummy_value()

        p, n = types.voidptr, types.intp
        return types.void(p, n, n, n, p, n, n, n), codegen

    return into


@cache
def result_of_points(isa: Float32) -> Callable:
    """``out_of(sums, point_stride, rows, out, out_stride, line_stride, columns, lines)``: see above."""

    @intrinsic
    def out_of(typingctx, sums, point_stride, rows, out, out_stride, line_stride, columns, lines):
        def codegen(context, builder, signature, args):
            builder.call(_out_of_function(builder.module, isa), args)
            return context.get_dummy_value()

        p, n = types.voidptr, types.intp
        return types.void(p, n, n, p, n, n, n, n), codegen

    return out_of
