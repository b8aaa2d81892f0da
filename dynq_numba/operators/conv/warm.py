"""Calls that compile what leads to the kernels: see `dynq_numba.warmup`."""

from __future__ import annotations

import numpy as np

from ..base import Warm
from .api import conv
from .packed import pack_conv


def warm() -> Warm:
    taps = pack_conv(np.ones((2, 2, 1, 1), np.float32))
    yield "conv", lambda: [conv(np.ones((2, 2, 2), np.float32), taps, threads=t) for t in (1, 2)]
