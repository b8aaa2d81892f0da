"""Calls that compile what leads to the kernels: see `dynq_numba.warmup`."""

from __future__ import annotations

import numpy as np

from ..base import Warm
from .api import quantized_matmul
from .integer import matmul_integer


def warm() -> Warm:
    x, whole = np.ones((2, 64), np.float32), np.ones((2, 2), np.int8)
    yield "matmul", lambda: [quantized_matmul(x, x.T, threads=t) for t in (1, 2)]
    yield "matmul_integer", lambda: matmul_integer(whole, whole)
