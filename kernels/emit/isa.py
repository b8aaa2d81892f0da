"""What an instruction set must offer so that the tile skeleton can use it.

A *word* is 4 bytes of activations: the unit that one dot instruction broadcasts to every lane. It holds 4
unsigned 8-bit values where the instruction multiplies bytes, or 2 signed 16-bit values where it multiplies
halves. A lane of weights holds the matching 4 or 2 signed bytes in memory.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass

from llvmlite import ir

from .vectors import I8, I32, Emitter, vector

#: Vectors side by side in a weight panel: two, so that every broadcast activation feeds two dots.
VECTORS = 2
#: K is padded with zero weights to a multiple of this: whole words and whole unrolled steps on every set.
K_ALIGN = 16


@dataclass(frozen=True)
class InstructionSet(ABC):
    """One row of the table of instruction sets; a file of this folder each.

    Attributes
    ----------
    name : str
    features : tuple of tuple of str
        Alternatives; the set is usable when every LLVM feature of one alternative is present.
    lanes : int
        32-bit lanes of a vector register.
    k_per_word : int
        Values of k that one word holds (4 or 2).
    registers : int
        Architectural vector registers, the budget of a tile.
    max_rows, max_rows_grouped : int
        Tallest tile that keeps all its accumulators in registers, without and with per-group sums.
    temporaries : int
        Registers a dot needs beside its operands.
    """

    name: str
    features: tuple[tuple[str, ...], ...]
    lanes: int
    k_per_word: int
    registers: int
    max_rows: int
    max_rows_grouped: int
    temporaries: int = 0

    @property
    def columns(self) -> int:
        """NR, the width of a weight panel."""
        return VECTORS * self.lanes

    @property
    def word_bytes(self) -> int:
        """Bytes of one k-word of a weight panel (8-bit weights)."""
        return self.columns * self.k_per_word

    def usable_with(self, present: frozenset[str]) -> bool:
        return any(all(f in present for f in wanted) for wanted in self.features)

    @abstractmethod
    def weights(self, e: Emitter, packed: ir.Value) -> ir.Value:
        """Turn `lanes × k_per_word` weight bytes (a vector of i8) into a dot operand."""

    @abstractmethod
    def activations(self, e: Emitter, word: ir.Value) -> ir.Value:
        """Turn one activation word (an i32) into a dot operand, the word in every lane."""

    @abstractmethod
    def dot(self, e: Emitter, acc: ir.Value, a: ir.Value, w: ir.Value) -> ir.Value:
        """acc[lane] + Σ a[k]·w[lane, k] over the k of a word, exactly."""

    @property
    def accumulator(self) -> ir.VectorType:
        return vector(I32, self.lanes)

    @property
    def packed_weights(self) -> ir.VectorType:
        return vector(I8, self.lanes * self.k_per_word)
