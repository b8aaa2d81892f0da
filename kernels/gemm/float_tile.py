"""The float32 tile: R rows times panels of NR columns; every sum is one chain of fused multiply-adds.

    y[r, c] = fma(a[r, K-1], b[K-1, c], … fma(a[r, 1], b[1, c], fma(a[r, 0], b[0, c], start[r, c])) …)

The drawing of tile.py applies, with one k in a word. Operands:

    a        [K][R]              the tile's rows, packed; or up to STRIDED rows where they are, with any strides
    b        [K][NR] a panel     rows of NR floats, `word_stride` bytes apart; panels, `panel_stride` bytes apart. So it
                                 is packed ([panels][K][NR]), or a matrix with contiguous rows in place
    start    what sums begin with, like out, `start_stride` bytes between rows: a bias for all rows (0), or out itself,
             to go on with more of K; NULL is 0

Chains are neither split nor padded. So the bits depend on the order of k alone: not on instruction set, threads, tiles,
packing, or the blocks that K is cut into. A few rows are too few chains to hide the latency of an fma. They take
several panels at a time.

Bounds: nothing is read beyond K and the rows of a; of b and start, whole vectors of the last panel of b, if it is
packed, and no column beyond the last of start and out. |y - exact| ≤ K·u / (1 - K·u) · (Σ |a|·|b| + |start|) with
u = 2^-24, as long as nothing underflows.

Models: BLIS (one tile, K in blocks whose sums continue in C), XNNPACK's f32-gemm.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache, partial

from llvmlite import ir
from numba.extending import intrinsic

from ..isa.base import VECTORS, InstructionSet
from ..isa.emitter import BYTES, I32, I64, Emitter
from ..isa.float32 import Float32
from ..isa.intrinsics import switch
from .panel import LINE
from .tile import UNROLL, Output, Scheme, Tile

#: Rows up to which a tile can read a in place: each has an address of its own, and registers for more would be spilled.
STRIDED = 8
#: How many words ahead a tile of several rows prefetches b.
AHEAD = 64


class FloatTile(Tile):
    """Emits one strip: a tile of `rows` rows swept over consecutive panels.

    void strip(a, b, word_stride, words, start, start_stride, out, out_stride, panels, panel_stride, last)

    `words` (K) may be 0; of `panels` ≥ 1 panels the last has `last` valid columns. A tile of fewer `vectors` takes the
    first columns of one panel.
    """

    ARGUMENTS: tuple[ir.Type, ...] = (BYTES, BYTES, I64, I64, BYTES, I64, BYTES, I64, I64, I64, I64)

    def __init__(self, isa: InstructionSet, rows: int, vectors: int = VECTORS):
        super().__init__(isa, Scheme(), Output.DEQUANTIZED, rows)
        self.vectors, self.columns = vectors, vectors * isa.lanes
        self.name = f"dynq_f32_{rows}x{self.columns}__{isa.name}"
        #: Panels at a time; the vectors of b that one row uses need no registers.
        self.across = max(1, -(-isa.in_flight // (rows * vectors)))
        while rows > 1 and self.across > 1 and (rows + 1) * vectors * self.across + 1 > isa.registers:
            self.across -= 1

    def emit(self, function: ir.Function) -> None:
        builder = ir.IRBuilder(function.append_basic_block("entry"))
        e = Emitter(builder)
        b, start, out, panels = (function.args[i] for i in (1, 4, 6, 8))
        # Even a load of no lane is slow where no memory is: 25 ns each.
        there = builder.select(builder.icmp_unsigned("==", start, ir.Constant(BYTES, None)), out, start)
        state = [b, there, out, panels]
        for across in sorted({self.across, 1}, reverse=True):
            times = builder.sdiv(state[-1], ir.Constant(I64, across))
            state = e.repeat(times, state, partial(self.panels, e, function.args, across))
        builder.ret_void()

    def panels(self, e: Emitter, args: tuple, across: int, state: list[ir.Value]) -> list[ir.Value]:
        """`across` neighbouring panels: start, multiply, store."""
        a, _, word_stride, words, given, start_stride, _, stride, _, panel_stride, last, *_ = args
        b, start, corner, left = state
        builder, nr = e.builder, self.columns
        streams, valid = [b], []
        for i in range(across):
            streams.append(e.at(streams[-1], panel_stride))
            is_last = builder.icmp_signed("==", left, ir.Constant(I64, i + 1))
            valid.append(builder.select(is_last, last, ir.Constant(I64, nr)))
        following = streams.pop()
        none = builder.icmp_unsigned("==", given, ir.Constant(BYTES, None))
        there = [builder.select(none, ir.Constant(I64, 0), count) for count in valid]
        acc = self.first(e, start, start_stride, there)
        acc = self.products(e, a, streams, word_stride, words, corner, stride, acc)
        width = across * self.vectors
        for i, count in enumerate(valid):
            own = [acc[r * width + i * self.vectors :][: self.vectors] for r in range(self.rows)]
            self.write(e, partial(lambda sums, r, v: sums[r][v], own), e.at(corner, 4 * nr * i), stride, count)
        far = 4 * nr * across
        return [following, e.at(start, far), e.at(corner, far), builder.sub(left, ir.Constant(I64, across))]

    def first(self, e: Emitter, start: ir.Value, stride: ir.Value, there: list[ir.Value]) -> list[ir.Value]:
        """What the sums begin with, [R][across][vectors]; 0 in columns of a panel that are not `there`."""
        isa, masks = self.isa, []
        for count in there:
            for v in range(self.vectors):
                masks.append(e.first_lanes(isa.lanes, e.builder.sub(count, ir.Constant(I64, v * isa.lanes))))
        sums = []
        for _ in range(self.rows):
            for i, mask in enumerate(masks):
                sums.append(e.masked_load(isa.accumulator, e.at(start, 4 * isa.lanes * i), mask, 4))
            start = e.at(start, stride)
        return sums

    def row_place(self, e: Emitter, a: ir.Value, r: int) -> ir.Value:
        """Where the value of row r is, of the word at `a`."""
        return e.at(a, 4 * r)

    def next_word(self, e: Emitter, a: ir.Value) -> ir.Value:
        return e.at(a, 4 * self.rows)

    def products(
        self,
        e: Emitter,
        a: ir.Value,
        streams: list[ir.Value],
        word_stride: ir.Value,
        words: ir.Value,
        corner: ir.Value,
        stride: ir.Value,
        acc: list[ir.Value],
    ) -> list[ir.Value]:
        """The sums after all words; on the way, the lines of out that will be written are brought near."""
        rows, isa, builder, count = self.rows, self.isa, e.builder, len(streams)
        width, tall = count * self.vectors, self.across == 1
        bottom = e.at(corner, builder.mul(stride, ir.Constant(I64, rows - 1)))
        ahead = builder.mul(word_stride, ir.Constant(I64, AHEAD))

        def step(state: list[ir.Value], unroll: int) -> list[ir.Value]:
            a, edge, *rest = state
            streams, acc = rest[:count], rest[count:]
            if tall and unroll > 1:
                for line in range(0, 4 * self.columns, LINE):
                    e.prefetch(e.at(edge, line), write=True)
                edge = builder.select(builder.icmp_unsigned("==", edge, bottom), edge, e.at(edge, stride))
            for _ in range(unroll):
                loads = [e.at(stream, 4 * isa.lanes * v) for stream in streams for v in range(self.vectors)]
                weights = [e.load(isa.packed_weights, pointer, 4) for pointer in loads]
                for r in range(rows):
                    word = isa.activations(e, e.load(I32, self.row_place(e, a, r), 4))
                    for i, weight in enumerate(weights):
                        acc[r * width + i] = isa.dot(e, acc[r * width + i], word, weight)
                if tall:
                    for line in range(0, 4 * self.columns, LINE):
                        e.prefetch(e.at(e.at(streams[0], ahead), line))
                a, streams = self.next_word(e, a), [e.at(stream, word_stride) for stream in streams]
            return [a, edge, *streams, *acc]

        state = [a, corner, *streams, *acc]
        state = e.repeat(builder.sdiv(words, ir.Constant(I64, UNROLL)), state, lambda s: step(s, UNROLL))
        state = e.repeat(builder.srem(words, ir.Constant(I64, UNROLL)), state, lambda s: step(s, 1))
        return state[2 + count :]


class StridedTile(FloatTile):
    """The same with rows of a in place, `a_row` bytes apart, values of k `a_column` apart: two more arguments."""

    ARGUMENTS = (*FloatTile.ARGUMENTS, I64, I64)

    def __init__(self, isa: InstructionSet, rows: int):
        super().__init__(isa, rows)
        self.name = f"dynq_f32_{rows}x{isa.columns}_strided__{isa.name}"

    def emit(self, function: ir.Function) -> None:
        *_, a_row, self.a_column = function.args
        e = Emitter(ir.IRBuilder(function.append_basic_block("rows")))
        # Opaque: LLVM would compute addresses from each other, load all rows before it multiplies, and spill.
        self.offsets = [e.opaque(e.builder.mul(a_row, ir.Constant(I64, r))) for r in range(self.rows)]
        super().emit(function)
        e.builder.branch(function.blocks[1])

    def row_place(self, e: Emitter, a: ir.Value, r: int) -> ir.Value:
        return e.at(a, self.offsets[r])

    def next_word(self, e: Emitter, a: ir.Value) -> ir.Value:
        return e.opaque(e.at(a, self.a_column))


@cache
def packed_strip(isa: Float32) -> Callable:
    """``strip(rows, <FloatTile.ARGUMENTS>)``: the tile of that height (STRIDED + 1 … max_rows) over some panels."""
    functions = {height: FloatTile(isa, height).function for height in range(STRIDED + 1, isa.max_rows + 1)}

    @intrinsic
    def strip(
        typingctx, rows, a, b, word_stride, words, start, start_stride, out, out_stride, panels, panel_stride, last
    ):  # fmt: skip
        return switch(functions, list(FloatTile.ARGUMENTS))

    return strip


@cache
def strided_strip(isa: Float32) -> Callable:
    """``strip(rows, <StridedTile.ARGUMENTS>)``: the same for 1 … STRIDED rows in place."""
    functions = {height: StridedTile(isa, height).function for height in range(1, min(STRIDED, isa.max_rows) + 1)}

    @intrinsic
    def strip(
        typingctx, rows, a, b, word_stride, words, start, start_stride, out, out_stride, panels, panel_stride, last,
        a_row, a_column,
    ):  # fmt: skip
        return switch(functions, list(StridedTile.ARGUMENTS))

    return strip
