"""Calls that compile what leads to the kernels: see `dynq_numba.warmup`."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache, partial
from typing import Any, get_args

import numpy as np

from ...arguments.literals import Activation
from ..base import Warm
from .api import linear
from .many import linear_many
from .pack import pack_linear
from .packed import PackedLinear


def _run(x: np.ndarray, packed: Callable[[], PackedLinear], **options: Any) -> None:
    linear(x, packed(), **options)


def warm() -> Warm:
    x, residual = np.ones((2, 64), np.float32), np.ones((2, 2), np.float32)
    packed = cache(partial(pack_linear, x))
    yield "packing", packed
    yield "packing in groups", lambda: [pack_linear(x, bits=b, granularity="per_group").qweight for b in (8, 4)]
    yield "packing with zero points", lambda: pack_linear(x, bits=4, granularity="per_group", symmetric=False).qweight
    yield "linear", lambda: [linear(x, packed(), threads=t) for t in (1, 2)]
    yield "linear, residual", lambda: linear(x, packed(), residual=residual)
    for name in get_args(Activation):
        yield f"linear, {name}", partial(_run, x, packed, activation=name)
        yield f"linear, {name}, residual", partial(_run, x, packed, activation=name, residual=residual)
    yield "linear_many", lambda: [linear_many(x, [packed(), packed()], threads=t) for t in (1, 2)]
