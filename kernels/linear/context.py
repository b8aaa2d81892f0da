"""What a linear's worker is told."""

from __future__ import annotations

from ..base.context import Context
from ..base.record import Float, Pointer


class Weight(Context):
    """A packed weight, for an instruction set (dynq_numba/operators/linear/layout.py): the head of the contexts of its
    calls, into which it is copied. A context's own words stay 0 in it."""

    n: int
    k: int
    words: int  # k-words to multiply
    weights: Pointer  # the panels
    panel_stride: int
    columns: Pointer  # the epilogue's column words
    nr: int  # columns of a panel
    mr: int  # rows of the tallest tile
    panels: int
    strip_panels: int
    x_bits: int  # 8 or 16
    per_tensor: int  # one scale for all of x
    rotation: int  # block of the Hadamard matrix that rows of x are multiplied by first, or 0
    outliers: Pointer  # the columns that stay float32 (outliers.py), or NULL


class LinearContext(Weight):
    m: int
    x: Pointer
    x_stride: int
    out: Pointer
    out_stride: int
    residual: Pointer
    residual_stride: int
    post_ops: Pointer  # or NULL
    fixed: int  # whether all rows have this scale and zero point
    fixed_scale: Float
    fixed_zero_point: int
    row_scales: Pointer  # float32 of every row, where the caller knows them; or NULL
    row_zeros: Pointer  # int32
    row_block: int  # rows of the largest task
    row_tasks: int
    column_tasks: int
    all_panels: int  # weight panels of this context and of those that follow it
    next: Pointer  # the context of the next weight for the same rows, or NULL


WEIGHT_BYTES = 8 * Weight.size
