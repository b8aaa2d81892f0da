"""Arrays of jitted callers (dynq_numba/operators/recurrent/njit.py), prepared for a layer, and its results."""

from __future__ import annotations

import numpy as np

from ..base.jit import kernel
from ..base.memory import data_ptr, keep, null
from .call import sequence_into
from .context import LayerDescriptor


@kernel
def no_states(value, parts, batch, size):
    return np.empty((0, 0, 0), np.float32)


@kernel
def states(value, parts, batch, size):
    """[parts, batch, size] as contiguous float32."""
    if value.shape != (parts, batch, size):
        raise ValueError("h0 and c0 must have shape [directions, batch, size] for this layer")
    return np.ascontiguousarray(value).astype(np.float32)


@kernel
def step_states(value, parts, batch, size):
    """[batch, size] as contiguous float32 [1, batch, size]."""
    if value.shape != (batch, size):
        raise ValueError("h and c must have shape [batch, size] for this layer")
    return np.ascontiguousarray(value).astype(np.float32).reshape((1, batch, size))


@kernel
def no_lengths(value, times, batch):
    return np.empty(0, np.int64)


@kernel
def lengths_of(value, times, batch):
    if value.shape != (batch,):
        raise ValueError("lengths must have one integer for each sequence")
    for length in value:
        if not 0 <= length <= times:
            raise ValueError("lengths must lie between 0 and the times of x")
    return value.astype(np.int64)


@kernel
def sequence(rows, times, batch, lengths, h0, c0, descriptor, threads):
    """y, h and c of rows [times·batch, I]; an argument without elements is none."""
    layer = LayerDescriptor(data_ptr(descriptor))
    count, state = layer.directions, layer.state
    y = np.empty((times, batch, count * state), np.float32)
    h = np.empty((count, batch, state), np.float32)
    c = np.empty((count, batch, layer.hidden if layer.has_cells else 0), np.float32)
    sequence_into(
        data_ptr(rows), rows.strides[0], times, batch, data_ptr(lengths) if lengths.size else null(),
        data_ptr(h0) if h0.size else null(), data_ptr(c0) if c0.size else null(),
        data_ptr(y), data_ptr(h), data_ptr(c), layer, threads,
    )  # fmt: skip
    keep(rows)
    keep(lengths)
    keep(h0)
    keep(c0)
    keep(descriptor)
    return y, h, c
