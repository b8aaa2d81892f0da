"""The tile: R rows of activations times weight panels of NR columns, for every instruction set and scheme.

                     NR = 2 vectors
                 ┌──────────────────┐
        weights  │ w(k,0)   w(k,1)  │   one word of k: NR × 4 bytes (KR = 4) or NR × 2 bytes (KR = 2)
                 └──────────────────┘
    a(k,0)  ▶    acc(0,0)  acc(0,1)
    a(k,1)  ▶    acc(1,0)  acc(1,1)        acc(r,v) += a(k,r) · w(k,v)      one broadcast, two dots
      …             …         …
    a(k,R-1)▶    acc(R-1,0) …

Operands, each read only forward, with one pointer:
    activations  [words][R]       4-byte words: the tile's rows for one k-word, then the next (or [words][parts][R])
    weights      [words][NR][KR]  bytes, or nibbles in pairs of words, with the scales of groups among them: panel.py
    columns      [3][NR] per panel: what the epilogue needs of each column (see `Output`)
Words are a multiple of REST (of whole groups), the panel goes on to whole steps of UNROLL; weights are zero in the
padding, so activations there do not matter.

Bounds: |Σ a·w| ≤ 255·128·K < 2^31 for K ≤ 65,793; the caller splits longer K. Register budget, asserted below:
R·2 accumulators (twice that when grouped) + 2 weight vectors + 1 broadcast + the set's temporaries.
With few rows, one accumulator each cannot hide the dot's latency. They keep CHAINS sums over interleaved k.

x of 16 bits is 256·high + low. Its bytes are two rows of the tile, so a tile has half as many rows of x:

    a    high(0) low(0) high(1) low(1) …        acc[r] = 256·acc[2r] + acc[2r+1], the zero points' bytes in each start

Both sums are within int32, as above. They are joined in float64, which holds |256·acc + acc| < 2^40 exactly: so the
conversion to float32 is the only rounding, as of the same sum in int64. (Few sets convert int64 in vectors.)

Models: XNNPACK's qd8-f32-qc8w-gemm MRx16c4-avx512vnni (one body for every height), BLIS KernelsHowTo.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum

from llvmlite import ir

from ..isa.base import VECTORS, InstructionSet
from ..isa.emitter import BYTES, F32, F64, I32, I64, VOID, Emitter, constant, internal_function, vector
from ..quantize.emit import byte_planes
from .panel import Panel
from .panel import Scheme as Scheme

#: k-words per step of the loop, and of the steps behind it (per channel, words are a multiple of that); and values of k
#: per step of a group's, so that the shortest group has no loop.
UNROLL, REST = 4, 2
GROUP_STEP = 32


class Output(Enum):
    """What the epilogue makes of the accumulators; `rows` and `columns` are its per-row and per-column words.

    DEQUANTIZED  y = float32(acc - zero_point[r]·column_sum[c]) · (scale[r]·scale[c]) + bias[c]        x of 8 or 16 bits
                 rows: float32 scale, int32 zero_point; columns: int32 -column_sum, float32 scale, float32 bias
    GROUPED      t = fma(float32(acc_g), scale_g[c], t) for all g in ascending order
                 y = (t - float32(zero_point[r])·weighted_sum[c])·scale[r] + bias[c]
                 rows: as above; columns: float32 weighted_sum, unused, float32 bias
    INTEGER      y = acc - zero_point[r]·column_sum[c] - row_sum[r]·zero_point[c]        (int32, wraps)
                 rows: int32 row_sum, int32 zero_point; columns: int32 -column_sum, int32 zero_point, unused
    """

    DEQUANTIZED = "dequantized"
    GROUPED = "grouped"
    INTEGER = "integer"


@dataclass(frozen=True)
class Near:
    """What a strip prefetches: from `ahead` on, `step` bytes a step; and the tile's rows of `out` from `corner` on."""

    ahead: ir.Value
    step: ir.Value
    corner: ir.Value
    stride: ir.Value

    #: Cache lines from `ahead` at every unrolled step.
    LINES = 4


def max_rows(isa: InstructionSet, scheme: Scheme) -> int:
    """The tallest tile of a scheme, in rows of x."""
    return isa.max_rows_grouped if scheme.group else isa.max_rows // scheme.planes


def joined(e: Emitter, sums: list[ir.Value]) -> ir.Value:
    """float32 of an exact int32 sum, or of 256·high + low, where x has two planes: one rounding."""
    builder, lanes = e.builder, sums[0].type.count
    if len(sums) == 1:
        return builder.sitofp(sums[0], vector(F32, lanes))
    high, low = (builder.sitofp(each, vector(F64, lanes)) for each in sums)
    total = builder.fadd(builder.fmul(high, constant(high.type, 256.0)), low)
    return builder.fptrunc(total, vector(F32, lanes))


class Tile:
    """Emits one strip: a tile of `rows` rows of x swept over consecutive weight panels.

    void strip(a, b, words, scale, zero_point, columns, out, out_stride, panels, panel_stride, last_columns,
               ahead, near)

    `panels` ≥ 1 weight panels, `panel_stride` bytes apart, of which the last has `last_columns` valid columns;
    `out` is the first panel's corner, `out_stride` the bytes between its rows. While it multiplies, the strip brings
    near what comes next: the lines of `out` that it is about to write, and LINES lines from `ahead` on with every
    unrolled step, `near` bytes further each time (0 and any address where there is nothing to bring).
    """

    ARGUMENTS: tuple[ir.Type, ...] = (BYTES, BYTES, I64, BYTES, BYTES, BYTES, BYTES, I64, I64, I64, I64, BYTES, I64)
    #: Vectors of columns side by side.
    vectors = VECTORS

    def __init__(self, isa: InstructionSet, scheme: Scheme, output: Output, rows: int):
        self.isa, self.scheme, self.output = isa, scheme, output
        self.results, self.rows = rows, rows * scheme.planes  # of x and out, and of the product
        self.panel = Panel(isa, scheme)
        needed = self.registers(1)
        if needed > isa.registers:
            raise ValueError(f"{self.rows} rows need {needed} registers; {isa.name} has {isa.registers}")
        self.chains = 1
        while self.rows * VECTORS * self.chains < isa.in_flight and self.may_chain(2 * self.chains):
            self.chains *= 2
        self.name = f"dynq_{scheme.name}_{output.value}_{rows}x{isa.columns}c{isa.k_per_word}__{isa.name}"

    def function(self, module: ir.Module) -> ir.Function:
        function, fresh = internal_function(module, self.name, VOID, list(self.ARGUMENTS))
        if fresh:
            self.emit(function)
        return function

    def registers(self, chains: int) -> int:
        """Vector registers in the loop: sums (and totals when grouped), two weight vectors, a broadcast."""
        sums = self.rows * VECTORS * (chains + (1 if self.scheme.group else 0))
        return sums + VECTORS + 1 + self.isa.temporaries

    def may_chain(self, chains: int) -> bool:
        """Whether so many sums per accumulator pay: within a group they are folded every time."""
        if not self.scheme.group:
            return chains <= UNROLL
        words = self.scheme.group // self.isa.k_per_word
        zero_points = 2 * VECTORS if self.scheme.zero_points else 0
        return words >= chains * UNROLL and self.registers(chains) + zero_points <= self.isa.registers

    # -- structure ------------------------------------------------------------------------------
    def emit(self, function: ir.Function) -> None:
        builder = ir.IRBuilder(function.append_basic_block("entry"))
        e = Emitter(builder)
        a, b, words, scale, zero_point, columns, out, stride, panels, panel_stride, last, ahead, near = function.args
        nr = self.isa.columns
        slab = builder.sdiv(panel_stride, ir.Constant(I64, VECTORS)) if self.isa.slab else None

        def panel(state: list[ir.Value]) -> list[ir.Value]:
            weights, column_words, corner, left, ahead = state
            if self.scheme.group:
                sums = self.grouped_sums(e, a, weights, words)
            else:
                start = self.start(e, zero_point, column_words)
                following = Near(ahead, near, corner, stride) if self.chains == 1 else None
                sums, _, _, reached = self.sums(e, a, weights, words, start=start, near=following, slab=slab)
                ahead = reached if following else ahead
            is_last = builder.icmp_signed("==", left, ir.Constant(I64, 1))
            valid = builder.select(is_last, last, ir.Constant(I64, nr))
            result = self.epilogue(e, sums, scale, zero_point, column_words)
            self.write(e, result, corner, stride, valid)
            return [
                e.at(weights, panel_stride),
                e.at(column_words, 3 * nr * 4),
                e.at(corner, nr * 4),
                builder.sub(left, ir.Constant(I64, 1)),
                ahead,
            ]

        e.loop(panels, [b, columns, out, panels, ahead], panel)
        builder.ret_void()

    def start(self, e: Emitter, zero_point: ir.Value, columns: ir.Value) -> list[ir.Value]:
        """(shift - zero_point[r])·column_sum[c]: where sums start, so that nothing of it is left for the epilogue."""
        minus = self.column(e, self.isa.accumulator, columns, 0)
        shift = constant(self.isa.accumulator, self.isa.shift)
        zeros = (e.builder.sub(zero, shift) for r in range(self.results) for zero in self.zeros_of(e, zero_point, r))
        return [e.builder.mul(zero, m) for zero in zeros for m in minus]

    def zeros_of(self, e: Emitter, zero_point: ir.Value, r: int) -> list[ir.Value]:
        """Of the rows of the product that row r of x is, each in every lane."""
        zero = self.row(e, I32, zero_point, r)
        return byte_planes(e, zero, self.scheme.planes)

    def sums(
        self,
        e: Emitter,
        a: ir.Value,
        b: ir.Value,
        words: ir.Value | int,
        *,
        start: list[ir.Value] | None = None,
        near: Near | None = None,
        zeros: list[ir.Value] | None = None,
        slab: ir.Value | None = None,
    ) -> tuple[list[list[ir.Value]], ir.Value, ir.Value, ir.Value]:
        """Exact integer sums over `words` k-words (an int: of a group), and where the streams stand then."""
        rows, isa, panel, builder = self.rows, self.isa, self.panel, e.builder
        width = rows * VECTORS
        zero = constant(isa.accumulator, 0)
        unroll = GROUP_STEP // isa.k_per_word if isinstance(words, int) else UNROLL

        def step(state: list[ir.Value], count: int) -> list[ir.Value]:
            a, b, ahead, edge, *acc = state
            panel.fetch_ahead(e, b, panel.bytes_of(count), rows)
            if near:
                for line in range(near.LINES if count == unroll else 0):
                    e.prefetch(e.at(ahead, 64 * line))
                ahead = e.at(ahead, near.step)
                for line in range(VECTORS):
                    e.prefetch(e.at(edge, 4 * isa.lanes * line), write=True)
                edge = builder.select(builder.icmp_unsigned("==", edge, bottom), edge, e.at(edge, near.stride))
            for u, weights in enumerate(panel.words(e, b, count, zeros, slab)):
                first = (u % self.chains) * width
                for r in range(rows):
                    places = ((u * isa.parts + part) * rows + r for part in range(isa.parts))
                    word = isa.activations(e, *(e.load(I32, e.at(a, 4 * place), 4) for place in places))
                    for v in range(VECTORS):
                        i = first + r * VECTORS + v
                        acc[i] = isa.dot(e, acc[i], word, weights[v])
            return [e.at(a, count * isa.parts * rows * 4), e.at(b, panel.bytes_of(count)), ahead, edge, *acc]

        ahead, edge = (near.ahead, near.corner) if near else (a, a)
        if near:
            bottom = e.at(edge, builder.mul(near.stride, ir.Constant(I64, self.results - 1)))
        # Few rows stream: their dots would wait for `start`, which is read from a place of its own.
        first = start if start and self.chains == 1 else [zero] * width
        state = [a, b, ahead, edge, *first, *[zero] * ((self.chains - 1) * width)]
        if isinstance(words, int):  # whole steps only
            steps = words // unroll
            whole = ir.Constant(I64, steps)
            state = step(state, unroll) if steps == 1 else e.loop(whole, state, lambda s: step(s, unroll))
        elif self.chains > 1:  # a second loop would break the stream: 1 row took 1.7 times as long
            steps = builder.sdiv(builder.add(words, ir.Constant(I64, UNROLL - 1)), ir.Constant(I64, UNROLL))
            state = e.loop(steps, state, lambda s: step(s, UNROLL))
        else:
            state = e.repeat(builder.sdiv(words, ir.Constant(I64, UNROLL)), state, lambda s: step(s, UNROLL))
            rest = builder.sdiv(builder.srem(words, ir.Constant(I64, UNROLL)), ir.Constant(I64, REST))
            state = e.repeat(rest, state, lambda s: step(s, REST))
        a, b, ahead, _, *acc = state
        if self.chains > 1 and start:
            acc += start
        while len(acc) > width:  # fold the chains
            last = acc[-width:]
            acc = acc[:-width]
            acc[-width:] = [builder.add(x, y) for x, y in zip(acc[-width:], last, strict=True)]
        return [acc[r * VECTORS : (r + 1) * VECTORS] for r in range(rows)], a, b, ahead

    def grouped_sums(self, e: Emitter, a: ir.Value, b: ir.Value, words: ir.Value) -> list[list[ir.Value]]:
        """t = fma(float32(acc_g), scale_g, t) for the groups in ascending order.

        One rounding and one instruction less than a product and a sum: measured on Zen 5, a tile of 6 rows runs 14 %
        faster, one of 1 row twice as fast. The conversion is exact.
        """
        isa, panel, builder = self.isa, self.panel, e.builder
        group_words = self.scheme.group // isa.k_per_word
        floats = vector(F32, isa.lanes)
        zero = constant(floats, 0.0)
        groups = builder.sdiv(words, ir.Constant(I64, group_words))
        scale_bytes = self.scheme.scale_bytes * isa.columns
        block = panel.bytes_of(group_words) + scale_bytes
        z = e.at(b, builder.mul(groups, ir.Constant(I64, block)))

        def group(state: list[ir.Value]) -> list[ir.Value]:
            a, b, z, *totals = state
            zeros = panel.zero_points(e, z) if self.scheme.zero_points else None
            acc, a, b, _ = self.sums(e, a, b, group_words, zeros=zeros)
            panel.fetch_ahead(e, b, scale_bytes, self.rows)
            scales = panel.scales(e, b)
            for r in range(self.rows):
                for v in range(VECTORS):
                    i = r * VECTORS + v
                    totals[i] = e.fma(builder.sitofp(acc[r][v], floats), scales[v], totals[i])
            return [a, e.at(b, scale_bytes), e.at(z, isa.columns), *totals]

        _, _, _, *totals = e.loop(groups, [a, b, z] + [zero] * (self.rows * VECTORS), group)
        return [totals[r * VECTORS : (r + 1) * VECTORS] for r in range(self.rows)]

    # -- epilogue -------------------------------------------------------------------------------
    def column(self, e: Emitter, kind: ir.VectorType, columns: ir.Value, which: int) -> list[ir.Value]:
        """One of the three words of every column."""
        lanes = self.isa.lanes
        start = which * self.isa.columns
        return [e.load(kind, e.at(columns, 4 * (start + v * lanes)), 4 * lanes) for v in range(VECTORS)]

    def row(self, e: Emitter, kind: ir.Type, base: ir.Value, r: int) -> ir.Value:
        """A row's word in every lane."""
        return e.splat(e.load(kind, e.at(base, 4 * r), 4), self.isa.lanes)

    def epilogue(
        self, e: Emitter, sums: list, scale: ir.Value, zero_point: ir.Value, columns: ir.Value
    ) -> Callable[[int, int], ir.Value]:
        """A function that emits the result of row r, vector v."""
        builder = e.builder
        integers, floats = self.isa.accumulator, vector(F32, self.isa.lanes)

        def dequantized(r: int, v: int) -> ir.Value:
            factor = builder.fmul(self.row(e, F32, scale, r), second[v])
            planes = self.scheme.planes
            total = joined(e, [sums[planes * r + plane][v] for plane in range(planes)])
            return builder.fadd(builder.fmul(total, factor), third[v])

        def grouped(r: int, v: int) -> ir.Value:
            shift = builder.fmul(builder.sitofp(self.row(e, I32, zero_point, r), floats), first[v])
            return builder.fadd(builder.fmul(builder.fsub(sums[r][v], shift), self.row(e, F32, scale, r)), third[v])

        def integer(r: int, v: int) -> ir.Value:
            return builder.sub(sums[r][v], builder.mul(self.row(e, I32, scale, r), second[v]))

        kinds = {
            Output.DEQUANTIZED: (integers, floats, floats, dequantized),
            Output.GROUPED: (floats, floats, floats, grouped),
            Output.INTEGER: (integers, integers, integers, integer),
        }
        *kind, formula = kinds[self.output]
        first, second, third = (self.column(e, k, columns, i) for i, k in enumerate(kind))
        return formula

    def write(
        self, e: Emitter, result: Callable[[int, int], ir.Value], corner: ir.Value, stride: ir.Value, valid: ir.Value
    ) -> None:
        """Plain stores where the panel is whole; the last panel's missing columns are never touched.

        A row is stored as soon as it is finished: its registers are free for the next.
        """
        isa, builder, vectors = self.isa, e.builder, range(self.vectors)
        whole = builder.icmp_signed("==", valid, ir.Constant(I64, isa.lanes * self.vectors))
        with builder.if_else(whole, likely=True) as (then, otherwise):
            with then:
                start = corner
                for r in range(self.results):
                    for v in vectors:
                        e.store(result(r, v), e.at(start, 4 * isa.lanes * v), 4)
                    start = e.at(start, stride)
            with otherwise:
                for v in vectors:
                    mask = e.first_lanes(isa.lanes, builder.sub(valid, ir.Constant(I64, v * isa.lanes)))
                    start = corner
                    for r in range(self.results):
                        e.masked_store(result(r, v), e.at(start, 4 * isa.lanes * v), mask, 4)
                        start = e.at(start, stride)
