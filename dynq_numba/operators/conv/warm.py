"""Calls that compile what leads to the kernels: see `dynq_numba.warmup`."""

from __future__ import annotations

import numpy as np

from ..base import Warm
from .api import conv
from .packed import pack_conv


def _run() -> None:
    taps = pack_conv(np.ones((2, 2, 1, 1), np.float32))
    for threads in (1, 2):
        conv(np.ones((2, 2, 2), np.float32), taps, threads=threads)


def warm() -> Warm:
    yield "conv", _run
