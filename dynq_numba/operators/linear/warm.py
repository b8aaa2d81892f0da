"""Calls that compile what leads to the kernels: see `dynq_numba.warmup`."""

from __future__ import annotations

from functools import partial
from typing import get_args

import numpy as np

from ...arguments.literals import Activation
from ..base import Warm
from .api import linear
from .many import linear_many
from .pack import pack_linear


def warm() -> Warm:
    x, residual = np.ones((2, 64), np.float32), np.ones((2, 2), np.float32)
    w = pack_linear(x)
    yield "packing in groups", lambda: [pack_linear(x, bits=b, granularity="per_group").qweight for b in (8, 4)]
    yield "packing with zero points", lambda: pack_linear(x, bits=4, granularity="per_group", symmetric=False).qweight
    yield "linear", lambda: [linear(x, w, threads=t) for t in (1, 2)]
    yield "linear, residual", lambda: linear(x, w, residual=residual)
    for name in get_args(Activation):
        yield f"linear, {name}", partial(linear, x, w, activation=name)
        yield f"linear, {name}, residual", partial(linear, x, w, activation=name, residual=residual)
    yield "linear_many", lambda: [linear_many(x, [w, w], threads=t) for t in (1, 2)]
