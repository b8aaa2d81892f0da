"""What is known of a packed convolution, and what its worker is told."""

from __future__ import annotations

from ..base.context import Context, Descriptor
from ..base.record import Pointer


class ConvDescriptor(Descriptor):
    """Of a packed weight and an instruction set (dynq_numba/operators/conv/backend.py)."""

    quantize: Pointer  # the worker of `quantize`
    last_cache: int
    l2_bytes: int
    weights: Pointer  # the row panels [groups][words of padded K][R], one after another
    rows: Pointer  # [3][outputs]: int32 Σ q, float32 scale, float32 bias
    outputs: int
    channels: int
    groups: int
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
    nr: int
    mr: int
    k_per_word: int
    words: int  # words of k to multiply
    slots: Pointer  # slots of scratch (threads/scratch.py)


class ConvContext(Context):
    """Of a call. Pixels come in units of PIXELS."""

    descriptor: Pointer
    x: Pointer  # the images in bytes
    scales: Pointer  # of each image
    zeros: Pointer
    out: Pointer
    post_ops: Pointer  # or NULL
    height: int
    width: int
    out_height: int
    out_width: int
    chunks: int  # tasks that share the pixels of an image
    parts: int  # tasks that share the row panels of a group
    largest: int  # units of the largest task
