"""What the float operations run on: compiled entries, or the numpy reference under NUMBA_DISABLE_JIT=1.

Each function gives True when `out` is filled. Without `trusted` it may do nothing and give False: then the arguments
are not plain, or helper threads must be started first. With it the caller has seen to everything (floats_entry.py).
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np
from numba import types

from ...kernels.base.jit import JIT_ENABLED, entry
from ...kernels.objects.arguments import OBJECT
from ...kernels.objects.view import ADDRESS
from ...kernels.rowwise import entry as floats_entry
from ...kernels.rowwise import reference as reference_floats
from ...kernels.rowwise.intrinsics import MAP_NAMES
from ...runtime import isa, kernel_table, threads
from ...runtime.backend import choose
from ...runtime.signatures import WORD

#: float32 values that one thread does in a microsecond, about.
RATES = {"softmax": 4500, "layer_norm": 8000, "rms_norm": 10000, "map": 6000, "rotary": 10000}
_END = (OBJECT, ADDRESS, WORD)  # threads, descriptor, trusted
_NORM = (floats_entry.norm_entry, (*[OBJECT] * 6, types.float32, *_END))
_ENTRIES = {
    "softmax": (floats_entry.softmax_entry, (*[OBJECT] * 3, *_END)),
    "layer_norm": _NORM,
    "rms_norm": _NORM,
    "map": (floats_entry.map_entry, (WORD, *[OBJECT] * 2, *_END)),
    "pair": (floats_entry.pair_entry, (WORD, *[OBJECT] * 3, *_END)),
    "rotary": (floats_entry.rotary_entry, (*[OBJECT] * 5, WORD, OBJECT, *_END)),
}


@cache
def _operation(name: str) -> tuple[Callable, np.ndarray]:
    """The entry of an operation and its descriptor."""
    worker = "map" if name == "pair" else name
    objects = {
        "array_class": np.ndarray, "float32": np.dtype(np.float32), "int_class": int, "none": None,
        "boolean": np.dtype(np.bool_), "int64": np.dtype(np.int64),
    }  # fmt: skip
    words = floats_entry.RowwiseDescriptor.array(
        worker=kernel_table.worker_address(worker, isa.active()), pool=threads.POOL, rate=RATES[worker],
        **{name: id(thing) for name, thing in objects.items()},
    )  # fmt: skip
    return entry(*_ENTRIES[name]), words


def ready(count: int | None, values: int) -> None:
    """Start the helpers that a call on so many values could want."""
    if JIT_ENABLED and ((count or 0) > 1 or (count is None and values >= 2 * min(RATES.values()))):
        threads.ready(count or 0)


def _softmax(x: Any, mask: Any, out: Any, count: Any, trusted: bool = False) -> bool:
    run, words = _operation("softmax")
    return run(x, mask, out, count, words, trusted) == 0


def _norm(
    name: str, x: Any, weight: Any, bias: Any, residual: Any, total: Any, out: Any, eps: float, count: Any,
    trusted: bool = False,
) -> bool:  # fmt: skip
    run, words = _operation(name)
    return run(x, weight, bias, residual, total, out, eps, count, words, trusted) == 0


def _unary(name: str, x: Any, out: Any, count: Any, trusted: bool = False) -> bool:
    run, words = _operation("map")
    return run(_NUMBERS[name], x, out, count, words, trusted) == 0


def _swiglu(gate: Any, up: Any, out: Any, count: Any, trusted: bool = False) -> bool:
    run, words = _operation("pair")
    return run(_NUMBERS["swiglu"], gate, up, out, count, words, trusted) == 0


def _rotary(
    x: Any, cos: Any, sin: Any, positions: Any, offset: Any, interleaved: bool, out: Any, count: Any,
    trusted: bool = False,
) -> bool:  # fmt: skip
    run, words = _operation("rotary")
    return run(x, cos, sin, positions, offset, interleaved, out, count, words, trusted) == 0


_NUMBERS = {name: number for number, name in enumerate(MAP_NAMES)}


# -- without a compiler -------------------------------------------------------------------------
def _rows(array: np.ndarray) -> np.ndarray:
    return array.reshape(-1, array.shape[-1])


def _softmax_reference(x: Any, mask: Any, out: Any, count: Any, trusted: bool = False) -> bool:
    if trusted:
        full = None if mask is None else _rows(np.broadcast_to(mask, x.shape))
        out[...] = reference_floats.softmax(_rows(x), full).reshape(out.shape)
    return trusted


def _norm_reference(
    name: str, x: Any, weight: Any, bias: Any, residual: Any, total: Any, out: Any, eps: float, count: Any,
    trusted: bool = False,
) -> bool:  # fmt: skip
    if trusted:
        addend = None if residual is None else _rows(residual)
        y, v = reference_floats.norm(_rows(x), weight, bias, addend, np.float32(eps), name == "layer_norm")
        out[...] = y.reshape(out.shape)
        if total is not None:
            total[...] = v.reshape(total.shape)
    return trusted


def _unary_reference(name: str, x: Any, out: Any, count: Any, trusted: bool = False) -> bool:
    if trusted:
        out[...] = reference_floats.MAPS[name](x)
    return trusted


def _swiglu_reference(gate: Any, up: Any, out: Any, count: Any, trusted: bool = False) -> bool:
    if trusted:
        with np.errstate(all="ignore"):
            out[...] = reference_floats.swiglu(gate, up)
    return trusted


def _rotary_reference(
    x: Any, cos: Any, sin: Any, positions: Any, offset: Any, interleaved: bool, out: Any, count: Any,
    trusted: bool = False,
) -> bool:  # fmt: skip
    if trusted:
        rows = _rows(x)
        period = x.shape[-2] if x.ndim > 1 else 1
        places = offset + np.arange(period) if positions is None else positions.reshape(-1)
        places = places[np.arange(len(rows)) % len(places)]
        out[...] = reference_floats.rotary(rows, cos, sin, places, interleaved).reshape(out.shape)
    return trusted


softmax = choose(_softmax, _softmax_reference)
norm = choose(_norm, _norm_reference)
unary = choose(_unary, _unary_reference)
swiglu = choose(_swiglu, _swiglu_reference)
rotary = choose(_rotary, _rotary_reference)
