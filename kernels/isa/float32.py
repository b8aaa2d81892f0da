"""The float32 form of an instruction set: one k in a word, and the dot is a fused multiply-add of every lane.

It is made from a set's lanes and registers alone. LLVM has the instruction wherever the target does (vfmadd231ps,
fmla), and calls C's fmaf elsewhere: the same bits. Sets of the same width share one form, and so its compiled kernels.
"""

from __future__ import annotations

from dataclasses import dataclass

from llvmlite import ir

from .base import VECTORS, InstructionSet
from .emitter import F32, Emitter, vector


@dataclass(frozen=True)
class Float32(InstructionSet):
    """Products of float32 values, one rounding for each product and sum."""

    @property
    def accumulator(self) -> ir.VectorType:
        return vector(F32, self.lanes)

    @property
    def packed_weights(self) -> ir.VectorType:
        return vector(F32, self.lanes)

    def weights(self, e: Emitter, packed: ir.Value) -> ir.Value:
        return packed

    def activations(self, e: Emitter, *words: ir.Value) -> ir.Value:
        return e.splat(e.builder.bitcast(words[0], F32), self.lanes)

    def dot(self, e: Emitter, acc: ir.Value, a: ir.Value, w: ir.Value) -> ir.Value:
        return e.fma(a, w, acc)


def float32(isa: InstructionSet) -> Float32:
    """The form of a set: as many rows as its registers hold, beside two vectors of columns and a broadcast."""
    return Float32(
        name=f"f32x{isa.lanes}r{isa.registers}",
        features=((),),
        lanes=isa.lanes,
        k_per_word=1,
        registers=isa.registers,
        max_rows=(isa.registers - VECTORS - 1) // VECTORS,
        max_rows_grouped=0,
        fused=True,
        in_flight=8,
    )
