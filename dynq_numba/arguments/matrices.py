"""Arrays of any shape as the matrices that kernels take, and where results may be written."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy import may_share_memory, ndarray


def plain_out(out: Any, dtype: np.dtype, source: np.ndarray) -> bool:
    """Whether a matrix can be written as it is; if not, the long way tells why or finds another."""
    return (
        type(out) is ndarray and out.dtype is dtype and out.shape == source.shape and out.flags.writeable
        and out.strides[1] == out.itemsize and not may_share_memory(out, source)
    )  # fmt: skip


def contiguous_rows(moved: np.ndarray) -> np.ndarray:
    """[..., K] as a matrix whose last axis is contiguous; a copy only where need be."""
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
