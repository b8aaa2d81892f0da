"""Calls that compile what leads to the kernels: see `dynq_numba.warmup`."""

from __future__ import annotations

import numpy as np

from ..base import Warm
from .api import attention


def warm() -> Warm:
    q = np.ones((1, 1, 2, 2), np.float32)
    yield "attention", lambda: [attention(q, q, q, mask=m, threads=2) for m in (None, np.ones((2, 2), bool))]
