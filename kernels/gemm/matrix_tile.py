"""The tile on matrix registers: up to 32 rows of activations times weight panels of 32 columns.

              16 columns   16 columns              one step: 64 values of k
            ┌────────────┬────────────┐
            │     b0     │     b1     │            b0, b1   16 words of k × 16 columns × 4
            └────────────┴────────────┘
    ┌────┐  ┌────────────┬────────────┐
    │ a0 │  │    c00     │    c01     │  16 rows   four loads, four products: registers 0-3 are sums, 4-5 a, 6-7 b
    ├────┤  ├────────────┼────────────┤
    │ a1 │  │    c10     │    c11     │  16 rows
    └────┘  └────────────┴────────────┘

Operands:
    activations  [tiles of 16 rows][steps][16][64] uint8           values beyond the rows do not matter
    weights      [2][words][16][4] int8 a panel, words a multiple of 16                         (slabs: panel.py)
    sums         [32][32] int32 of two panels in turn, on the stack: registers are read through memory only

A product takes 16 cycles, so a step of 32 × 32 takes 64. Everything else must fit between: 64 lines of loads, half of
them from L2, and the epilogue of the previous panel, of which each step does some rows. (A whole epilogue after the
products would wait for the stores of their sums.)

    sums → memory (panel 0) │ products (panel 1), epilogue (panel 0) │ sums → memory (panel 1) │ products (panel 2), …

Weights are loaded with streaming loads, so that L1 stays free for the row panel's activations. If these do not fit
(IN_L1), they are loaded so, too. Measured on an Emerald Rapids, products and epilogue of 32 rows times 1 MB of
weights, percent of the register peak (`python -m bench roofline` prints the second column's first row):

                      plain loads    streaming loads
    K = 1024          53             74
    K = 4096          68             76

The epilogue is that of tile.py, exact = sum - zero_point·column_sum, with a product that takes half the time. With
z = zero_point - 128 in a signed byte and -column_sum = low + 256·high in a signed byte and a signed half,

    exact = sum + 128·(-column_sum) + z·low + (256·z)·high     vpdpwssd adds both products of halves: |256·z| ≤ 2^15

|column_sum| ≤ 127·K < 2^23 to K = 65,793, which is the limit of exact sums anyway. Other bounds as in tile.py.

Model: oneDNN's brgemm for amx (2 × 2 blocks); Intel's optimization reference manual, chapter 20.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from llvmlite import ir

from ..isa.base import ROW_BYTES, ROWS, TILE_BYTES, VECTORS
from ..isa.emitter import BYTES, F32, I8, I32, I64, VOID, Emitter, constant, internal_function, vector
from ..quantize.emit import FLOATS, INTS, LANES, Quotient, by_quotient, byte_planes, clipped_planes, quantized, shift
from .tile import Tile, joined

#: k-words of one step.
STEP_WORDS = ROW_BYTES // 4
#: Columns of a panel; bytes of a row of sums and of a panel's sums.
COLUMNS = VECTORS * ROWS
SUM_STRIDE = 4 * COLUMNS
SUM_BYTES = 2 * ROWS * SUM_STRIDE
#: Bytes of activations that stay in a first cache of 48 KB beside sums, column words and results.
IN_L1 = 36 << 10


class MatrixTile:
    """Emits ``void strip(rows, *Tile.ARGUMENTS)`` for 1 … 32 rows, 8-bit weights, one scale per channel.

    With 2 planes, x of 16 bits, for 1 … 16 rows: the first tile of rows has their high bytes, the second the low ones.

    `isa` has the methods of isa/amx.py. Prefetching (Tile's `ahead`, `near`) is left to the CPU: its loads reach far
    enough ahead.
    """

    ARGUMENTS = (I64, *Tile.ARGUMENTS)

    def __init__(self, isa: Any, planes: int = 1):
        self.isa, self.planes = isa, planes
        self.name = f"dynq_{'x16_' if planes == 2 else ''}qc8w_dequantized_matrix__{isa.name}"

    def function(self, module: ir.Module) -> ir.Function:
        function, fresh = internal_function(module, self.name, VOID, list(self.ARGUMENTS))
        if fresh:
            self.emit(function)
        return function

    def emit(self, function: ir.Function) -> None:
        builder = ir.IRBuilder(function.append_basic_block("entry"))
        e = Emitter(builder)
        rows, words = function.args[0], function.args[3]
        buffer = builder.alloca(ir.ArrayType(I8, 2 * SUM_BYTES))
        buffer.align = ROW_BYTES
        sums = builder.bitcast(buffer, BYTES)
        steps = builder.sdiv(builder.add(words, ir.Constant(I64, STEP_WORDS - 1)), ir.Constant(I64, STEP_WORDS))

        def sweep(tiles: int) -> None:
            large = builder.icmp_signed(">", steps, ir.Constant(I64, IN_L1 // (tiles * TILE_BYTES)))
            given = (self.isa, e, function.args, sums, steps, tiles, self.planes)
            e.either(large, *(Sweep(*given, on).emit for on in (True, False)))

        if self.planes == 2:
            sweep(2)
        else:
            e.either(builder.icmp_signed(">", rows, ir.Constant(I64, ROWS)), lambda: sweep(2), lambda: sweep(1))
        builder.ret_void()


class Sweep:
    """A row panel of one or two tiles through all weight panels; `stream`: with activations beyond the first cache."""

    def __init__(
        self, isa: Any, e: Emitter, arguments: tuple[ir.Value, ...], sums: ir.Value, steps: ir.Value, tiles: int,
        planes: int, stream: bool,
    ):  # fmt: skip
        self.planes = planes
        self.isa, self.e, self.builder, self.sums, self.steps, self.stream = isa, e, e.builder, sums, steps, stream
        (self.rows, self.a, self.b, _, self.scale, self.zero_point, self.columns, self.out, self.stride,
         self.panels, self.panel_stride, self.last, _, _) = arguments  # fmt: skip
        self.tiles = range(tiles)
        self.products = [(VECTORS * m + v, 4 + m, 6 + v) for m in self.tiles for v in range(VECTORS)]
        self.sum_places = [(sums, SUM_STRIDE * ROWS * (a - 4) + ROW_BYTES * (b - 6)) for sums, a, b in self.products]

    def emit(self) -> None:
        e, builder = self.e, self.builder
        zero = ir.Constant(I64, 0)
        self.tile_stride = builder.mul(self.steps, ir.Constant(I64, TILE_BYTES))
        self.slab = builder.sdiv(self.panel_stride, ir.Constant(I64, VECTORS))
        #: Rows of the panel before that each step finishes.
        self.share = builder.sdiv(builder.add(self.rows, builder.sub(self.steps, ir.Constant(I64, 1))), self.steps)
        # Column words and results are those of the panel that is finished, one behind the products.
        state = [self.b, self.columns, self.out, self.sums, zero]
        _, columns, corner, sums, _ = e.loop(self.panels, state, self.panel)
        self.finish_last(columns, corner, self.other(sums))

    def other(self, sums: ir.Value) -> ir.Value:
        """The place of the sums of the panel before, and of the next."""
        builder, second = self.builder, self.e.at(self.sums, SUM_BYTES)
        return builder.select(builder.icmp_unsigned("==", sums, self.sums), second, self.sums)

    def panel(self, state: list[ir.Value]) -> list[ir.Value]:
        """The products of one panel, and the epilogue of the one before, of which `left` rows are to be finished."""
        e, builder, isa = self.e, self.builder, self.isa
        weights, columns, corner, sums, left = state
        epilogue = Epilogue(e, columns, self.planes)

        def row(place: list[ir.Value]) -> list[ir.Value]:
            return epilogue.row(place, self.stride, lambda y, where, v: e.store(y, where, 4))

        def step(state: list[ir.Value]) -> list[ir.Value]:
            a, b, left, *place = state
            for m in self.tiles:
                tile = e.at(a, builder.mul(self.tile_stride, ir.Constant(I64, m)))
                isa.load(e, 4 + m, tile, ROW_BYTES, stream=self.stream)
            for v in range(VECTORS):
                side = e.at(b, builder.mul(self.slab, ir.Constant(I64, v)))
                isa.load(e, 6 + v, side, ROW_BYTES, stream=True)
            for product in self.products:
                isa.multiply(e, *product)
            some = builder.select(builder.icmp_signed("<", left, self.share), left, self.share)
            place = e.repeat(some, place, row)
            return [e.at(a, TILE_BYTES), e.at(b, TILE_BYTES), builder.sub(left, some), *place]

        for number, _ in self.sum_places:
            isa.zero(e, number)
        place = [self.other(sums), self.scale, self.zero_point, corner]
        e.loop(self.steps, [self.a, weights, left, *place], step)
        for number, where in self.sum_places:
            isa.store(e, number, e.at(sums, where), SUM_STRIDE)
        first = builder.icmp_signed("==", left, ir.Constant(I64, 0))
        columns = builder.select(first, columns, e.at(columns, 12 * COLUMNS))
        corner = builder.select(first, corner, e.at(corner, 4 * COLUMNS))
        return [e.at(weights, self.panel_stride), columns, corner, self.other(sums), self.rows]

    def finish_last(self, columns: ir.Value, corner: ir.Value, sums: ir.Value) -> None:
        """The epilogue of the last panel, of which not all columns need be there."""
        e, builder = self.e, self.builder
        epilogue = Epilogue(e, columns, self.planes)
        masks = [e.first_lanes(ROWS, builder.sub(self.last, ir.Constant(I64, v * ROWS))) for v in range(VECTORS)]

        def row(place: list[ir.Value]) -> list[ir.Value]:
            return epilogue.row(place, self.stride, lambda y, where, v: e.masked_store(y, where, masks[v], 4))

        e.loop(self.rows, [sums, self.scale, self.zero_point, corner], row)


class Epilogue:
    """Output.DEQUANTIZED of a panel, row by row from its sums."""

    def __init__(self, e: Emitter, columns: ir.Value, planes: int):
        self.e, self.planes = e, planes
        minus, self.factor, self.bias = (
            [e.load(kind, e.at(columns, 4 * (COLUMNS * word + ROWS * v)), ROW_BYTES) for v in range(VECTORS)]
            for word, kind in enumerate((INTS, FLOATS, FLOATS))
        )
        self.base = [e.builder.shl(m, constant(INTS, 7)) for m in minus]
        self.halves = [self.split(m) for m in minus]

    def split(self, minus: ir.Value) -> ir.Value:
        """-column_sum as halves: `low` in the lower, `high` in the upper one."""
        builder = self.e.builder
        byte = constant(INTS, 24)
        low = builder.ashr(builder.shl(minus, byte), byte)
        high = builder.ashr(builder.sub(minus, low), constant(INTS, 8))
        return builder.or_(builder.and_(low, constant(INTS, 0xFFFF)), builder.shl(high, constant(INTS, 16)))

    def twice(self, zero_point: ir.Value) -> ir.Value:
        """z = zero_point - 128 in the lower and 256·z in the upper half of every lane."""
        builder = self.e.builder
        z = builder.sub(zero_point, ir.Constant(I32, 128))
        both = builder.or_(builder.and_(z, ir.Constant(I32, 0xFFFF)), builder.shl(z, ir.Constant(I32, 24)))
        return self.e.splat(both, LANES)

    def row(
        self, place: list[ir.Value], stride: ir.Value, write: Callable[[ir.Value, ir.Value, int], None]
    ) -> list[ir.Value]:
        """One row's results through `write(y, where, vector)`; `place` is where its sums, words and results are."""
        e, builder = self.e, self.e.builder
        sums, scale, zero_point, corner = place
        row_scale = e.splat(e.load(F32, scale, 4), LANES)
        zeros = [self.twice(z) for z in byte_planes(e, e.load(I32, zero_point, 4), self.planes)]
        for v in range(VECTORS):
            exact = []
            for plane, zero in enumerate(zeros):
                place_of_sum = e.at(sums, SUM_STRIDE * ROWS * plane + ROW_BYTES * v)
                total = builder.add(e.load(INTS, place_of_sum, ROW_BYTES), self.base[v])
                exact.append(e.call("llvm.x86.avx512.vpdpwssd.512", INTS, [total, zero, self.halves[v]]))
            scaled = builder.fmul(joined(e, exact), builder.fmul(row_scale, self.factor[v]))
            write(builder.fadd(scaled, self.bias[v]), e.at(corner, ROW_BYTES * v), v)
        return [e.at(sums, SUM_STRIDE), e.at(scale, 4), e.at(zero_point, 4), e.at(corner, stride)]


def convert_function(module: ir.Module, isa: Any, planes: int = 1) -> ir.Function:
    """void convert(x, k, scale, zero_point, target): a row to bytes, ROW_BYTES of them every TILE_BYTES.

    Values as quantize/emit.py makes them; what a step has beyond k is some byte. With 2 planes, of 16 bits, high bytes
    go to the tile at `target` and low bytes to the one behind it.
    """
    arguments = [BYTES, I64, BYTES, BYTES, BYTES]
    name = f"dynq_convert_tiles{'_x16' if planes == 2 else ''}__{isa.name}"
    function, fresh = internal_function(module, name, VOID, arguments)
    if not fresh:
        return function
    x, k, scale, zero_point, target = function.args
    builder = ir.IRBuilder(function.append_basic_block("entry"))
    e = Emitter(builder)
    shifts = shift(e, e.load(I32, zero_point, 4))
    vectors = ROW_BYTES // LANES
    steps = builder.sdiv(builder.add(k, ir.Constant(I64, ROW_BYTES - 1)), ir.Constant(I64, ROW_BYTES))
    second = builder.mul(steps, ir.Constant(I64, TILE_BYTES))

    def convert(quotients: list[Quotient]) -> None:
        def block(state: list[ir.Value], load: Callable[[int, ir.Value], ir.Value]) -> list[ir.Value]:
            x, target = state
            values = [quantized(e, quotients[0](load(v, e.at(x, 4 * LANES * v))), shifts) for v in range(vectors)]
            for plane, bytes_ in enumerate(zip(*(clipped_planes(e, value, planes) for value in values), strict=True)):
                e.store(isa.pack_bytes(e, list(bytes_)), e.at(target, second) if plane else target, ROW_BYTES)
            return [e.at(x, 4 * ROW_BYTES), e.at(target, TILE_BYTES)]

        whole, tail = builder.sdiv(k, ir.Constant(I64, ROW_BYTES)), builder.srem(k, ir.Constant(I64, ROW_BYTES))
        state = e.repeat(whole, [x, target], lambda s: block(s, lambda v, p: e.load(FLOATS, p, 4)))
        masks = [e.first_lanes(LANES, builder.sub(tail, ir.Constant(I64, LANES * v))) for v in range(vectors)]
        some = builder.zext(builder.icmp_signed(">", tail, ir.Constant(I64, 0)), I64)
        e.repeat(some, state, lambda s: block(s, lambda v, p: e.masked_load(FLOATS, p, masks[v], 4)))

    by_quotient(e, isa, e.load(vector(F32, 1), scale, 4), convert)
    builder.ret_void()
    return function
