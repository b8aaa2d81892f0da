"""The numpy reference of pooling: it defines every result, but for the payload of NaN."""

from __future__ import annotations

import numpy as np

from ..rowwise.reference import LANES, STREAMS, row_sum

F32 = np.float32
Pair = tuple[int, int]


def greater(value: np.ndarray, largest: np.ndarray) -> np.ndarray:
    """The value where it is greater or NaN: so of equal ones the first stays, and NaN stays."""
    return np.where((value > largest) | np.isnan(value), value, largest)


def inside(size: int, out_size: int, tap: int, step: int, dilate: int, before: int) -> tuple[np.ndarray, np.ndarray]:
    """For a tap of a window: which outputs it serves inside the image, and the places there."""
    at = np.arange(out_size) * step + tap * dilate - before
    there = (at >= 0) & (at < size)
    return there, at[there]


def counted(size: int, out_size: int, taps: int, step: int, dilate: int, around: Pair, padding: bool) -> np.ndarray:
    """float32 [out_size]: taps of every window inside the image, or inside the image and its padding."""
    before, after = around
    at = np.arange(out_size)[:, None] * step + np.arange(taps) * dilate - before
    low, high = (-before, size + after) if padding else (0, size)
    return ((at >= low) & (at < high)).sum(axis=1).astype(F32)


def pool(
    x: np.ndarray, average: bool, taps: Pair, sizes: Pair,
    stride: Pair, padding: tuple[Pair, Pair], dilation: Pair, count_padding: bool = False,
) -> np.ndarray:  # fmt: skip
    """float32 [..., OH, OW] (`sizes`) of float32 x [..., H, W].

    First along the rows: from 0 (or -inf) on the values of kx = 0, 1, … inside the image; then these along ky in the
    same way. An average is divided by float32(taps that count along y) · float32(those along x).
    """
    combine, first = (np.add, F32(0)) if average else (greater, F32(-np.inf))
    height, width = x.shape[-2:]
    along = np.full((*x.shape[:-1], sizes[1]), first, F32)
    y = np.full((*x.shape[:-2], *sizes), first, F32)
    with np.errstate(all="ignore"):
        for kx in range(taps[1]):
            there, at = inside(width, sizes[1], kx, stride[1], dilation[1], padding[1][0])
            along[..., there] = combine(x[..., at], along[..., there])
        for ky in range(taps[0]):
            there, at = inside(height, sizes[0], ky, stride[0], dilation[0], padding[0][0])
            y[..., there, :] = combine(along[..., at, :], y[..., there, :])
        if average:
            down, across = (
                counted(size, sizes[i], taps[i], stride[i], dilation[i], padding[i], count_padding)
                for i, size in enumerate((height, width))
            )
            y = y / (down[:, None] * across)
    return y


def global_pool(x: np.ndarray, average: bool) -> np.ndarray:
    """float32 [P] of float32 x [P, V]: Σ in the order of `row_sum`, / float32(V); or the maximum, in the same order."""
    if average:
        with np.errstate(all="ignore"):
            return row_sum(x)[:, 0] / F32(x.shape[1])
    block = LANES * STREAMS
    padded = np.full((len(x), -(-x.shape[1] // block) * block), -np.inf, F32)
    padded[:, : x.shape[1]] = x
    largest = np.full((len(x), block), -np.inf, F32)
    for first in range(0, padded.shape[1], block):
        largest = greater(padded[:, first : first + block], largest)
    while largest.shape[1] > 1:
        half = largest.shape[1] // 2
        largest = greater(largest[:, half:], largest[:, :half])
    return largest[:, 0]
