"""Fewer axes for the same call: what is side by side in all operands becomes one axis.

    [8, 12, 64] + [64]      sizes (8, 12, 64), strides (3072, 256, 4) and (0, 0, 4) ──▶ (96, 64), (256, 4) and (0, 4)

Sizes and strides may be plain integers, or objects that stand for them: only `*` and `==` are used, and two axes are
joined only where `==` says that it is so.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from .context import AXES

#: An integer, or what stands for one.
Size = Any


def broadcast_strides(shape: Sequence[Size], strides: Sequence[Size], axes: int) -> list[Size]:
    """Strides of a leaf in a call of so many axes: 0 where it is repeated, along axes of size 1 or that it lacks."""
    own = [0 if size == 1 else stride for size, stride in zip(shape, strides, strict=True)]
    return [0] * (axes - len(own)) + own


def merged(sizes: Sequence[Size], strides: Sequence[Sequence[Size]]) -> tuple[list[Size], list[list[Size]]]:
    """Sizes and each operand's strides, with axes of size 1 gone and neighbours joined; outermost first."""
    found: list[tuple[Size, list[Size]]] = []
    for size, *steps in reversed(list(zip(sizes, *strides, strict=True))):
        if size == 1:
            continue
        if found:
            inner, inner_steps = found[-1]
            if all(bool(outer == step * inner) for outer, step in zip(steps, inner_steps, strict=True)):
                found[-1] = inner * size, inner_steps
                continue
        found.append((size, steps))
    found.reverse()
    return [size for size, _ in found], [[steps[i] for _, steps in found] for i in range(len(strides))]


def fields(sizes: Sequence[Size], strides: Sequence[Sequence[Size]]) -> dict[str, Size]:
    """`merged`, as fields of the region's record.

    Raises
    ------
    ValueError
        If more axes than a record has are left.
    """
    sizes, strides = merged(sizes, strides)
    missing = AXES - len(sizes)
    if missing < 0:
        raise ValueError(f"a region has at most {AXES} axes that cannot be joined; got {len(sizes)}: {sizes}")
    named = {f"size_{axis}": size for axis, size in enumerate([1] * missing + list(sizes))}
    for i, steps in enumerate(strides):
        named |= {f"stride_{i}_{axis}": step for axis, step in enumerate([0] * missing + list(steps))}
    return named
