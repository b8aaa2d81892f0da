"""Instruction sets with ``vpdpbusd``: four u8×s8 products and an add per 32-bit lane, exact.

    vpdpbusd acc, a, w      LLVM  llvm.x86.avx512.vpdpbusd.{256,512}, declared with i32 lanes: old LLVMs have
                            this form, and new ones upgrade it
                            acc[i] += Σ_{j<4} int32(uint8 a[4i+j]) · int32(int8 w[4i+j])     (wraps, never saturates)

* ``avx512vnni``  512 bit, 32 registers. 14×2 accumulators + 2 weight vectors + 1 activation = 31.
* ``avxvnni``     256 bit, 16 registers, VEX encoded (or EVEX where the CPU has AVX512VL+VNNI instead).
                  6×2 accumulators + 2 + 1 = 15.

Reference: Intel SDM volume 2C, VPDPBUSD.
"""

from __future__ import annotations

from dataclasses import dataclass

from llvmlite import ir

from .base import InstructionSet
from .emitter import Emitter
from .x86 import byte_words, row_bytes


@dataclass(frozen=True)
class Vnni(InstructionSet):
    byte_dot: bool = True

    def swapped(self) -> InstructionSet:
        return self.turned_into(SwappedVnni)

    def weights(self, e: Emitter, packed: ir.Value) -> ir.Value:
        return e.builder.bitcast(packed, self.accumulator)

    def activations(self, e: Emitter, *words: ir.Value) -> ir.Value:
        return e.splat(words[0], self.lanes)

    def dot(self, e: Emitter, acc: ir.Value, a: ir.Value, w: ir.Value) -> ir.Value:
        return e.call(f"llvm.x86.avx512.vpdpbusd.{32 * self.lanes}", acc.type, [acc, a, w])

    def pack_words(self, e: Emitter, values: list[ir.Value]) -> list[ir.Value]:
        return byte_words(e, values, self.lanes)

    def pack_bytes(self, e: Emitter, values: list[ir.Value]) -> ir.Value:
        return row_bytes(e, values, self.lanes)


class SwappedVnni(Vnni):
    """vpdpbusd with the weights as its signed operand."""

    def dot(self, e: Emitter, acc: ir.Value, a: ir.Value, w: ir.Value) -> ir.Value:
        return super().dot(e, acc, w, a)


AVX512VNNI = Vnni(
    name="avx512vnni",
    features=(("avx512f", "avx512bw", "avx512vl", "avx512vnni"),),
    lanes=16,
    k_per_word=4,
    registers=32,
    max_rows=14,
    max_rows_grouped=6,
    fused=True,
)

AVXVNNI = Vnni(
    name="avxvnni",
    features=(("avx2", "avxvnni"), ("avx512f", "avx512bw", "avx512vl", "avx512vnni")),
    lanes=8,
    k_per_word=4,
    registers=16,
    max_rows=6,
    max_rows_grouped=3,
    fused=True,
)
