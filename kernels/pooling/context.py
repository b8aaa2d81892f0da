"""What the steps of pooling are told, and what their workers are. Arrays are contiguous."""

from __future__ import annotations

from ..base.context import Context, Descriptor
from ..base.record import Pointer
from ..conv.context import Window


class GlobalPooling(Descriptor):
    """One value of every image and channel."""

    average: int  # 0: the maximum
    x: Pointer  # [planes, values]
    out: Pointer  # [planes]
    planes: int  # images · channels
    values: int  # of a plane, ≥ 1


class Pooling(Window):
    """A window that moves over every plane. ceil_mode is in out_height and out_width."""

    average: int  # 0: the maximum
    x: Pointer  # [planes, height, width]
    out: Pointer  # [planes, out_height, out_width]
    planes: int  # images · channels
    height: int
    width: int
    out_height: int
    out_width: int
    count_padding: int  # whether an average counts the padding in its window


class PoolingContext(Context):
    """Of a call of either."""

    record: Pointer
    chunks: int  # tasks that share the rows of a plane
