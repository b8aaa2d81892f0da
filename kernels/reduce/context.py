"""What a reduction and a scan are told. Sizes and strides (bytes) of the kept and of the reduced axes, outermost first.

    out[i_0, i_1, i_2, i_3] = reduction of x[i_0, i_1, i_2, i_3, k_0, k_1, k_2] over k

Axes that are not needed are the outermost, of size 1. Neighbours among the kept, and among the reduced axes, may be
joined where they are side by side. Operands may lie at any address and at any strides, and do not overlap.
"""

from __future__ import annotations

from ..base.context import Descriptor
from ..base.jit import kernel
from ..base.memory import load_int
from ..base.record import Pointer, Slot

KEPT, REDUCED = 4, 3


class KeptRecord(Descriptor):
    """The axes that x and out both have."""

    x: Pointer
    out: Pointer
    kept_0: int
    kept_1: int
    kept_2: int
    kept_3: int
    x_kept_0: int
    x_kept_1: int
    x_kept_2: int
    x_kept_3: int
    out_kept_0: int
    out_kept_1: int
    out_kept_2: int
    out_kept_3: int


#: The first fields of three groups.
FIRST_KEPT, X_KEPT, OUT_KEPT = KeptRecord.kept_0, KeptRecord.x_kept_0, KeptRecord.out_kept_0


@kernel
def place(record, index, axes, strides):
    """Bytes to the `index`th of the first `axes` kept axes."""
    moved = 0
    for axis in range(axes - 1, -1, -1):
        size = load_int(record, FIRST_KEPT + axis)
        if size > 1:
            moved += index % size * load_int(record, strides + axis)
            index //= size
    return moved


class ReduceRecord(KeptRecord):
    across: Pointer  # addresses of the reduction's functions (emit.py)
    along: Pointer
    fold: Pointer
    finish: Pointer
    finishes: int  # whether that does anything
    cost: int  # picoseconds a value
    bytes: int  # of a value
    neutral: Slot  # the neutral element's bits
    last: int  # 1: the last axis of x, as the graph has it, is reduced
    reduced_0: int
    reduced_1: int
    reduced_2: int
    x_reduced_0: int
    x_reduced_1: int
    x_reduced_2: int
