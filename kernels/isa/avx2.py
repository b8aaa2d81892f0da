"""AVX2 without VNNI: exact products in 16 bits, in two ways.

``vpmaddubsw`` adds two u8×s8 products in *saturating* 16 bits: 255·127·2 = 64,770 > 32,767, the peers' most
reported wrong answer. It is exact when the operands are made smaller:

SIGNED, for linear weights of one scale per channel or tensor, which are within ±127 (4 bit: 16·±7)

    x' = x - 128, in two words: x' (signed) and |x'| (0 … 128, unsigned)
    vpsignb    s = w·sign(x')               LLVM  llvm.x86.avx2.psign.b        (wrong for w = -128 only)
    vpmaddubsw p = |x'|·s, summed in pairs  LLVM  llvm.x86.avx2.pmadd.ub.sw    |p| ≤ 2·128·127 = 32,512: never saturates
    vpmaddwd   q = p·1, summed in pairs     LLVM  llvm.x86.avx2.pmadd.wd
    vpaddd     acc += q                     Σ x·w = Σ x'·w + 128·Σ w: the tile starts at (128 - zero_point)·Σ w

    5×2 accumulators + 2 weight vectors + x' + |x'| + product + ones = 16 registers.

AVX2, for groups (a group's float32 sum must not contain the shift), matmul_integer and long K (weights of -128)

    vpmaddwd p, a, w        p[i] = a[2i]·w[2i] + a[2i+1]·w[2i+1], |p| ≤ 2·255·128
    vpaddd   acc += p       activations are stored as 16-bit values, weights are widened (vpmovsxbw) once per load

    6×2 accumulators + 2 weight vectors + 1 activation + 1 product = 16 registers.

Vector instructions for 32 products, and products in L1 relative to the register loop of vpmaddwd + vpaddd (Zen 5):

                     multiplier   others                    all     measured
    SIGNED 5×2       2            vpsignb, vpaddd           4       98 %
    AVX2 6×2         2            2 vpaddd, 1/3 vpmovsxbw   4 1/3   92 %
    7 bits, inexact  2            vpaddd                    3       113 % (fbgemm)

On a CPU with two multipliers, two multiplications for 32 products limit all three to 32 products a cycle. With four
vector pipes, four instructions use all slots of that cycle, and three leave one free. So both exact ways are at the
limit of their instructions. Ways with fewer instructions need weights of 16 bits in memory. (Winograd's inner product
halves the multiplications, but not the instructions; Strassen's has 7/8 of both.)

Sums are hidden from LLVM after every dot. Otherwise it reassociates acc + p + q to acc + (p + q), keeps the products
and spills the sums: 82 % instead of the 92 % above.
"""

from __future__ import annotations

from dataclasses import dataclass

from llvmlite import ir

from .base import InstructionSet
from .emitter import I16, Emitter, constant, vector
from .x86 import half_words, row_bytes, shifted_words


@dataclass(frozen=True)
class Avx2(InstructionSet):
    """Products of 16-bit values: any 8-bit weights."""

    def form(self, operation: str, group: int = 0, bits: int = 8) -> InstructionSet:
        return SIGNED if operation in ("linear", "matmul") and not group else self

    def swapped(self) -> InstructionSet:
        return self.turned_into(SwappedAvx2)

    def weights(self, e: Emitter, packed: ir.Value) -> ir.Value:
        return e.builder.sext(packed, vector(I16, 2 * self.lanes))

    def activations(self, e: Emitter, *words: ir.Value) -> ir.Value:
        return e.builder.bitcast(e.splat(words[0], self.lanes), vector(I16, 2 * self.lanes))

    def dot(self, e: Emitter, acc: ir.Value, a: ir.Value, w: ir.Value) -> ir.Value:
        return e.opaque(e.builder.add(acc, e.call("llvm.x86.avx2.pmadd.wd", acc.type, [a, w])))

    def pack_words(self, e: Emitter, values: list[ir.Value]) -> list[ir.Value]:
        return half_words(e, values, self.lanes)

    def pack_bytes(self, e: Emitter, values: list[ir.Value]) -> ir.Value:
        return row_bytes(e, values, self.lanes)


class SwappedAvx2(Avx2):
    """vpmaddwd of signed halves: patches are widened without a sign."""

    def weights(self, e: Emitter, packed: ir.Value) -> ir.Value:
        return e.builder.zext(packed, vector(I16, 2 * self.lanes))


@dataclass(frozen=True)
class Avx2Signed(InstructionSet):
    """Products of bytes with the activations' signs on the weights: weights within ±127."""

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
    in_flight=4,
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
    in_flight=4,
)
