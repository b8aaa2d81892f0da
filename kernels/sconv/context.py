"""What the step of a float32 convolution is told, and what its workers are."""

from __future__ import annotations

from ..base.record import Pointer
from ..conv.context import ConvGeometry, ImageContext


class FloatConv(ConvGeometry):
    """out = post_ops(bias + weights * x), as call.py's step is told. All arrays are contiguous."""

    weights: Pointer  # the row panels [groups][K][R], one after another; of a depthwise kernel [outputs][taps]
    bias: Pointer  # [outputs]
    x: Pointer  # [images, channels, height, width]
    out: Pointer  # [images, outputs, …]
    residual: Pointer  # as out, or NULL
    post_ops: Pointer  # or NULL
    images: int
    height: int
    width: int
    depthwise: int  # whether the worker is the one of depthwise.py


class FloatConvContext(ImageContext):
    """Of images in float32. Pixels come in units of a panel, those of a depthwise kernel in rows of the result."""

    residual: Pointer  # or NULL
