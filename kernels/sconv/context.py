"""What the step of a float32 convolution is told, and what its workers are."""

from __future__ import annotations

from ..base.record import Pointer
from ..conv.context import ConvGeometry, ImageContext

#: What a worker is one of, and so what its units and its weights are: patches (worker.py), depthwise.py, winograd.py
#: with tiles of 2×2 or of 4×4.
PATCHES, DEPTHWISE, WINOGRAD_2, WINOGRAD_4 = range(4)


class FloatConv(ConvGeometry):
    """out = post_ops(bias + weights * x), as call.py's step is told. All arrays are contiguous."""

    weights: Pointer  # row panels [groups][K][R]; DEPTHWISE [outputs][taps]; WINOGRAD_… [points²][C][R], one by one
    bias: Pointer  # [outputs]
    x: Pointer  # [images, channels, height, width]
    out: Pointer  # [images, outputs, …]
    residual: Pointer  # as out, or NULL
    post_ops: Pointer  # or NULL
    images: int
    height: int
    width: int
    way: int  # PATCHES, …


class FloatConvContext(ImageContext):
    """Of images in float32. Units are panels of pixels, DEPTHWISE rows of the result, WINOGRAD_… of tiles."""

    residual: Pointer  # or NULL
