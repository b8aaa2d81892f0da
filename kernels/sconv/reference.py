"""The numpy reference of float32 convolutions: it defines every result, but for the payload of NaN.

`into_points` and `out_of_points` are also what the kernels of Winograd's way are emitted from.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

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


#: Of Winograd's way: the sides of a tile of the result, and of what it is made from; the point that bias is added to.
TILE, POINTS = 2, 4
BIASED = 1 * POINTS + 1


def into_points(a: Any, b: Any, c: Any, d: Any) -> tuple:
    """Four values along one axis of an image, at four points."""
    return a - c, b + c, c - b, b - d


def out_of_points(a: Any, b: Any, c: Any, d: Any) -> tuple:
    """Two values of the result along one axis."""
    return (a + b) + c, (b - c) - d


def along_both(transform: Callable[..., tuple], values: Any) -> list[tuple]:
    """A transform of the columns of rows of values, then of the rows that this gives."""
    columns = [transform(*column) for column in zip(*values, strict=True)]
    return [transform(*row) for row in zip(*columns, strict=True)]


def weights_at_points(weight: np.ndarray) -> np.ndarray:
    """float32 [16, O, C] of a weight [O, C, 3, 3]: in float64, rounded once."""

    def transform(a: np.ndarray, b: np.ndarray, c: np.ndarray) -> tuple:
        return a, ((a + b) + c) / 2, ((a - b) + c) / 2, c

    taps = np.moveaxis(weight.astype(np.float64), (2, 3), (0, 1))
    with np.errstate(all="ignore"):
        return np.array(along_both(transform, taps)).reshape(POINTS**2, *weight.shape[:2]).astype(F32)


def winograd(x: np.ndarray, weight: np.ndarray, bias: np.ndarray | None, padding: tuple[Pair, Pair]) -> np.ndarray:
    """float32 [N, O, OH, OW] of float32 x [N, C, H, W], weight [O, C, 3, 3] and bias [O] (or zeros); stride 1.

    Winograd's F(2×2, 3×3). For each tile of 2×2 values of the result, from 4×4 of x: into_points, a chain of fma over c
    from 0 at each of 16 points (from the bias at BIASED, which goes into all four values), out_of_points.
    """
    (above, below), (before, after) = padding
    images, channels, height, width = x.shape
    high, wide = height + above + below - 2, width + before + after - 2
    padded = np.pad(x, ((0, 0), (0, 0), (above, below + high % TILE), (before, after + wide % TILE)))
    down, across = -(-high // TILE), -(-wide // TILE)
    tiles = [
        [padded[:, :, i:, j:][:, :, : TILE * down - 1 : TILE, : TILE * across - 1 : TILE] for j in range(POINTS)]
        for i in range(POINTS)
    ]
    u = weights_at_points(weight)
    with np.errstate(all="ignore"):
        v = [each for row in along_both(into_points, tiles) for each in row]
        sums = []
        for point in range(POINTS**2):
            total = np.zeros((images, len(weight), down, across), F32)
            if point == BIASED and bias is not None:
                total += bias[:, None, None]
            for c in range(channels):
                total = fma(u[point, :, c, None, None], v[point][:, None, c], total)
            sums.append(total)
        results = along_both(out_of_points, [sums[POINTS * i : POINTS * (i + 1)] for i in range(POINTS)])
    y = np.empty((images, len(weight), TILE * down, TILE * across), F32)
    for i, j in np.ndindex(TILE, TILE):
        y[:, :, i::TILE, j::TILE] = results[i][j]
    return y[:, :, :high, :wide]
