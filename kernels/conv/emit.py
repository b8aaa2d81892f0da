"""The emitted parts of a convolution: rows of the image shifted, patches laid out as panels, and the tile.

In a convolution the tile's sides change places: rows are output channels (weights, broadcast), columns are output
pixels (activations, in panels). So it stores channels × pixels, which is the order of the result in memory.

    a        [words][R]       words of weights q: 4 signed bytes, or 2 signed halves
    b        [words][NR][KR]  patches: uint8 activations
    rows     [3][R]           int32 -zero_point·Σ q, float32 scale_w·scale_x, float32 bias        (`zero_point` of Tile)

    y[r, c] = float32(rows[0, r] + Σ a·b) · rows[1, r] + rows[2, r]

Here the broadcast operand is signed: `InstructionSet.swapped` has a set's dot with exchanged operands.
Nothing depends on the column, so no sum over patches is needed.

    shift    rows of bytes, every `step`-th one, and the zero point outside the image
    pack     for each word KR streams of 64 consecutive pixels, interleaved: 64 / NR panels at once
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache, partial

from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from ..gemm.tile import Output, Scheme, Tile
from ..isa.base import VECTORS, InstructionSet
from ..isa.emitter import BYTES, F32, I8, I32, I64, VOID, Emitter, internal_function, vector
from ..isa.intrinsics import switch

#: Pixels that are laid out together.
PIXELS = 64
#: (bytes of a row written at once, step) for which there is code to shift rows, for each step in ascending order.
SHIFTS = ((16, 1), (32, 1), (64, 1), (16, 2), (64, 2), (16, 3), (16, 4), (16, 8), (16, 14), (16, 16))


class ConvolutionTile(Tile):
    """A tile of `rows` output channels: `zero_point` is the rows' words, `scale` and `columns` are not used."""

    def __init__(self, isa: InstructionSet, rows: int):
        super().__init__(isa.swapped(), Scheme(), Output.DEQUANTIZED, rows)
        self.name = f"dynq_conv_{rows}x{isa.columns}c{isa.k_per_word}__{isa.name}"

    def start(self, e: Emitter, zero_point: ir.Value, columns: ir.Value) -> list[ir.Value]:
        return [self.row(e, I32, zero_point, r) for r in range(self.rows) for _ in range(VECTORS)]

    def epilogue(
        self, e: Emitter, sums: list, scale: ir.Value, zero_point: ir.Value, columns: ir.Value
    ) -> Callable[[int, int], ir.Value]:
        builder, rows, floats = e.builder, self.rows, vector(F32, self.isa.lanes)

        def dequantized(r: int, v: int) -> ir.Value:
            product = builder.fmul(builder.sitofp(sums[r][v], floats), self.row(e, F32, zero_point, rows + r))
            return builder.fadd(product, self.row(e, F32, zero_point, 2 * rows + r))

        return dequantized


@cache
def convolution_strip(isa: InstructionSet) -> Callable:
    """``strip(rows, <Tile.ARGUMENTS>)``: the tile of that height (1 … max_rows) over panels of patches."""
    functions = {height: ConvolutionTile(isa, height).function for height in range(1, isa.max_rows + 1)}

    @intrinsic
    def strip(
        typingctx, rows, a, b, words, scale, zero_point, columns, out, out_stride, panels, panel_stride, last,
        ahead, near,
    ):  # fmt: skip
        return switch(functions, Tile.ARGUMENTS)

    return strip


def _pack_function(module: ir.Module, isa: InstructionSet) -> ir.Function:
    """void pack(base, offsets, words, panels, panel_stride): PIXELS consecutive pixels of words · KR streams.

    Stream k begins at base + offsets[k] (int64); words ≥ 1.
    """
    function, fresh = internal_function(module, f"dynq_patches__{isa.name}", VOID, [BYTES, BYTES, I64, BYTES, I64])
    if not fresh:
        return function
    base, offsets, words, panels, panel_stride = function.args
    builder = ir.IRBuilder(function.append_basic_block("entry"))
    e = Emitter(builder)
    nr, kr = isa.columns, isa.k_per_word
    targets = [panels]
    for _ in range(1, PIXELS // nr):
        targets.append(e.at(targets[-1], panel_stride))

    def word(state: list[ir.Value]) -> list[ir.Value]:
        offsets, place = state
        where = (e.load(I64, e.at(offsets, 8 * j), 8) for j in range(kr))
        values = [e.load(vector(I8, PIXELS), e.at(base, offset), 1) for offset in where]
        width = 8
        while len(values) > 1:
            width *= 2
            pairs = zip(values[::2], values[1::2], strict=True)
            values = [builder.bitcast(e.interleave(a, b), vector(ir.IntType(width), PIXELS)) for a, b in pairs]
        for p, target in enumerate(targets):
            e.store(e.part(values[0], p * nr, nr), e.at(target, place), nr * kr)
        return [e.at(offsets, 8 * kr), builder.add(place, ir.Constant(I64, nr * kr))]

    e.loop(words, [offsets, ir.Constant(I64, 0)], word)
    builder.ret_void()
    return function


@cache
def pack_patches(isa: InstructionSet) -> Callable:
    """``pack_patches(base, offsets, words, panels, panel_stride)``: see `_pack_function`."""

    @intrinsic
    def pack_patches(typingctx, base, offsets, words, panels, panel_stride):
        def codegen(context, builder, signature, args):
            builder.call(_pack_function(builder.module, isa), args)
            return context.get_dummy_value()

        p, n = types.voidptr, types.intp
        return types.void(p, p, n, p, n), codegen

    return pack_patches


def _shift_function(module: ir.Module, block: int, step: int) -> ir.Function:
    """void shift(source, source_stride, target, target_stride, rows, low, high, zero): the first `block` bytes of rows.

    target[r, i] = source[r, step·i] for low ≤ i < high, else `zero`. Reads block·step bytes of a row; rows ≥ 1.
    """
    args = [BYTES, I64, BYTES, I64, I64, I64, I64, I64]
    function, fresh = internal_function(module, f"dynq_shift_{block}_{step}", VOID, args)
    if not fresh:
        return function
    source, source_stride, target, target_stride, rows, low, high, zero = function.args
    builder = ir.IRBuilder(function.append_basic_block("entry"))
    e = Emitter(builder)
    numbers = ir.Constant(vector(I8, block), list(range(block)))
    low, high, outside = (e.splat(builder.trunc(value, I8), block) for value in (low, high, zero))
    inside = builder.and_(builder.icmp_signed(">=", numbers, low), builder.icmp_signed("<", numbers, high))

    def row(state: list[ir.Value]) -> list[ir.Value]:
        source, target = state
        values = e.load(vector(I8, block * step), source, 1)
        if step > 1:
            values = e.shuffle(values, ir.Constant(values.type, ir.Undefined), list(range(0, block * step, step)))
        e.store(builder.select(inside, values, outside), target, 1)
        return [e.at(source, source_stride), e.at(target, target_stride)]

    e.loop(rows, [source, target], row)
    builder.ret_void()
    return function


@intrinsic
def shift_rows(typingctx, which, source, source_stride, target, target_stride, rows, low, high, zero):
    """`_shift_function` for SHIFTS[which]."""

    functions = {i: partial(_shift_function, block=block, step=step) for i, (block, step) in enumerate(SHIFTS)}
    return switch(functions, [BYTES, I64, BYTES, I64, I64, I64, I64, I64])
