"""An instruction set as CONTRIBUTING has it added: this file in kernels/isa/, and a row (see process/test_new_set.py).

Its dot is plain LLVM IR, so that it runs on any CPU; its lanes, heights and padding are like no other set's.
"""

from __future__ import annotations

from dataclasses import dataclass

from llvmlite import ir

from .base import InstructionSet
from .emitter import I32, Emitter, vector


@dataclass(frozen=True)
class Dummy(InstructionSet):
    def _wide(self, e: Emitter, packed: ir.Value, extend) -> list[ir.Value]:
        """The k-values of every lane as int32: for each k a vector."""
        wide, lanes = extend(packed, vector(I32, 4 * self.lanes)), range(self.lanes)
        undefined = ir.Constant(wide.type, ir.Undefined)
        return [e.shuffle(wide, undefined, [4 * lane + k for lane in lanes]) for k in range(4)]

    def weights(self, e: Emitter, packed: ir.Value) -> list[ir.Value]:
        return self._wide(e, packed, e.builder.sext)

    def activations(self, e: Emitter, *words: ir.Value) -> list[ir.Value]:
        return self._wide(e, e.builder.bitcast(e.splat(words[0], self.lanes), self.packed_weights), e.builder.zext)

    def dot(self, e: Emitter, acc: ir.Value, a: list[ir.Value], w: list[ir.Value]) -> ir.Value:
        for left, right in zip(a, w, strict=True):
            acc = e.builder.add(acc, e.builder.mul(left, right))
        return acc

    def swapped(self) -> InstructionSet:
        return self.turned_into(Swapped)


class Swapped(Dummy):
    def weights(self, e: Emitter, packed: ir.Value) -> list[ir.Value]:
        return self._wide(e, packed, e.builder.zext)

    def activations(self, e: Emitter, *words: ir.Value) -> list[ir.Value]:
        return self._wide(e, e.builder.bitcast(e.splat(words[0], self.lanes), self.packed_weights), e.builder.sext)


DUMMY = Dummy(
    name="dummy",
    features=((),),
    lanes=8,
    k_per_word=4,
    registers=16,
    max_rows=3,
    max_rows_grouped=2,
    k_align=32,
)
