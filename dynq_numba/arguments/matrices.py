"""Arrays of any shape as the matrices that kernels take, and where results may be written."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy import may_share_memory, ndarray

from .checks import F32


def plain_out(out: Any, dtype: np.dtype, source: np.ndarray) -> bool:
    """Whether a matrix can be written as it is. If not, the slower way raises an error or takes another matrix."""
    return (
        type(out) is ndarray and out.dtype is dtype and out.shape == source.shape and out.flags.writeable
        and out.strides[1] == out.itemsize and not may_share_memory(out, source)
    )  # fmt: skip


def contiguous_rows(moved: np.ndarray) -> np.ndarray:
    """[..., K] as a matrix whose last axis is contiguous; a copy only if needed."""
    rows = moved.reshape(math.prod(moved.shape[:-1]), moved.shape[-1])
    return rows if rows.strides[1] == rows.itemsize or rows.shape[1] <= 1 else np.ascontiguousarray(rows)


def target_for(
    out: np.ndarray | None, axis: int | None, rows: np.ndarray, kind: np.dtype, source: np.ndarray
) -> np.ndarray:
    """The matrix to write, shape of `rows`: `out` itself where its layout fits and it does not overlap, else a new one.

    `axis` is the axis of `out` that the rows are along; None: all of it is one row.
    """
    if out is not None and not may_share_memory(out, source):
        moved = out if axis is None else np.moveaxis(out, axis, -1)
        if moved.flags.c_contiguous:
            return moved.reshape(rows.shape)
        if axis is not None and moved.ndim == 2 and moved.strides[1] == kind.itemsize:
            return moved
    return np.empty(rows.shape, kind)


def target_of(out: np.ndarray | None, shape: tuple[int, ...], *read: np.ndarray | None) -> np.ndarray:
    """The array to write, float32 in `shape`: `out` itself if its layout fits and no input overlaps it.

    Else a new array, which `delivered` copies into `out`. Kernels take matrices whose last axis is contiguous.
    """
    if out is not None and not any(each is not None and may_share_memory(out, each) for each in read):
        out = np.asarray(out).view(F32)  # exactly numpy's type, with numpy's own float32
        if out.flags.c_contiguous:
            return out.reshape(shape)
        if out.shape == shape and out.ndim == 2 and out.strides[1] == 4:
            return out
    return np.empty(shape, F32)


def delivered(target: np.ndarray, out: np.ndarray | None) -> np.ndarray:
    """`out`, which holds the result; the target where there is no `out`."""
    if out is None:
        return target
    if not may_share_memory(target, out):
        out[...] = target.reshape(out.shape)
    return out
