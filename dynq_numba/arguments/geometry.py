"""How a kernel moves over images."""

from __future__ import annotations

from dataclasses import dataclass

Pair = tuple[int, int]


@dataclass(frozen=True)
class Geometry:
    """How a kernel moves over an image, of two dimensions."""

    stride: Pair
    padding: tuple[Pair, Pair]
    dilation: Pair
    groups: int

    def output(self, size: Pair, taps: Pair) -> Pair:
        """Height and width of the result; not above 0 where the kernel does not fit in."""
        along = zip(size, self.padding, taps, self.dilation, self.stride, strict=True)
        high, wide = ((n + sum(around) - d * (k - 1) - 1) // step + 1 for n, around, k, d, step in along)
        return high, wide
