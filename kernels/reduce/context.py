"""What a reduction is told. Sizes and strides (bytes) of the kept and of the reduced axes, outermost first.

    out[i_0, i_1, i_2, i_3] = reduction of x[i_0, i_1, i_2, i_3, k_0, k_1, k_2] over k

Axes that are not needed are the outermost, of size 1. Neighbours among the kept, and among the reduced axes, may be
joined where they are side by side. Operands may lie at any address and at any strides, and do not overlap.
"""

from __future__ import annotations

from ..base.context import Descriptor
from ..base.record import Pointer, Slot

KEPT, REDUCED = 4, 3


class ReduceRecord(Descriptor):
    across: Pointer  # addresses of the reduction's functions (emit.py)
    along: Pointer
    fold: Pointer
    finish: Pointer
    finishes: int  # whether that does anything
    cost: int  # picoseconds a value
    bytes: int  # of a value
    neutral: Slot  # the neutral element's bits
    last: int  # 1: the last axis of x, as the graph has it, is reduced
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
    reduced_0: int
    reduced_1: int
    reduced_2: int
    x_reduced_0: int
    x_reduced_1: int
    x_reduced_2: int
