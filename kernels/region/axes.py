"""Fewer axes for the same call: what is side by side in all operands becomes one axis.

    [8, 12, 64] + [64]      sizes (8, 12, 64), strides (3072, 256, 4) and (0, 0, 4) ──▶ (96, 256, 0) and (64, 4, 4)

Sizes and strides may be plain integers, or objects that stand for them: only `*` is used, and two axes are joined only
where `same` says that it is so.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from operator import eq
from typing import Any

#: An integer, or what stands for one.
Size = Any


def merged(
    shape: Sequence[Size], *strides: Sequence[Size], same: Callable[[Size, Size], bool] = eq
) -> list[tuple[Size, ...]]:
    """(size, stride, stride …) of each axis, with axes of size 1 gone and neighbours joined; outermost first."""
    found: list[tuple[Size, ...]] = []
    for size, *steps in zip(shape, *strides, strict=True):
        if isinstance(size, int) and size == 1:
            continue
        if found and all(same(before, size * step) for before, step in zip(found[-1][1:], steps, strict=True)):
            found[-1] = (found[-1][0] * size, *steps)
        else:
            found.append((size, *steps))
    return found


def padded(fields: Sequence[str], axes: list[tuple[Size, ...]], count: int) -> dict[str, Size]:
    """The fields of a record for `count` axes, a size and strides each; those that are not needed come first.

    Raises
    ------
    ValueError
        If there are more axes than that.
    """
    if len(axes) > count:
        raise ValueError(f"there are at most {count} axes that cannot be joined; got {len(axes)}: {axes}")
    filled = [(1, *[0] * (len(fields) - 1))] * (count - len(axes)) + axes
    return {f"{field}_{i}": axis[place] for i, axis in enumerate(filled) for place, field in enumerate(fields)}
