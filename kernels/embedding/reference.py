"""The numpy reference of kernels/embedding/call.py. It defines every result, and makes all rows of quantized tables.

Row: float32 scale, float32 minimum, then the integers (see embedding/emit.py). float32 with one rounding per operation,
in the order written; parameters and quotients of packing in float64.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import cast

import numpy as np

from ..base.exact import fma

F32 = np.float32
HEAD = 8
#: Values of a table that are packed at a time.
CHUNK = 1 << 16


def row_bytes(columns: int, bits: int) -> int:
    """Bytes of a packed row."""
    return HEAD + (columns * bits + 7) // 8


def pack_rows(table: np.ndarray, bits: int, rows: np.ndarray, as_floats: Callable[[np.ndarray], np.ndarray]) -> None:
    """Fill uint8 rows [V, row_bytes] from floats table [V, D]; `as_floats` gives a part of it as finite float32.

    minimum = min w; scale = float32((max w - min w) / steps), 1 if that is 0, the next smaller one where
    steps · scale + minimum is no float32; q = clip(rint((w - minimum) / scale), 0, steps), ties to even; steps = 255
    or 15.
    """
    count, columns = table.shape
    steps, half = 2**bits - 1, (columns + 1) // 2
    together = max(1, CHUNK // max(1, columns))
    for first in range(0, count, together):
        part, target = as_floats(table[first : first + together]), rows[first : first + together]
        w = part.astype(np.float64)
        low = w.min(axis=1) if columns else np.zeros(len(w))
        scale = (((w.max(axis=1) if columns else low) - low) / steps).astype(F32)
        scale[scale == 0] = 1
        with np.errstate(over="ignore"):
            while (beyond := np.isinf(scale * F32(steps) + low.astype(F32))).any():
                scale[beyond] = np.nextafter(scale[beyond], F32(0))
        w -= low[:, None]
        w /= scale[:, None]
        q = np.clip(np.rint(w, out=w), 0, steps, out=w).astype(np.uint8)
        head = np.stack([scale, low.astype(F32)], axis=1)
        target[:, :HEAD] = head.view(np.uint8)
        if bits == 4:
            q[:, : columns - half] |= q[:, half:] << 4
            q = q[:, :half]
        target[:, HEAD:] = q


def unpack_rows(rows: np.ndarray, columns: int, bits: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """uint8 q [V, columns], float32 scale [V] and minimum [V]."""
    head = np.ascontiguousarray(rows[:, :HEAD]).view(F32)
    q = rows[:, HEAD:]
    q = np.concatenate([q & 15, q >> 4], axis=1)[:, :columns] if bits == 4 else q.copy()
    return q, head[:, 0].copy(), head[:, 1].copy()


def embedding(rows: np.ndarray, columns: int, bits: int, ids: np.ndarray) -> np.ndarray:
    """float32 [len(ids), columns]."""
    q, scale, minimum = unpack_rows(rows[ids], columns, bits)
    return cast(np.ndarray, q.astype(F32) * scale[:, None] + minimum[:, None])


def embedding_bag(
    rows: np.ndarray,
    columns: int,
    bits: int,
    ids: np.ndarray,
    offsets: np.ndarray,
    mode: str,
    weights: np.ndarray | None,
) -> np.ndarray:
    """float32 [bags, columns]; offsets [bags + 1]. A sum that is not finite is taken again, in float64."""
    begin, inside = offsets[:-1], np.diff(offsets)
    total = np.full((len(begin), columns), -np.inf if mode == "max" else 0, F32)
    base = np.zeros(len(begin), F32)
    for step in range(inside.max(initial=0)):
        bags = np.flatnonzero(inside > step)
        at = begin[bags] + step
        q, scale, minimum = unpack_rows(rows[ids[at]], columns, bits)
        if mode == "max":
            value = q.astype(F32) * scale[:, None] + minimum[:, None]
            total[bags] = np.where(value > total[bags], value, total[bags])
        else:
            weight = np.ones(len(bags), F32) if weights is None else weights[at]
            with np.errstate(all="ignore"):
                total[bags] = fma(q.astype(F32), np.broadcast_to((weight * scale)[:, None], q.shape), total[bags])
            base[bags] = fma(weight, minimum, base[bags])
    if mode == "max":
        return np.where(inside[:, None] > 0, total, F32(0))
    count = np.maximum(inside, 1) if mode == "mean" else np.ones(len(begin), np.int64)
    with np.errstate(all="ignore"):
        result = (total + base[:, None]) * (F32(1) / count.astype(F32))[:, None]
        if not np.isfinite(result).all():
            again = _wide_sums(rows, columns, bits, ids, offsets, weights) / count[:, None]
            result = np.where(np.isfinite(result), result, again.astype(F32))
    return cast(np.ndarray, result)


def _wide_sums(
    rows: np.ndarray, columns: int, bits: int, ids: np.ndarray, offsets: np.ndarray, weights: np.ndarray | None
) -> np.ndarray:
    """float64 [bags, columns]: t = t + weight · (q · scale + minimum) in the order of the ids."""
    total = np.zeros((len(offsets) - 1, columns))
    for bag in range(len(total)):
        for i in range(offsets[bag], offsets[bag + 1]):
            q, scale, minimum = unpack_rows(rows[ids[i : i + 1]], columns, bits)
            weight = 1.0 if weights is None else np.float64(weights[i])
            total[bag] += weight * (q[0] * np.float64(scale[0]) + np.float64(minimum[0]))
    return total
