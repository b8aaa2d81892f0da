"""The emitted parts of a depthwise convolution in float32: one channel in, one out, vectors of neighbouring pixels.

    y[p] = bias, then for the taps of the kernel in order   y[p] = fma(weight[tap], plane[p + tap's place], y[p])

    depthwise  some rows of the result; a value that is loaded serves all rows whose patches it is in
    taps       one row of the result, for any kernel

Rows are read from planes with zeros around (depthwise.py). The block of 3×3 and 4 rows loads 18 vectors for 36
fma; one row alone would load one for each.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache, partial

from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from ..isa.emitter import BYTES, F32, I64, vector
from ..isa.float32 import Float32
from ..isa.intrinsics import switch
from .emit import begun

#: Kernels (height, width) and steps (down, across) with a block of their own, and rows of such a block.
DEPTHWISE = tuple((k, k, down, across) for k in (3, 5) for down in (1, 2) for across in (1, 2))
TOGETHER = (4, 2, 1)

DEPTHWISE_ARGUMENTS = [BYTES, I64, I64, BYTES, F32, BYTES, I64, I64]


def _depthwise_function(
    module: ir.Module, isa: Float32, k_high: int, k_wide: int, down: int, across: int, rows: int
) -> ir.Function:
    """void depthwise(plane, row_stride, phase_stride, weights, bias, out, out_stride, columns): `rows` rows of out.

    `plane` is that of column phase 0 (see depthwise.py), the others follow at phase_stride; columns ≥ 1.
    """
    name = f"dynq_depthwise_{k_high}x{k_wide}_{down}_{across}_{rows}__{isa.name}"
    function, e = begun(module, name, DEPTHWISE_ARGUMENTS)
    if e is None:
        return function
    plane, row_stride, phase_stride, weights, bias, out, out_stride, columns = function.args
    builder, lanes = e.builder, isa.lanes
    floats = vector(F32, lanes)
    taps = [[e.splat(e.load(F32, e.at(weights, 4 * (k_wide * y + x)), 4), lanes) for x in range(k_wide)]
            for y in range(k_high)]  # fmt: skip
    start = e.splat(bias, lanes)

    def block(plane: ir.Value, store: Callable[[ir.Value, ir.Value], None], corner: ir.Value) -> None:
        sums = [start] * rows
        phases = [plane, *(e.at(plane, phase_stride) for _ in range(1, across))]
        for y in range((rows - 1) * down + k_high):
            for x in range(k_wide):
                value = e.load(floats, e.at(phases[x % across], 4 * (x // across)), 4)
                for r in range(rows):
                    if 0 <= y - r * down < k_high:
                        sums[r] = e.fma(taps[y - r * down][x], value, sums[r])
            phases = [e.at(phase, row_stride) for phase in phases]
        for r in range(rows):
            store(sums[r], corner)
            corner = e.at(corner, out_stride)

    def whole(state: list[ir.Value]) -> list[ir.Value]:
        plane, corner = state
        block(plane, lambda value, place: e.store(value, place, 4), corner)
        return [e.at(plane, 4 * lanes), e.at(corner, 4 * lanes)]

    every = ir.Constant(I64, lanes)
    plane, corner = e.repeat(builder.sdiv(columns, every), [plane, out], whole)
    left = builder.srem(columns, every)
    mask = e.first_lanes(lanes, left)
    with e.when(builder.icmp_signed(">", left, ir.Constant(I64, 0))):
        block(plane, lambda value, place: e.masked_store(value, place, mask, 4), corner)
    builder.ret_void()
    return function


@cache
def depthwise_rows(isa: Float32) -> Callable:
    """``depthwise_rows(which, <DEPTHWISE_ARGUMENTS>)``; `which` counts DEPTHWISE × TOGETHER."""
    every = [(*kernel, rows) for kernel in DEPTHWISE for rows in TOGETHER]
    functions = {
        i: partial(_depthwise_function, isa=isa, k_high=high, k_wide=wide, down=down, across=across, rows=rows)
        for i, (high, wide, down, across, rows) in enumerate(every)
    }

    @intrinsic
    def depthwise_rows(typingctx, which, plane, row_stride, phase_stride, weights, bias, out, out_stride, columns):
        return switch(functions, DEPTHWISE_ARGUMENTS)

    return depthwise_rows


def _taps_function(module: ir.Module, isa: Float32) -> ir.Function:
    """void taps(base, offsets, count, weights, bias, out, columns): a row of out, of any kernel of count ≥ 1 taps.

    Tap i of column 0 is at base + offsets[i] (int64).
    """
    function, e = begun(module, f"dynq_taps__{isa.name}", [BYTES, BYTES, I64, BYTES, F32, BYTES, I64])
    if e is None:
        return function
    base, offsets, count, weights, bias, out, columns = function.args
    builder, lanes, together = e.builder, isa.lanes, 4
    floats = vector(F32, lanes)

    def sums(base: ir.Value, vectors: int) -> list[ir.Value]:
        def tap(state: list[ir.Value]) -> list[ir.Value]:
            offsets, weights, *sums = state
            weight, source = e.splat(e.load(F32, weights, 4), lanes), e.at(base, e.load(I64, offsets, 8))
            values = (e.load(floats, e.at(source, 4 * lanes * v), 4) for v in range(vectors))
            added = [e.fma(weight, value, total) for value, total in zip(values, sums, strict=True)]
            return [e.at(offsets, 8), e.at(weights, 4), *added]

        return e.loop(count, [offsets, weights, *[e.splat(bias, lanes)] * vectors], tap)[2:]

    def whole(vectors: int) -> Callable[[list[ir.Value]], list[ir.Value]]:
        def block(state: list[ir.Value]) -> list[ir.Value]:
            base, out = state
            for v, value in enumerate(sums(base, vectors)):
                e.store(value, e.at(out, 4 * lanes * v), 4)
            return [e.at(base, 4 * lanes * vectors), e.at(out, 4 * lanes * vectors)]

        return block

    state, left = [base, out], columns
    for vectors in (together, 1):
        every = ir.Constant(I64, lanes * vectors)
        state = e.repeat(builder.sdiv(left, every), state, whole(vectors))
        left = builder.srem(left, every)
    with e.when(builder.icmp_signed(">", left, ir.Constant(I64, 0))):
        e.masked_store(sums(state[0], 1)[0], state[1], e.first_lanes(lanes, left), 4)
    builder.ret_void()
    return function


@cache
def taps_row(isa: Float32) -> Callable:
    """``taps_row(base, offsets, count, weights, bias, out, columns)``: see `_taps_function`."""

    @intrinsic
    def taps_row(typingctx, base, offsets, count, weights, bias, out, columns):
        def codegen(context, builder, signature, args):
            builder.call(_taps_function(builder.module, isa), args)
            return context.get_dummy_value()

        p, n = types.voidptr, types.intp
        return types.void(p, p, n, p, types.float32, p, n), codegen

    return taps_row
