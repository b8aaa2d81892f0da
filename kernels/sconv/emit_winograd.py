"""The emitted transforms of Winograd's way (winograd.py): additions of vectors of tiles, as reference.py has them.

                                                              tiles of 2×2      of 4×4
    into     values of the image for each tile → at points    32 additions      144 fma
    out of   sums at points → values of the result            24 additions      120 operations

A lane is a tile. Tiles of an image are one after another, row by row of them, so vectors are full: in planes, of which
each has one value of every tile, and in panels. Where a vector of results has tiles of several rows, it goes to a
stage, from which the lines of each row are copied.
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
    """void split(source, source_stride, planes, row_bytes, plane_stride, phase, rows, low, high, count): into planes.

    planes[(phase + row) mod size][j][(phase + row) div size][t] = source[row][size·t + j] for j < points, t < count
    where low ≤ size·t + j < high, else 0; nothing else is read or written. rows, count ≥ 1.
    """
    name = f"dynq_split_{form.size}__{isa.name}"
    function, e = begun(module, name, [BYTES, I64, BYTES, I64, I64, I64, I64, I64, I64, I64])
    if e is None:
        return function
    source, source_stride, planes, row_bytes, plane_stride, phase, rows, low, high, count = function.args
    builder, size = e.builder, form.size
    kind, wide, one = vector(F32, LANES), LANES * size, ir.Constant(I64, 1)
    blocks = builder.sdiv(builder.add(count, ir.Constant(I64, LANES)), ir.Constant(I64, LANES))  # of one value more
    phase_stride = builder.mul(plane_stride, ir.Constant(I64, form.points))
    back = builder.sub(row_bytes, builder.mul(phase_stride, ir.Constant(I64, size - 1)))
    first = e.at(planes, builder.mul(phase_stride, phase))

    def phases(vectors: list[ir.Value]) -> list[ir.Value]:
        """Every size-th value, from each of the first ones on, of vectors side by side."""
        if len(vectors) == 1:
            return vectors
        pairs = list(zip(vectors[::2], vectors[1::2], strict=True))
        even, odd = (phases([e.shuffle(a, b, list(range(i, 2 * LANES, 2))) for a, b in pairs]) for i in (0, 1))
        return [each for both in zip(even, odd, strict=True) for each in both]

    def block(state: list[ir.Value]) -> list[ir.Value]:
        source, target, low, high, left, begin = state
        masks = []
        for v in range(size):
            begun, ended = (builder.sub(end, ir.Constant(I64, v * LANES)) for end in (low, high))
            masks.append(builder.and_(builder.not_(e.first_lanes(LANES, begun)), e.first_lanes(LANES, ended)))
        there = e.first_lanes(LANES, left)  # and what the tile before has as its values from `size` on:
        before = builder.and_(e.first_lanes(LANES, builder.add(left, one)), builder.not_(e.first_lanes(LANES, begin)))

        def row(state: list[ir.Value]) -> list[ir.Value]:
            source, target, phase = state
            places = [e.at(source, 4 * LANES * v) for v in range(size)]
            values = phases([e.masked_load(kind, place, mask, 4) for place, mask in zip(places, masks, strict=True)])
            for j, place in enumerate(_lines(e, target, plane_stride, form.points)):
                if j < size:
                    e.masked_store(values[j], place, there, 4)
                else:
                    e.masked_store(values[j - size], e.at(place, -4), before, 4)
            last = builder.icmp_signed("==", phase, ir.Constant(I64, size - 1))
            following = builder.select(last, ir.Constant(I64, 0), builder.add(phase, one))
            return [e.at(source, source_stride), e.at(target, builder.select(last, back, phase_stride)), following]

        e.loop(rows, [source, target, phase], row)
        low, high = (builder.sub(end, ir.Constant(I64, wide)) for end in (low, high))
        left = builder.sub(left, ir.Constant(I64, LANES))
        return [e.at(source, 4 * wide), e.at(target, 4 * LANES), low, high, left, ir.Constant(I64, 0)]

    e.loop(blocks, [source, first, low, high, count, one], block)
    builder.ret_void()
    return function


def _into_function(module: ir.Module, isa: Float32, form: Tiles) -> ir.Function:
    """void into(planes, channel_stride, row_stride, plane_stride, panel, point_stride, channels, count).

    `count` tiles one after another, of `channels` channels: value i, j of tile t is at t in row i div size of plane
    [i mod size][j]; its value at a point goes to panel[point][channel][t]. Reads up to a vector beyond.
    """
    name = f"dynq_into_points_{form.points}__{isa.name}"
    function, e = begun(module, name, [BYTES, I64, I64, I64, BYTES, I64, I64, I64])
    if e is None:
        return function
    planes, channel_stride, row_stride, plane_stride, panel, point_stride, channels, count = function.args
    builder, lanes, size = e.builder, isa.lanes, form.size
    floats, every = vector(F32, lanes), ir.Constant(I64, lanes)
    fma, axis = _fma(e, lanes), range(form.points)
    whole, left = builder.sdiv(count, every), builder.srem(count, every)
    mask, some = e.first_lanes(lanes, left), builder.icmp_signed(">", left, ir.Constant(I64, 0))

    def tiles(first: ir.Value, panel: ir.Value, store: Callable[[ir.Value, ir.Value], None]) -> None:
        planes = _lines(e, first, plane_stride, size * form.points)
        rows = [planes[i * form.points : (i + 1) * form.points] for i in range(size)]
        rows += [[e.at(place, row_stride) for place in row] for row in rows[: form.points - size]]
        values = [[Lanes(e, e.load(floats, rows[i][j], 4)) for j in axis] for i in axis]
        points = [each for row in along_both(partial(form.into, fma), values) for each in row]
        for point, place in zip(points, _lines(e, panel, point_stride, form.square), strict=True):
            store(point.value, place)

    def block(state: list[ir.Value]) -> list[ir.Value]:
        tiles(state[0], state[1], lambda value, place: e.store(value, place, 4))
        return [e.at(each, 4 * lanes) for each in state]

    def channel(state: list[ir.Value]) -> list[ir.Value]:
        planes, panel = state
        rest = e.repeat(whole, state, block)
        with e.when(some):
            tiles(rest[0], rest[1], lambda value, place: e.masked_store(value, place, mask, 4))
        return [e.at(planes, channel_stride), e.at(panel, 4 * isa.columns)]

    e.loop(channels, [planes, panel], channel)
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


def _copy_function(module: ir.Module) -> ir.Function:
    """void copy(source, source_stride, source_line, target, target_stride, line, rows, lines, columns): all ≥ 1.

    target[row][line][i] = source[row][line][i] for i < columns.
    """
    function, e = begun(module, "dynq_copy_lines", [BYTES, I64, I64, BYTES, I64, I64, I64, I64, I64])
    if e is None:
        return function
    source, source_stride, source_line, target, target_stride, target_line, rows, lines, columns = function.args
    builder, kind, every = e.builder, vector(F32, LANES), ir.Constant(I64, LANES)
    whole, left = builder.sdiv(columns, every), builder.srem(columns, every)
    mask = e.first_lanes(LANES, left)

    def block(places: list[ir.Value]) -> list[ir.Value]:
        e.store(e.load(kind, places[0], 4), places[1], 4)
        return [e.at(place, 4 * LANES) for place in places]

    def line(places: list[ir.Value]) -> list[ir.Value]:
        rest = e.repeat(whole, places, block)
        with e.when(builder.icmp_signed(">", left, ir.Constant(I64, 0))):
            e.masked_store(e.masked_load(kind, rest[0], mask, 4), rest[1], mask, 4)
        return [e.at(place, stride) for place, stride in zip(places, (source_line, target_line), strict=True)]

    def row(places: list[ir.Value]) -> list[ir.Value]:
        e.loop(lines, places, line)
        return [e.at(place, stride) for place, stride in zip(places, (source_stride, target_stride), strict=True)]

    e.loop(rows, [source, target], row)
    builder.ret_void()
    return function


@intrinsic
def copy_lines(
    typingctx, source, source_stride, source_line, target, target_stride, target_line, rows, lines, columns
):  # fmt: skip
    """`_copy_function`."""

    def codegen(context, builder, signature, args):
        builder.call(_copy_function(builder.module), args)
        return context.get_dummy_value()

    p, n = types.voidptr, types.intp
    return types.void(p, n, n, p, n, n, n, n, n), codegen


@cache
def image_into_points(isa: Float32, form: Tiles) -> Callable:
    """``into(planes, channel_stride, row_stride, plane_stride, panel, point_stride, channels, count)``: see above."""

    @intrinsic
    def into(typingctx, planes, channel_stride, row_stride, plane_stride, panel, point_stride, channels, count):
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
def image_into_planes(isa: Float32, form: Tiles) -> Callable:
    """``split(source, source_stride, planes, row_bytes, plane_stride, phase, rows, low, high, count)``: see above."""

    @intrinsic
    def split(typingctx, source, source_stride, planes, row_bytes, plane_stride, phase, rows, low, high, count):
        def codegen(context, builder, signature, args):
            builder.call(_split_function(builder.module, isa, form), args)
            return context.get_dummy_value()

        p, n = types.voidptr, types.intp
        return types.void(p, n, p, n, n, n, n, n, n, n), codegen

    return split
