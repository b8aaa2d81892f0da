"""Calls that compile what leads to the kernels: see `dynq_numba.warmup`."""

from __future__ import annotations

import numpy as np

from ..base import Warm
from . import backend


def warm() -> Warm:
    a, b, out = (np.ones(shape, np.float32) for shape in ((2, 3), (3, 4), (2, 4)))
    yield "sgemm", lambda: backend.product(a, b, out, None, False, 1)
