"""What an instruction set must have so that the tile can use it.

A *word* is 4 bytes of activations: the unit that one dot instruction broadcasts to every lane. It holds 4
unsigned 8-bit values where the instruction multiplies bytes, or 2 signed 16-bit values where it multiplies
halves. A lane of weights holds the matching 4 or 2 signed bytes in memory.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass, fields
from typing import Any

from llvmlite import ir

from .emitter import I8, I16, I32, I64, Emitter, constant, vector

#: Rows of a matrix register, on the sets that have them; its bytes in a row, and in all.
ROWS, ROW_BYTES = 16, 64
TILE_BYTES = ROWS * ROW_BYTES
#: Vectors side by side in a weight panel: two, so that every broadcast activation feeds two dots.
VECTORS = 2
#: K is padded with zero weights to a multiple of K_ALIGN, whole unrolled steps of vector tiles (a set may want more:
#: `k_align`); and vector tiles multiply it to a multiple of K_STEP, whole pairs of words.
K_ALIGN, K_STEP = 16, 8


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
        Registers a dot needs beside its weights and one broadcast.
    fused : bool
        Whether a fused multiply-add is one instruction.
    in_flight : int
        Independent sums that hide the latency from one dot to the next on the same sum.
    parts : int
        Words that a k-word of activations takes in memory: views of the same values, [words][parts][R].
    shift : int
        What the dot takes from every activation: it adds Σ (a - shift)·w, and the start makes up for it.
    byte_dot : bool
        Whether the dot multiplies any unsigned by any signed bytes.
    emitted : bool
        Whether tiles are emitted for the set; else they are jitted loops (gemm/portable.py, conv/worker.py).
    k_align : int
        K is padded with zero weights to a multiple of this: whole unrolled steps of the set.
    slab : int
        Columns of a weight panel whose words lie side by side; 0: all of them. See panel.py.
    matrix_rows : int
        Rows of the tallest panel on matrix registers; 0: there are none.
    """

    name: str
    features: tuple[tuple[str, ...], ...]
    lanes: int
    k_per_word: int
    registers: int
    max_rows: int
    max_rows_grouped: int
    temporaries: int = 0
    fused: bool = False
    in_flight: int = 10
    parts: int = 1
    shift: int = 0
    byte_dot: bool = False
    emitted: bool = True
    k_align: int = K_ALIGN
    slab: int = 0
    matrix_rows: int = 0

    @property
    def columns(self) -> int:
        """NR, the width of a weight panel."""
        return VECTORS * self.lanes

    @property
    def word_bytes(self) -> int:
        """Bytes of one k-word of a weight panel (8-bit weights)."""
        return self.columns * self.k_per_word

    def form(self, operation: str, group: int = 0, bits: int = 8) -> InstructionSet:
        """What an operation on such weights (`group` 0: one scale for all of K) is done with, and packed for."""
        return self

    def swapped(self) -> InstructionSet:
        """The set with its dot's operands exchanged: unsigned panels, signed broadcasts."""
        raise NotImplementedError(f"{self.name} has no dot with its operands exchanged")

    def turned_into(self, kind: type[InstructionSet]) -> InstructionSet:
        """The same values as another class."""
        return kind(**{field.name: getattr(self, field.name) for field in fields(self)})

    def unavailable(self) -> str:
        """Why the system does not let this process use what the CPU has; "" where it does."""
        return ""

    def usable_with(self, present: frozenset[str]) -> bool:
        return any(all(f in present for f in wanted) for wanted in self.features)

    @abstractmethod
    def weights(self, e: Emitter, packed: ir.Value) -> ir.Value:
        """Turn `lanes × k_per_word` weight bytes (a vector of i8) into a dot operand."""

    @abstractmethod
    def activations(self, e: Emitter, *words: ir.Value) -> Any:
        """Turn the `parts` activation words (i32) of one k-word into a dot operand, each in every lane."""

    @abstractmethod
    def dot(self, e: Emitter, acc: ir.Value, a: Any, w: ir.Value) -> ir.Value:
        """acc[lane] + Σ (a[k] - shift)·w[lane, k] over the k of a word, exactly."""

    def pack_words(self, e: Emitter, values: list[ir.Value]) -> list[ir.Value]:
        """Four rows' <16 x i32>, clipped to a byte: for each part of each k-word the words of the rows, <4 x i32>."""
        kind = values[0].type
        words = kind.count // self.k_per_word
        stored = vector(I8 if self.k_per_word == 4 else I16, kind.count)
        low, high = constant(kind, 0), constant(kind, 255)
        rows = []
        for q in values:
            q = e.builder.select(e.builder.icmp_signed(">", q, low), q, low)
            q = e.builder.select(e.builder.icmp_signed("<", q, high), q, high)
            rows.append(e.builder.bitcast(e.builder.trunc(q, stored), vector(I32, words)))
        pair = vector(I64, words)
        upper, lower = (e.builder.bitcast(e.interleave(*rows[i : i + 2]), pair) for i in (0, 2))
        together = e.builder.bitcast(e.interleave(upper, lower), vector(I32, 4 * words))
        return [e.part(together, 4 * w, 4) for w in range(words)]

    def pack_bytes(self, e: Emitter, values: list[ir.Value]) -> ir.Value:
        """Four <16 x i32> of one row, clipped to bytes, in order: <64 x i8>."""
        row = e.join(e.join(*values[:2]), e.join(*values[2:]))
        low, high = constant(row.type, 0), constant(row.type, 255)
        row = e.builder.select(e.builder.icmp_signed(">", row, low), row, low)
        row = e.builder.select(e.builder.icmp_signed("<", row, high), row, high)
        return e.builder.trunc(row, vector(I8, row.type.count))

    @property
    def accumulator(self) -> ir.VectorType:
        return vector(I32, self.lanes)

    @property
    def packed_weights(self) -> ir.VectorType:
        return vector(I8, self.lanes * self.k_per_word)
