"""The emitted parts of a float32 convolution: rows moved into planes, patches packed, and the tile.

As in integers (conv/emit.py) the rows of a product are output channels, its columns output pixels:

    a     [K][R]    weights of R channels, broadcast                 y[r, c] = bias[r], then for k = 0, 1, …, K-1
    b     [K][NR]   patches of NR pixels                             y[r, c] = fma(a[k, r], b[k, c], y[r, c])
    bias  [R]

So every value is one chain of fma, in the order of k = (channel, ky, kx), whatever the tile (gemm/float_tile.py).

    move     rows of values, every `step`-th one, and 0 outside the image; no byte outside it is read
    pack     K streams of NR consecutive pixels; those beyond the last pixel are 0 and are not read
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache, partial

from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from ..gemm.float_tile import FloatTile
from ..isa.base import VECTORS
from ..isa.emitter import BYTES, F32, I32, I64, VOID, Emitter, internal_function, vector
from ..isa.float32 import Float32
from ..isa.intrinsics import switch

#: Lanes of what moves values; the steps between values for which there is code.
LANES = 16
STEPS = (1, 2)


def begun(module: ir.Module, name: str, arguments: list[ir.Type]) -> tuple[ir.Function, Emitter | None]:
    function, fresh = internal_function(module, name, VOID, arguments)
    return function, Emitter(ir.IRBuilder(function.append_basic_block("entry"))) if fresh else None


class ConvolutionTile(FloatTile):
    """A tile of `rows` output channels. Where start_stride is 0, `start` is a bias for each row, not each column."""

    def __init__(self, isa: Float32, rows: int, vectors: int = VECTORS):
        super().__init__(isa, rows, vectors)
        self.name = f"dynq_f32_conv_{rows}x{self.columns}__{isa.name}"

    def panels(self, e: Emitter, args: tuple, across: int, state: list[ir.Value]) -> list[ir.Value]:
        self.bias = args[4]  # it does not move on with the panels
        return super().panels(e, args, across, state)

    def first(self, e: Emitter, start: ir.Value, stride: ir.Value, there: list[ir.Value]) -> list[ir.Value]:
        builder = e.builder
        with builder.if_else(builder.icmp_signed("==", stride, ir.Constant(I64, 0))) as (begin, go_on):
            with begin:
                columns = range(self.vectors * len(there))
                biases = [self.row(e, F32, self.bias, r) for r in range(self.rows) for _ in columns]
                begun = builder.block
            with go_on:
                sums = super().first(e, start, stride, there)
                gone_on = builder.block
        merged = [builder.phi(self.isa.accumulator) for _ in sums]
        for phi, bias, total in zip(merged, biases, sums, strict=True):
            phi.add_incoming(bias, begun)
            phi.add_incoming(total, gone_on)
        return merged


@cache
def convolution_strip(isa: Float32) -> Callable:
    """``strip(rows, <FloatTile.ARGUMENTS>)``: the tile of that height (1 … max_rows) over panels of patches.

    rows + max_rows: the tile of `rows` that takes only the first vector of a panel.
    """
    functions = {
        rows + isa.max_rows * (VECTORS - vectors): ConvolutionTile(isa, rows, vectors).function
        for rows in range(1, isa.max_rows + 1) for vectors in (1, VECTORS)
    }  # fmt: skip

    @intrinsic
    def strip(
        typingctx, rows, a, b, word_stride, words, start, start_stride, out, out_stride, panels, panel_stride, last
    ):  # fmt: skip
        return switch(functions, list(FloatTile.ARGUMENTS))

    return strip


def _pack_function(module: ir.Module, isa: Float32) -> ir.Function:
    """void pack(base, offsets, k, panel, valid): NR consecutive pixels of k ≥ 1 streams, of which `valid` are there.

    Stream i begins at base + offsets[i] (int64).
    """
    function, e = begun(module, f"dynq_float_patches__{isa.name}", [BYTES, BYTES, I64, BYTES, I64])
    if e is None:
        return function
    base, offsets, k, panel, valid = function.args
    builder, lanes = e.builder, isa.lanes
    floats = vector(F32, lanes)
    masks = [e.first_lanes(lanes, builder.sub(valid, ir.Constant(I64, v * lanes))) for v in range(VECTORS)]

    def stream(load: Callable[[ir.Value, int], ir.Value]) -> Callable[[list[ir.Value]], list[ir.Value]]:
        def step(state: list[ir.Value]) -> list[ir.Value]:
            offsets, panel = state
            source = e.at(base, e.load(I64, offsets, 8))
            for v in range(VECTORS):
                e.store(load(e.at(source, 4 * lanes * v), v), e.at(panel, 4 * lanes * v), 4 * lanes)
            return [e.at(offsets, 8), e.at(panel, 4 * isa.columns)]

        return step

    plain = stream(lambda place, v: e.load(floats, place, 4))
    masked = stream(lambda place, v: e.masked_load(floats, place, masks[v], 4))
    e.either(
        builder.icmp_signed(">=", valid, ir.Constant(I64, isa.columns)),
        lambda: e.loop(k, [offsets, panel], plain),
        lambda: e.loop(k, [offsets, panel], masked),
    )
    builder.ret_void()
    return function


@cache
def pack_floats(isa: Float32) -> Callable:
    """``pack_floats(base, offsets, k, panel, valid)``: see `_pack_function`."""

    @intrinsic
    def pack_floats(typingctx, base, offsets, k, panel, valid):
        def codegen(context, builder, signature, args):
            builder.call(_pack_function(builder.module, isa), args)
            return context.get_dummy_value()

        p, n = types.voidptr, types.intp
        return types.void(p, p, n, p, n), codegen

    return pack_floats


def _move_function(module: ir.Module, step: int) -> ir.Function:
    """void move(source, source_stride, target, target_stride, rows, low, high, count): `count` values of each row.

    target[r, i] = source[r, step·i] for low ≤ i < high, else 0. Writes up to LANES - 1 values beyond a row, before it
    goes on to the next row. rows, count ≥ 1.
    """
    arguments = [BYTES, I64, BYTES, I64, I64, I64, I64, I64]
    function, e = begun(module, f"dynq_move_{step}", arguments)
    if e is None:
        return function
    source, source_stride, target, target_stride, rows, low, high, count = function.args
    builder, wide = e.builder, LANES * step
    kind, lanes = vector(F32, wide), ir.Constant(I64, LANES)
    numbers = ir.Constant(vector(I32, wide), list(range(wide)))
    blocks = builder.sdiv(builder.add(count, ir.Constant(I64, LANES - 1)), lanes)

    def every(values: ir.Value) -> ir.Value:
        return e.shuffle(values, ir.Constant(kind, ir.Undefined), list(range(0, wide, step))) if step > 1 else values

    def block(state: list[ir.Value]) -> list[ir.Value]:
        source, target, low, high = state

        def edge() -> None:
            first = builder.trunc(builder.mul(low, ir.Constant(I64, step)), I32)
            last = builder.trunc(builder.mul(builder.sub(high, ir.Constant(I64, 1)), ir.Constant(I64, step)), I32)
            inside = builder.and_(
                builder.icmp_signed(">=", numbers, e.splat(first, wide)),
                builder.icmp_signed("<=", numbers, e.splat(last, wide)),
            )
            e.store(every(e.masked_load(kind, source, inside, 4)), target, 4)

        whole = builder.and_(
            builder.icmp_signed("<=", low, ir.Constant(I64, 0)),
            builder.icmp_signed(">=", high, ir.Constant(I64, LANES + step - 1)),  # the values between are read, too
        )
        e.either(whole, lambda: e.store(every(e.load(kind, source, 4)), target, 4), edge)
        return [e.at(source, 4 * wide), e.at(target, 4 * LANES), builder.sub(low, lanes), builder.sub(high, lanes)]

    def row(state: list[ir.Value]) -> list[ir.Value]:
        source, target = state
        e.loop(blocks, [source, target, low, high], block)
        return [e.at(source, source_stride), e.at(target, target_stride)]

    e.loop(rows, [source, target], row)
    builder.ret_void()
    return function


@intrinsic
def move_rows(typingctx, step, source, source_stride, target, target_stride, rows, low, high, count):
    """`_move_function` for a step of STEPS."""
    functions = {step: partial(_move_function, step=step) for step in STEPS}
    return switch(functions, [BYTES, I64, BYTES, I64, I64, I64, I64, I64])
