"""The set for any CPU. It emits no instruction; its tile is jitted (gemm/portable.py)."""

from __future__ import annotations

from dataclasses import dataclass

from llvmlite import ir

from .base import InstructionSet
from .emitter import Emitter


@dataclass(frozen=True)
class Portable(InstructionSet):
    """Emits no vector code of its own: `strip_for` gives it a jitted tile instead."""

    def weights(self, e: Emitter, packed: ir.Value) -> ir.Value:
        raise NotImplementedError

    activations = dot = weights  # type: ignore[assignment]


PORTABLE = Portable(
    name="portable",
    features=((),),
    lanes=8,
    k_per_word=4,
    registers=16,
    max_rows=4,
    max_rows_grouped=4,
    emitted=False,
)
