"""How a tile reads a weight panel: k-words as dot operands, the scales and zero points of groups.

    8 bit        [words][NR][KR] int8; or in slabs, a vector of columns each: [VECTORS][words][NR / VECTORS][KR]
    4 bit        [words/2][NR][KR] bytes: low nibble = even word, high nibble = odd word, two's complement
    grouped      after the words of each group, NR scales as upper halves of float32: the word of lane i holds that of
                 column i in its lower half, that of column lanes + i in its upper half. Or NR whole float32: scales of
                 weights that others quantized
    zero points  nibbles 0 … 15; behind all groups, NR bytes of zero points for each

A 4-bit weight w enters the product as the byte 16·w (a nibble shifted or masked into the high half: no subtraction, no
sign extension). The scale compensates this: the packer stores scale/16 and 16·column sum. With zero points it enters as
the byte nibble - zero point (-15 … 15), and its scale as it is.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from llvmlite import ir

from ..isa.base import VECTORS, InstructionSet
from ..isa.emitter import F32, I8, I64, Emitter, constant, vector

#: How far ahead weights are prefetched, in bytes; and a cache line.
AHEAD = 8192
LINE = 64


@dataclass(frozen=True)
class Scheme:
    """How weights are stored: `bits` 8 or 4, the length of a group along K (0: one scale for all of K), and whether
    groups (of 4 bits) have zero points; the bits of x, 8 or (without groups, of 8 bits) 16; and whether scales of
    groups are float32, not bfloat16."""

    bits: int = 8
    group: int = 0
    zero_points: bool = False
    x_bits: int = 8
    float_scales: bool = False

    @property
    def name(self) -> str:
        if self.group:
            return f"qb{self.bits}w{self.group}{'z' * self.zero_points}{'f' * self.float_scales}"
        return f"{'x16_' if self.planes == 2 else ''}qc{self.bits}w"

    @property
    def scale_bytes(self) -> int:
        """Of a group's scale."""
        return 4 if self.float_scales else 2

    @property
    def planes(self) -> int:
        """Bytes of an integer of x: each is a row of the product."""
        return self.x_bits // 8


class Panel:
    """The verbs by which a tile reads one panel of an instruction set and scheme."""

    def __init__(self, isa: InstructionSet, scheme: Scheme):
        self.isa, self.scheme = isa, scheme

    def bytes_of(self, words: int) -> int:
        """Bytes of that many k-words of a panel, or of each of its slabs."""
        columns = self.isa.slab or self.isa.columns
        return words * columns * self.isa.k_per_word * self.scheme.bits // 8

    def words(
        self, e: Emitter, b: ir.Value, count: int, zeros: list[ir.Value] | None, slab: ir.Value | None
    ) -> Iterator[list[ir.Value]]:
        """The dot operands of `count` consecutive k-words, loaded as they are consumed; `slab`: bytes of a slab."""
        isa = self.isa
        vector_bytes = isa.lanes * isa.k_per_word
        if isa.slab:
            starts = [e.at(b, e.builder.mul(slab, ir.Constant(I64, v))) for v in range(VECTORS)]
        else:
            starts = [e.at(b, v * vector_bytes) for v in range(VECTORS)]

        def load(word: int) -> list[ir.Value]:
            pointers = (e.at(start, self.bytes_of(8 // self.scheme.bits * word)) for start in starts)
            return [e.load(isa.packed_weights, pointer, vector_bytes) for pointer in pointers]

        if self.scheme.bits == 8:
            for word in range(count):
                yield [isa.weights(e, packed) for packed in load(word)]
            return
        builder = e.builder
        four, low = constant(isa.packed_weights, 4), constant(isa.packed_weights, 15)
        high = constant(isa.packed_weights, 0xF0 - 256)
        for pair in range(count // 2):
            nibbles = load(pair)
            if zeros:
                even = [builder.sub(builder.and_(n, low), z) for n, z in zip(nibbles, zeros, strict=True)]
                odd = [builder.sub(builder.lshr(n, four), z) for n, z in zip(nibbles, zeros, strict=True)]
            else:
                even = [builder.shl(n, four) for n in nibbles]
                odd = [builder.and_(n, high) for n in nibbles]
            yield [isa.weights(e, n) for n in even]
            yield [isa.weights(e, n) for n in odd]

    def scales(self, e: Emitter, b: ir.Value) -> list[ir.Value]:
        """A group's float32 scales: two vectors, or both from one of upper halves."""
        integers, builder = self.isa.accumulator, e.builder
        if self.scheme.float_scales:
            kind, size = vector(F32, self.isa.lanes), 4 * self.isa.lanes
            return [e.load(kind, e.at(b, size * v), 4) for v in range(VECTORS)]
        both = e.load(integers, b, 4 * self.isa.lanes)
        halves = builder.shl(both, constant(integers, 16)), builder.and_(both, constant(integers, -(1 << 16)))
        return [builder.bitcast(half, vector(F32, self.isa.lanes)) for half in halves]

    def zero_points(self, e: Emitter, z: ir.Value) -> list[ir.Value]:
        """Each column's zero point in every byte of its lane."""
        isa = self.isa
        lanes = [lane for lane in range(isa.lanes) for _ in range(isa.k_per_word)]
        parts = [e.load(vector(I8, isa.lanes), e.at(z, isa.lanes * v), isa.lanes) for v in range(VECTORS)]
        return [e.shuffle(part, ir.Constant(part.type, ir.Undefined), lanes) for part in parts]

    def fetch_ahead(self, e: Emitter, b: ir.Value, count: int, rows: int) -> None:
        """Prefetch what lies AHEAD of `count` bytes of weights, for a tile of `rows` rows.

        Beyond L2 a tile of many rows would wait for every line: the dots of one line fill what the CPU looks ahead,
        and its own prefetching comes late. Measured on Zen 5 with weights in L3 (4096×4096): 14 rows 8 bit 1.5 times as
        fast, 6 rows in groups of 32 4 bit 1.3 times, nothing lost in L2. One row of 4 bits from memory: 1.05 times in
        groups of 32, 1.4 times in groups of 128. With fewer dots a line it costs up to a tenth.
        """
        if rows * 8 // self.scheme.bits >= 2:
            for line in range(0, count, LINE):
                e.prefetch(e.at(b, AHEAD + line))
