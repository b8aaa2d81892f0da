"""The numpy reference of float32 convolutions: it defines every result, but for the payload of NaN.

That of Winograd's way is in reference_winograd.py.
"""

from __future__ import annotations

import numpy as np

from ..base.exact import F32, fma
from ..conv.reference import Pair, taps_of


def convolve(
    x: np.ndarray, weight: np.ndarray, bias: np.ndarray | None,
    stride: Pair, padding: tuple[Pair, Pair], dilation: Pair, groups: int,
) -> np.ndarray:  # fmt: skip
    """float32 [N, O, OH, OW] of float32 x [N, C, H, W], weight [O, C / groups, KH, KW] and bias [O] (or zeros).

    One chain of fma from the bias on, k = (channel, ky, kx) ascending; outside the image x is 0.
    """
    outputs, own, *taps = weight.shape
    along = zip(x.shape[2:], padding, taps, dilation, stride, strict=True)
    sizes = [(n + sum(around) - dilate * (tap - 1) - 1) // step + 1 for n, around, tap, dilate, step in along]
    padded = np.pad(x, ((0, 0), (0, 0), *padding))
    y = np.empty((len(x), outputs, *sizes), F32)
    y[...] = 0 if bias is None else bias[:, None, None]
    channels = np.arange(outputs) // (outputs // groups) * own
    met = [*taps_of(padded, (taps[0], taps[1]), sizes, stride, dilation)]
    for c in range(own):
        for tap, values in enumerate(met):
            y = fma(weight[:, c].reshape(outputs, -1)[:, tap, None, None], values[:, channels + c], y)
    return y
