"""The emitted transforms of Winograd's way (winograd.py): additions of vectors of tiles, as reference.py has them.

                                                              tiles of 2×2      of 4×4
    into     values of the image for each tile → at points    32 additions      144 fma
    out of   sums at points → values of the result            24 additions      120 operations

A lane is a tile; neighbouring tiles of a row of tiles are side by side.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache, partial

import numpy as np
from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from ..isa.emitter import BYTES, F32, I64, Emitter, vector
from ..isa.float32 import Float32
from ..isa.traced import Lanes, same_in_all
from .emit import LANES, begun
from .reference_winograd import Fma, Tiles, along_both


def _lines(e: Emitter, first: ir.Value, stride: ir.Value, count: int) -> list[ir.Value]:
    """Addresses, `stride` bytes apart."""
    lines = [first]
    while len(lines) < count:
        lines.append(e.at(lines[-1], stride))
    return lines


def _fma(e: Emitter, lanes: int) -> Fma:
    """a·b + c of Lanes, where a may be a constant."""

    def fma(a: Lanes | np.float32, b: Lanes, c: Lanes) -> Lanes:
        factor = a.value if isinstance(a, Lanes) else same_in_all(vector(F32, lanes), a.item())
        return Lanes(e, e.fma(factor, b.value, c.value))

    return fma


def _split_function(module: ir.Module, isa: Float32, form: Tiles) -> ir.Function:
    """void split(source, source_stride, target, target_stride, phase_stride, rows, low, high, count): by column phases.

    target[phase][row][i] = source[row][size·i + phase] for i < count where low ≤ size·i + phase < high, else 0; nothing
    else is read. Writes up to LANES - 1 values beyond a row, before it goes on to the next row. rows, count ≥ 1.
    """
    name = f"dynq_split_{form.size}__{isa.name}"
    function, e = begun(module, name, [BYTES, I64, BYTES, I64, I64, I64, I64, I64, I64])
    if e is None:
        return function
    source, source_stride, target, target_stride, phase_stride, rows, low, high, count = function.args
    builder, size = e.builder, form.size
    kind, wide = vector(F32, LANES), LANES * size
    blocks = builder.sdiv(builder.add(count, ir.Constant(I64, LANES - 1)), ir.Constant(I64, LANES))

    def phases(vectors: list[ir.Value]) -> list[ir.Value]:
        """Every size-th value, from each of the first ones on, of vectors side by side."""
        if len(vectors) == 1:
            return vectors
        pairs = list(zip(vectors[::2], vectors[1::2], strict=True))
        even, odd = (phases([e.shuffle(a, b, list(range(i, 2 * LANES, 2))) for a, b in pairs]) for i in (0, 1))
        return [each for both in zip(even, odd, strict=True) for each in both]

    def block(state: list[ir.Value]) -> list[ir.Value]:
        source, target, low, high = state
        masks = []
        for v in range(size):
            first, last = (builder.sub(end, ir.Constant(I64, v * LANES)) for end in (low, high))
            masks.append(builder.and_(builder.not_(e.first_lanes(LANES, first)), e.first_lanes(LANES, last)))

        def row(state: list[ir.Value]) -> list[ir.Value]:
            source, target = state
            places = [e.at(source, 4 * LANES * v) for v in range(size)]
            values = [e.masked_load(kind, place, mask, 4) for place, mask in zip(places, masks, strict=True)]
            for value, place in zip(phases(values), _lines(e, target, phase_stride, size), strict=True):
                e.store(value, place, 4)
            return [e.at(source, source_stride), e.at(target, target_stride)]

        e.loop(rows, [source, target], row)
        passed = ir.Constant(I64, wide)
        return [e.at(source, 4 * wide), e.at(target, 4 * LANES), builder.sub(low, passed), builder.sub(high, passed)]

    e.loop(blocks, [source, target, low, high], block)
    builder.ret_void()
    return function


def _into_function(module: ir.Module, isa: Float32, form: Tiles) -> ir.Function:
    """void into(plane, channel_stride, row_stride, phase_stride, panel, point_stride, channels, count).

    `count` tiles side by side, of `channels` channels: value i, j of tile t is in the plane of column phase j mod size,
    row i, column t + j div size; its value at a point goes to panel[point][channel][t]. Reads up to a vector beyond.
    """
    name = f"dynq_into_points_{form.points}__{isa.name}"
    function, e = begun(module, name, [BYTES, I64, I64, I64, BYTES, I64, I64, I64])
    if e is None:
        return function
    plane, channel_stride, row_stride, phase_stride, panel, point_stride, channels, count = function.args
    builder, lanes = e.builder, isa.lanes
    floats, every = vector(F32, lanes), ir.Constant(I64, lanes)
    fma, axis = _fma(e, lanes), range(form.points)
    whole, left = builder.sdiv(count, every), builder.srem(count, every)
    mask, some = e.first_lanes(lanes, left), builder.icmp_signed(">", left, ir.Constant(I64, 0))

    def tiles(plane: ir.Value, panel: ir.Value, store: Callable[[ir.Value, ir.Value], None]) -> None:
        phases = [_lines(e, phase, row_stride, form.points) for phase in _lines(e, plane, phase_stride, form.size)]
        values = [
            [Lanes(e, e.load(floats, e.at(phases[j % form.size][i], 4 * (j // form.size)), 4)) for j in axis]
            for i in axis
        ]
        points = [each for row in along_both(partial(form.into, fma), values) for each in row]
        for point, place in zip(points, _lines(e, panel, point_stride, form.square), strict=True):
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


def _out_of_function(module: ir.Module, isa: Float32, form: Tiles) -> ir.Function:
    """void out_of(sums, point_stride, rows, bias, out, out_stride, line_stride, columns, lines): of `rows` channels.

    Sums are [point][rows][NR]; of each row those of some tiles side by side give `columns` values of `lines` lines of
    out, 1 to the size of a tile. Rows of out are `out_stride` bytes apart. `bias` is for each row what is added, where
    no point is biased. Reads up to a vector beyond the sums.
    """
    name = f"dynq_out_of_points_{form.points}__{isa.name}"
    function, e = begun(module, name, [BYTES, I64, I64, BYTES, BYTES, I64, I64, I64, I64])
    if e is None:
        return function
    sums, point_stride, rows, bias, out, out_stride, line_stride, columns, lines = function.args
    builder, lanes, points = e.builder, isa.lanes, form.points
    wide, fma = form.size * lanes, _fma(e, lanes)
    floats, every = vector(F32, lanes), ir.Constant(I64, wide)
    whole, left = builder.sdiv(columns, every), builder.srem(columns, every)
    mask, some = e.first_lanes(wide, left), builder.icmp_signed(">", left, ir.Constant(I64, 0))

    def side_by_side(values: list[ir.Value]) -> ir.Value:
        """Value t of each, for t = 0, 1, …"""
        if len(values) == 1:
            return values[0]
        return e.interleave(side_by_side(values[::2]), side_by_side(values[1::2]))

    def tiles(
        sums: ir.Value, bias: ir.Value, out: ir.Value, store: Callable[[ir.Value, ir.Value], None]
    ) -> None:
        met = [Lanes(e, e.load(floats, place, 4)) for place in _lines(e, sums, point_stride, form.square)]
        results = along_both(partial(form.out_of, fma), [met[i : i + points] for i in range(0, form.square, points)])
        if form.biased is None:
            addend = Lanes(e, e.splat(e.load(F32, bias, 4), lanes))
            results = [tuple(each + addend for each in row) for row in results]
        for line, (row, place) in enumerate(zip(results, _lines(e, out, line_stride, form.size), strict=True)):
            values = side_by_side([each.value for each in row])
            if line == 0:
                store(values, place)
            else:
                with e.when(builder.icmp_signed(">", lines, ir.Constant(I64, line))):
                    store(values, place)

    def row(state: list[ir.Value]) -> list[ir.Value]:
        sums, bias, out = state

        def block(state: list[ir.Value]) -> list[ir.Value]:
            tiles(state[0], bias, state[1], lambda value, place: e.store(value, place, 4))
            return [e.at(state[0], 4 * lanes), e.at(state[1], 4 * wide)]

        rest = e.repeat(whole, [sums, out], block)
        with e.when(some):
            tiles(rest[0], bias, rest[1], lambda value, place: e.masked_store(value, place, mask, 4))
        return [e.at(sums, 4 * isa.columns), e.at(bias, 4), e.at(out, out_stride)]

    e.loop(rows, [sums, bias, out], row)
    builder.ret_void()
    return function


@cache
def image_into_points(isa: Float32, form: Tiles) -> Callable:
    """``into(plane, channel_stride, row_stride, phase_stride, panel, point_stride, channels, count)``: see above."""

    @intrinsic
    def into(typingctx, plane, channel_stride, row_stride, phase_stride, panel, point_stride, channels, count):
        def codegen(context, builder, signature, args):
            builder.call(_into_function(builder.module, isa, form), args)
            return context.get_dummy_value()

        p, n = types.voidptr, types.intp
        return types.void(p, n, n, n, p, n, n, n), codegen

    return into


@cache
def result_of_points(isa: Float32, form: Tiles) -> Callable:
    """``out_of(sums, point_stride, rows, bias, out, out_stride, line_stride, columns, lines)``: see above."""

    @intrinsic
    def out_of(typingctx, sums, point_stride, rows, bias, out, out_stride, line_stride, columns, lines):
        def codegen(context, builder, signature, args):
            builder.call(_out_of_function(builder.module, isa, form), args)
            return context.get_dummy_value()

        p, n = types.voidptr, types.intp
        return types.void(p, n, n, p, p, n, n, n, n), codegen

    return out_of


@cache
def image_by_phases(isa: Float32, form: Tiles) -> Callable:
    """``split(source, source_stride, target, target_stride, phase_stride, rows, low, high, count)``: see above."""

    @intrinsic
    def split(typingctx, source, source_stride, target, target_stride, phase_stride, rows, low, high, count):
        def codegen(context, builder, signature, args):
            builder.call(_split_function(builder.module, isa, form), args)
            return context.get_dummy_value()

        p, n = types.voidptr, types.intp
        return types.void(p, n, p, n, n, n, n, n, n), codegen

    return split
