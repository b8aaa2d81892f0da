"""Convolution on numpy arrays: validate, pick the layout, run."""

from __future__ import annotations

import numpy as np

from ...arguments import checks
from ...arguments.checks import F32
from ...arguments.literals import Activation
from ...arguments.matrices import delivered, target_of
from ...kernels.activations.reference import ACTIVATIONS
from . import backend
from .packed import PackedConv


def conv(
    x: np.ndarray,
    w: PackedConv,
    *,
    activation: Activation | None = None,
    out: np.ndarray | None = None,
    threads: int | None = None,
) -> np.ndarray:
    """activation(x * W + bias), a cross-correlation as in every deep-learning framework, in exact 8-bit integers.

    Each image is quantized separately in the call, with one scale. So its result has the same bits in any batch, on
    every instruction set and for every number of threads.

    Parameters
    ----------
    x : array [N, C, H, W] or [C, H, W] (for a weight of two spatial dimensions), [N, C, W] or [C, W] (of one)
        float16, float32, float64 or bfloat16, any strides; copied if it is not float32 and C contiguous. An image with
        NaN or an infinity gives an image of NaN. No other image changes.
    w : PackedConv
        From `pack_conv`.
    activation : {"relu", "gelu", "gelu_tanh", "silu", "tanh", "sigmoid"}, optional
        As for `linear`.
    out : float32 array, optional
        Of the result's shape. Written and returned; its last axis must be contiguous. It may overlap x.
    threads : int, optional
        As for `linear`.

    Returns
    -------
    float32 array [N, O, OH, OW], or without N where x has none, or [N, O, OW]
        OH = (H + before + after - dilation·(kH - 1) - 1) // stride + 1, and OW in the same way.

    Raises
    ------
    TypeError, ValueError
        Names the argument, what it was and what is allowed. Raised before anything is written.
    MemoryError
        If there is too little memory for the result, the quantized images or the patches.

    Notes
    -----
    ``scale_x = (max(0, x) - min(0, x)) / 255`` over the image. With K = C / groups · kH · kW, without float32 rounding,
    ``|y - x * W| ≤ K · (scale_x·max|w| + scale_w·max|x| + scale_x·scale_w / 2) / 2``. Padding adds exactly 0.

    Leave depthwise convolutions (one input channel for each output) in float32. There ONNX Runtime's float32 took 0.8
    times as long; for all other measured shapes it took 2 to 4 times as long (bench/topics/convolution.py).

    Sources: ONNX DynamicQuantizeLinear-11 (per image), ConvInteger-10.

    Examples
    --------
    >>> import numpy as np
    >>> import dynq_numba as dq
    >>> w = dq.pack_conv(np.ones((1, 1, 3, 3)), padding=1)
    >>> dq.conv(np.ones((1, 3, 4)), w).round(3)
    array([[[4., 6., 6., 4.],
            [6., 9., 9., 6.],
            [4., 6., 6., 4.]]], dtype=float32)
    """
    if type(w) is not PackedConv:
        raise TypeError(f"w must be a PackedConv from pack_conv; got {checks.describe(w)}")
    x = checks.float_array("x", x)
    shape, geometry, dimensions = w.shape, w._geometry, len(w.shape)
    outputs, channels = shape[0], shape[1] * geometry.groups
    if x.ndim not in (dimensions, dimensions - 1) or x.shape[1 - dimensions] != channels:
        wanted = f"{channels}, H, W]" if dimensions == 4 else f"{channels}, W]"
        raise ValueError(f"x must have shape [N, {wanted} or [{wanted} for this weight; got {x.shape}")
    lead = x.shape[: x.ndim - dimensions + 1]
    size, taps = ((of[-2] if dimensions == 4 else 1, of[-1]) for of in (x.shape, shape))  # sequences have one row
    high, wide = geometry.output(size, taps)
    if high < 1 or wide < 1:
        raise ValueError(f"x must be at least as large as the kernel, padding included; got {x.shape} for {w!r}")
    if activation is not None:
        checks.choice("activation", activation, ACTIVATIONS)
    count = 0 if threads is None else checks.thread_count("threads", threads)
    full = (*lead, outputs, high, wide) if dimensions == 4 else (*lead, outputs, wide)
    if out is not None:
        checks.out_array(out, F32, full)
    target = target_of(out if out is not None and out.flags.c_contiguous else None, full, x)
    images = np.ascontiguousarray(x).reshape(lead[0] if lead else 1, channels, *size)
    backend.convolve(images, w._layout(), activation, target.reshape(len(images), outputs, high, wide), count)
    return delivered(target, out)
