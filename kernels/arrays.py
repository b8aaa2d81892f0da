"""Small array helpers for jitted callers (dynq_numba/jitted.py): anything with a row axis last, as a matrix."""

from __future__ import annotations

import numpy as np

from .jit import kernel


@kernel
def as_rows(array, columns):
    """[..., columns] floats as float32 [rows, columns], C contiguous; a copy."""
    rows = 1
    for axis in range(array.ndim - 1):
        rows *= array.shape[axis]
    return np.ascontiguousarray(array).astype(np.float32).reshape((rows, columns))


@kernel
def view_rows(array, columns):
    rows = 1
    for axis in range(array.ndim - 1):
        rows *= array.shape[axis]
    return array.reshape((rows, columns))


@kernel
def zero_vector(value, count, flip):
    return np.full(count, np.int32(value + flip), np.int32)


@kernel
def zero_array(value, count, flip):
    if value.size != count:
        raise ValueError("zero points must be a scalar, or one per row of a or column of b")
    return (value.reshape(count) + flip).astype(np.int32)
