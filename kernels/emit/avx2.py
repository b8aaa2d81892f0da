"""AVX2 without VNNI: exact products in 16 bits.

    vpmaddwd p, a, w        LLVM  llvm.x86.avx2.pmadd.wd
                            p[i] = int32(a[2i])·int32(w[2i]) + int32(a[2i+1])·int32(w[2i+1])
                            (|p| ≤ 2·255·128: exact; only two pairs of -32768 could wrap)

The shorter ``vpmaddubsw`` adds two u8×s8 products in *saturating* 16 bits: 255·127·2 = 64,770 > 32,767, the
peers' most reported wrong answer. Activations are therefore packed as 16-bit values (two to a word, so a
broadcast needs no conversion) and weights, bytes in memory, are sign-extended once per load and shared by all
rows of the tile: two instructions for 16 products, no fewer than the sign-split form of ``vpmaddubsw`` needs
(three instructions and an add for 32), and correct for weights of -128 too.

16 registers: 6×2 accumulators + 2 weight vectors + 1 activation + 1 product = 16.
"""

from __future__ import annotations

from dataclasses import dataclass

from llvmlite import ir

from .isa import InstructionSet
from .vectors import I16, Emitter, constant, vector
from .x86 import half_words, shifted_words


@dataclass(frozen=True)
class Avx2(InstructionSet):
    def weights(self, e: Emitter, packed: ir.Value) -> ir.Value:
        return e.builder.sext(packed, vector(I16, 2 * self.lanes))

    def activations(self, e: Emitter, *words: ir.Value) -> ir.Value:
        return e.builder.bitcast(e.splat(words[0], self.lanes), vector(I16, 2 * self.lanes))

    def dot(self, e: Emitter, acc: ir.Value, a: ir.Value, w: ir.Value) -> ir.Value:
        return e.opaque(e.builder.add(acc, e.call("llvm.x86.avx2.pmadd.wd", acc.type, [a, w])))

    def pack_words(self, e: Emitter, values: list[ir.Value]) -> list[ir.Value]:
        return half_words(e, values, self.lanes)


@dataclass(frozen=True)
class Avx2Signed(InstructionSet):
    def weights(self, e: Emitter, packed: ir.Value) -> ir.Value:
        return packed

    def activations(self, e: Emitter, *words: ir.Value) -> tuple[ir.Value, ...]:
        return tuple(e.builder.bitcast(e.splat(word, self.lanes), self.packed_weights) for word in words)

    def dot(self, e: Emitter, acc: ir.Value, a: tuple[ir.Value, ...], w: ir.Value) -> ir.Value:
        shifted, size = a
        pairs = vector(I16, 2 * self.lanes)
        w = e.call("llvm.x86.avx2.psign.b", w.type, [w, shifted])
        sums = e.call("llvm.x86.avx2.pmadd.ub.sw", pairs, [size, w])
        return e.opaque(e.builder.add(acc, e.call("llvm.x86.avx2.pmadd.wd", acc.type, [sums, constant(pairs, 1)])))

    def pack_words(self, e: Emitter, values: list[ir.Value]) -> list[ir.Value]:
        return shifted_words(e, values, self.lanes)


SIGNED = Avx2Signed(
    name="avx2s",
    features=(("avx2",),),
    lanes=8,
    k_per_word=4,
    registers=16,
    max_rows=5,
    max_rows_grouped=3,
    temporaries=3,
    fused=True,
    in_flight=2,
    parts=2,
    shift=128,
)

AVX2 = Avx2(
    name="avx2",
    features=(("avx2",),),
    lanes=8,
    k_per_word=2,
    registers=16,
    max_rows=6,
    max_rows_grouped=3,
    temporaries=1,
    fused=True,
    in_flight=2,
    per_channel=SIGNED,
)
