"""The numpy reference of `worker.py`: it defines every result, rounding included. It imports numpy only."""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np

from ..base.exact import F32, exact_product
from ..quantize.reference import quantize_rows, row_parameters

Pair = tuple[int, int]


def taps_of(padded: np.ndarray, taps: Pair, sizes: list[int], stride: Pair, dilation: Pair) -> Iterator[np.ndarray]:
    """For every tap (ky, kx) in order, what it meets of [N, C, H, W] (with its padding): [N, C, *sizes]."""
    across = [slice(0, (size - 1) * step + 1, step) for size, step in zip(sizes, stride, strict=True)]
    for ky in range(taps[0]):
        for kx in range(taps[1]):
            yield padded[:, :, ky * dilation[0] :, kx * dilation[1] :][:, :, across[0], across[1]]


def convolve(
    x: np.ndarray, q: np.ndarray, scale: np.ndarray, bias: np.ndarray,
    stride: Pair, padding: tuple[Pair, Pair], dilation: Pair, groups: int,
) -> np.ndarray:  # fmt: skip
    """float32 [N, O, OH, OW] of float32 x [N, C, H, W], q int8 [O, C / groups, KH, KW], scale and bias float32 [O].

    Each image is quantized as one row (ONNX DynamicQuantizeLinear-11); outside it xq is its zero point.
    y = float32(Σ (xq - zero_point)·q) · (scale · scale_x) + bias
    """
    images, _, *size = x.shape
    outputs, own, k_high, k_wide = q.shape
    flat = x.reshape(images, math.prod(x.shape[1:]))
    scale_x, zero_point = row_parameters(flat)
    centred = quantize_rows(flat, scale_x, zero_point).astype(np.int32) - zero_point[:, None]
    padded = np.pad(centred.reshape(x.shape), ((0, 0), (0, 0), *padding))
    along = zip(size, padding, (k_high, k_wide), dilation, stride, strict=True)
    sizes = [(n + sum(around) - dilate * (taps - 1) - 1) // step + 1 for n, around, taps, dilate, step in along]
    y = np.empty((images, outputs, *sizes), F32)
    each = outputs // groups
    with np.errstate(all="ignore"):
        for g in range(groups):
            of, part = slice(g * each, (g + 1) * each), padded[:, g * own : (g + 1) * own]
            patches = np.stack([*taps_of(part, (k_high, k_wide), sizes, stride, dilation)], axis=2)
            matrices = patches.reshape(images, own * k_high * k_wide, math.prod(sizes))
            for n in range(images):
                acc = exact_product(q[of].reshape(each, -1), matrices[n].T)
                product = acc.astype(F32) * (scale[of] * scale_x[n])[:, None] + bias[of, None]
                y[n, of] = product.reshape(each, *sizes)
    return y
