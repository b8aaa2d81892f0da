"""The numpy reference of Winograd's way: tiles of 2×2 and of 4×4 results, F(2×2, 3×3) and F(4×4, 3×3).

The transforms are also what the kernels are emitted from (emit_winograd.py). winograd.py has formula and bounds.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..base.exact import F32, fma
from ..conv.reference import Pair

#: a·b + c with one rounding, of arrays or of what takes their place.
Fma = Callable[[Any, Any, Any], Any]


@dataclass(frozen=True)
class Tiles:
    """One size of tiles.

    Attributes
    ----------
    size, points : int
        The side of a tile of the result, and the points along an axis: the side of what it is made from.
    into, out_of : function of an Fma and values
        Along one axis `points` values of an image at the points; `size` values of the result of the sums there.
    taps : function of three values
        Those of a kernel at the points, in float64.
    biased : int or None
        The point of both axes whose sum begins with the bias, where there is one that goes into all values of the
        result; else it is added to them.
    """

    size: int
    points: int
    into: Callable[..., tuple]
    out_of: Callable[..., tuple]
    taps: Callable[..., tuple]
    biased: int | None

    @property
    def square(self) -> int:
        return self.points * self.points


def _into_4(fma: Fma, a: Any, b: Any, c: Any, d: Any) -> tuple:
    return a - c, b + c, c - b, b - d


def _out_of_4(fma: Fma, a: Any, b: Any, c: Any, d: Any) -> tuple:
    return (a + b) + c, (b - c) - d


def _taps_4(a: Any, b: Any, c: Any) -> tuple:
    return a, ((a + b) + c) / 2, ((a - b) + c) / 2, c


#: The points of F(4×4, 3×3) are 0, ±P, ±Q and infinity. Their products below are exact, and few points of so few bits
#: have less error: half that of ±1 and ±2.
P, Q = 5 / 8, 3 / 2
P1, P2, P3, Q1, Q2, Q3, BOTH, SUM = (F32(each) for each in (P, P**2, P**3, Q, Q**2, Q**3, (P * Q) ** 2, P**2 + Q**2))


def _into_6(fma: Fma, a: Any, b: Any, c: Any, d: Any, e: Any, f: Any) -> tuple:
    p, by_p = fma(-Q2, c, e), fma(-Q2, b, d)
    q, by_q = fma(-P2, c, e), fma(-P2, b, d)
    first, last = fma(BOTH, a, fma(-SUM, c, e)), fma(BOTH, b, fma(-SUM, d, f))
    return first, fma(P1, by_p, p), fma(-P1, by_p, p), fma(Q1, by_q, q), fma(-Q1, by_q, q), last


def _out_of_6(fma: Fma, a: Any, b: Any, c: Any, d: Any, e: Any, f: Any) -> tuple:
    p, by_p, q, by_q = b + c, b - c, d + e, d - e
    return a + (p + q), fma(Q1, by_q, P1 * by_p), fma(Q2, q, P2 * p), fma(Q3, by_q, fma(P3, by_p, f))


def _taps_6(a: Any, b: Any, c: Any) -> tuple:
    def of(point: float, other: float) -> tuple:
        even, odd, scale = a + point * point * c, point * b, 2 * point * point * (point * point - other * other)
        return (even + odd) / scale, (even - odd) / scale

    return a / (P * Q) ** 2, *of(P, Q), *of(Q, P), c


SMALL = Tiles(2, 4, _into_4, _out_of_4, _taps_4, 1)
LARGE = Tiles(4, 6, _into_6, _out_of_6, _taps_6, None)


def along_both(transform: Callable[..., tuple], values: Any) -> list[tuple]:
    """A transform of the columns of rows of values, then of the rows that this gives."""
    columns = [transform(*column) for column in zip(*values, strict=True)]
    return [transform(*row) for row in zip(*columns, strict=True)]


def weights_at_points(tiles: Tiles, weight: np.ndarray) -> np.ndarray:
    """float32 [points², O, C] of a weight [O, C, 3, 3]: in float64, rounded once."""
    taps = np.moveaxis(weight.astype(np.float64), (2, 3), (0, 1))
    with np.errstate(all="ignore"):
        return np.array(along_both(tiles.taps, taps)).reshape(tiles.square, *weight.shape[:2]).astype(F32)


def winograd(
    tiles: Tiles, x: np.ndarray, weight: np.ndarray, bias: np.ndarray | None, padding: tuple[Pair, Pair]
) -> np.ndarray:
    """float32 [N, O, OH, OW] of float32 x [N, C, H, W], weight [O, C, 3, 3] and bias [O] (or zeros); stride 1.

    For each tile of the result, from points² values of x: `into`, a chain of fma over c from 0 at each of the points
    (from the bias at the one that is biased), `out_of` (and plus bias, where no point is biased).
    """
    (above, below), (before, after) = padding
    images, channels, height, width = x.shape
    size, points = tiles.size, tiles.points
    high, wide = height + above + below - 2, width + before + after - 2
    padded = np.pad(x, ((0, 0), (0, 0), (above, below + -high % size), (before, after + -wide % size)))
    down, across = -(-high // size), -(-wide // size)
    met = [
        [padded[:, :, i:, j:][:, :, : size * (down - 1) + 1 : size, : size * (across - 1) + 1 : size]
         for j in range(points)]
        for i in range(points)
    ]  # fmt: skip
    u = weights_at_points(tiles, weight)
    biases = (np.zeros(len(weight), F32) if bias is None else bias)[:, None, None]
    with np.errstate(all="ignore"):
        v = [each for row in along_both(lambda *values: tiles.into(fma, *values), met) for each in row]
        sums = []
        for point in range(tiles.square):
            total = np.zeros((images, len(weight), down, across), F32)
            if tiles.biased is not None and point == tiles.biased * (points + 1):
                total += biases
            for c in range(channels):
                total = fma(u[point, :, c, None, None], v[point][:, None, c], total)
            sums.append(total)
        rows = [sums[points * i : points * (i + 1)] for i in range(points)]
        results = along_both(lambda *values: tiles.out_of(fma, *values), rows)
        if tiles.biased is None:
            results = [tuple(each + biases for each in row) for row in results]
    y = np.empty((images, len(weight), size * down, size * across), F32)
    for i, j in np.ndindex(size, size):
        y[:, :, i::size, j::size] = results[i][j]
    return y[:, :, :high, :wide]
