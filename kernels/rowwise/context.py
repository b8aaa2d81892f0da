"""What the workers of row-wise operators are told.

    x, second, out, total   [M, K] float32, rows any distance apart, values of a row contiguous
    weight, bias            [K] float32                      one for all rows
    mask                    as x, any strides but the last: its row is found by the rows' own axes
    cos, sin                [positions, H] float32           the row at a position; 2H ≤ K
"""

from __future__ import annotations

from ..base.context import Context
from ..base.record import Float, Pointer


class RowsContext(Context):
    rows: int
    k: int
    variant: int  # of the emitted function
    x: Pointer
    x_stride: int
    out: Pointer
    out_stride: int
    second: Pointer  # another operand of x's shape: what a norm adds first, or NULL; of functions the second argument
    second_stride: int


class SoftmaxContext(RowsContext):
    mask: Pointer
    mask_shape: Pointer  # int64 lengths of its axes but the last
    mask_strides: Pointer
    mask_axes: int


class NormContext(RowsContext):
    weight: Pointer
    bias: Pointer
    eps: Float
    total: Pointer  # x + second
    total_stride: int


class MapContext(RowsContext):
    last: int  # values of the last row: the others have k


class RotaryContext(RowsContext):
    cos: Pointer
    sin: Pointer
    half: int  # columns of the tables
    table_stride: int
    positions: Pointer  # int64: that of row r at r % period; or NULL, where it stands at start + r % period
    period: int
    start: int
