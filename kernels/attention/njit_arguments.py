"""Arrays of jitted callers (dynq_numba/operators/attention/njit.py), prepared for attention."""

from __future__ import annotations

import numpy as np

from ..base.jit import kernel


@kernel
def as_is(array):
    return array


@kernel
def contiguous_last(array):
    """The array itself where it will do: the part of a cache that is filled is not copied."""
    return array if array.strides[3] == 4 or array.shape[3] <= 1 else np.ascontiguousarray(array)


@kernel
def as_float(array):
    return np.ascontiguousarray(array).astype(np.float32)


@kernel
def no_mask(mask, shape):
    return np.empty((1, 1, 1, 1), np.uint8)


@kernel
def full_mask(mask, shape):
    """A C-contiguous copy of the full shape, of the mask's own dtype."""
    for axis in range(4):
        if mask.shape[axis] != shape[axis] and mask.shape[axis] != 1:
            raise ValueError("mask must broadcast to [B, H, S, T]")
    return np.broadcast_to(mask, shape).copy()


@kernel
def no_lengths(lengths, batch, keys):
    return np.empty(1, np.int64)


@kernel
def batch_lengths(lengths, batch, keys):
    if lengths.shape[0] != batch:
        raise ValueError("key_lengths must have one entry for each batch")
    for length in lengths:
        if not 0 <= length <= keys:
            raise ValueError("key_lengths must lie in [0, T]")
    return np.ascontiguousarray(lengths).astype(np.int64)


@kernel
def one_length(lengths, batch, keys):
    if not 0 <= lengths <= keys:
        raise ValueError("key_lengths must lie in [0, T]")
    return np.full(batch, lengths, np.int64)
