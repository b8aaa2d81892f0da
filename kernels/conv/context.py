"""What is known of a packed convolution, and what its workers are told."""

from __future__ import annotations

from ..base.context import Context, Descriptor
from ..base.record import Pointer


class Window(Descriptor):
    """How a window moves over images."""

    slots: Pointer  # slots of scratch (threads/scratch.py)
    k_high: int
    k_wide: int
    step_y: int
    step_x: int
    top: int
    bottom: int
    left: int
    right: int
    dilate_y: int
    dilate_x: int


class ConvGeometry(Window):
    """How a kernel moves over images, and the tile that multiplies."""

    l2_bytes: int
    outputs: int
    channels: int
    groups: int
    nr: int
    mr: int


class ConvDescriptor(ConvGeometry):
    """Of a packed weight and an instruction set (dynq_numba/operators/conv/backend.py)."""

    quantize: Pointer  # the worker of `quantize`
    last_cache: int
    weights: Pointer  # the row panels [groups][words of padded K][R], one after another
    rows: Pointer  # [3][outputs]: int32 Σ q, float32 scale, float32 bias
    k_per_word: int
    words: int  # words of k to multiply


class ImageContext(Context):
    """Of a call that goes over images."""

    descriptor: Pointer
    x: Pointer
    out: Pointer
    post_ops: Pointer  # or NULL
    height: int
    width: int
    out_height: int
    out_width: int
    chunks: int  # tasks that share the pixels of an image
    parts: int  # tasks that share the row panels of a group
    largest: int  # units of pixels of the largest task


class ConvContext(ImageContext):
    """Of quantized images, in bytes. Pixels come in units of PIXELS."""

    scales: Pointer  # of each image
    zeros: Pointer
