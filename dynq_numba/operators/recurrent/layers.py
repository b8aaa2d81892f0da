"""From the arguments of a recurrent function to its results: check, shape, run layer by layer."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import numpy as np

from ...arguments import checks
from ...arguments.checks import F32
from .backend import sequence
from .packed import PackedRecurrent


def run_layers(
    kind: type[PackedRecurrent], x: Any, packed: Any, h0: Any, c0: Any, lengths: Any, batch_first: bool, threads: Any
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """y, h and c of whole sequences; c is h where the kind has none."""
    layers = (packed,) if type(packed) is kind else _stack(kind, packed)
    x = checks.float_array("x", x)
    first = layers[0]
    if x.ndim not in (2, 3) or x.shape[-1] != first.input_size:
        order = "batch, times" if batch_first else "times, batch"
        raise ValueError(f"x must have shape [{order}, {first.input_size}], or without batch; got {x.shape}")
    single = x.ndim == 2
    if single:
        x = x[:, None]
    elif batch_first:
        x = x.swapaxes(0, 1)
    times, batch = x.shape[:2]
    count = 0 if threads is None else checks.thread_count("threads", threads)
    ends = None if lengths is None else _lengths(lengths, times, batch)
    parts = sum(layer.directions for layer in layers)
    h0 = _states("h0", h0, parts, batch, first.state_size, single)
    c0 = _states("c0", c0, parts, batch, first.hidden_size, single)
    hs, cs, before = [], [], 0
    for layer in layers:
        rows = x.reshape(times * batch, layer.input_size)
        if rows.strides[1] != 4 and layer.input_size > 1:
            rows = np.ascontiguousarray(rows)
        own = slice(before, before + layer.directions)
        before += layer.directions
        x, h, c = sequence(
            layer, rows, times, batch, ends, None if h0 is None else h0[own], None if c0 is None else c0[own], count
        )
        hs.append(h)
        cs.append(c)
    h, c = (hs[0], cs[0]) if len(layers) == 1 else (np.concatenate(hs), np.concatenate(cs))
    if single:
        return x[:, 0], h[:, 0], c[:, 0] if c.ndim == 3 else c
    return (x.swapaxes(0, 1) if batch_first else x), h, c


def _stack(kind: type[PackedRecurrent], packed: Any) -> tuple[PackedRecurrent, ...]:
    """Layers that can follow each other and share their states' shapes."""
    name = f"{kind.__name__} from pack_{kind.kind}"
    if not isinstance(packed, (list, tuple)) or not packed or any(type(layer) is not kind for layer in packed):
        raise TypeError(f"packed must be a {name}, or a sequence of them; got {checks.describe(packed)}")
    for before, layer in pairwise(packed):
        width = before.directions * before.state_size
        if layer.input_size != width:
            raise ValueError(f"packed layers must take what the one before gives, {width}; got {layer.input_size}")
        if (layer.state_size, layer.hidden_size) != (before.state_size, before.hidden_size):
            raise ValueError("packed layers must have states of one size; run such layers one by one")
    return tuple(packed)


def _lengths(lengths: Any, times: int, batch: int) -> np.ndarray:
    array = checks.integers("lengths", lengths)
    if array.shape != (batch,):
        raise ValueError(f"lengths must have shape ({batch},), one for each sequence; got {array.shape}")
    if array.size and not (array.min() >= 0 and array.max() <= times):
        raise ValueError(f"lengths must lie in [0, {times}]; got {array.min()} … {array.max()}")
    return np.ascontiguousarray(array, np.int64)


def _states(name: str, value: Any, parts: int, batch: int, size: int, single: bool) -> np.ndarray | None:
    """Initial states as contiguous float32 [parts, batch, size]."""
    if value is None:
        return None
    array = checks.float_array(name, value)
    expected = (parts, size) if single else (parts, batch, size)
    if array.shape != expected:
        raise ValueError(f"{name} must have shape {expected}; got {array.shape}")
    return np.ascontiguousarray(array).reshape(parts, batch, size)


def run_step(
    kind: type[PackedRecurrent], x: Any, packed: Any, h: Any, c: Any, threads: Any
) -> tuple[np.ndarray, np.ndarray]:
    """h and c after one step."""
    if type(packed) is not kind:
        raise TypeError(f"packed must be a {kind.__name__} from pack_{kind.kind}; got {checks.describe(packed)}")
    if packed.directions != 1:
        raise ValueError("packed must have one direction for a single step; got a bidirectional layer")
    if type(x) is not np.ndarray or x.dtype is not F32:
        x = checks.float_array("x", x)
    if x.ndim not in (1, 2) or x.shape[-1] != packed.input_size:
        raise ValueError(f"x must have shape [batch, {packed.input_size}] or [{packed.input_size}]; got {x.shape}")
    lead = x.shape[:-1]
    batch = lead[0] if lead else 1
    count = 0 if threads is None else checks.thread_count("threads", threads)
    rows = x.reshape(batch, packed.input_size)
    if rows.strides[1] != 4 and packed.input_size > 1:
        rows = np.ascontiguousarray(rows)
    h = None if h is None else _state("h", h, (*lead, packed.state_size))
    c = None if c is None else _state("c", c, (*lead, packed.hidden_size))
    _, h, c = sequence(packed, rows, 1, batch, None, h, c, count)
    return h.reshape(*lead, packed.state_size), c.reshape(*lead, packed.hidden_size) if c.ndim == 3 else c


def _state(name: str, value: Any, shape: tuple[int, ...]) -> np.ndarray:
    array = checks.float_array(name, value)
    if array.shape != shape:
        raise ValueError(f"{name} must have shape {shape}; got {array.shape}")
    return array if array.flags.c_contiguous else np.ascontiguousarray(array)
