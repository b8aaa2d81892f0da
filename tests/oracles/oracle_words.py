"""The distance of two texts in words, by the recursive definition."""

from functools import cache


def distance(wanted: str, got: str) -> int:
    a, b = wanted.split(), got.split()

    @cache
    def of(i: int, j: int) -> int:
        if not i or not j:
            return i + j
        return min(of(i - 1, j) + 1, of(i, j - 1) + 1, of(i - 1, j - 1) + (a[i - 1] != b[j - 1]))

    return of(len(a), len(b))
