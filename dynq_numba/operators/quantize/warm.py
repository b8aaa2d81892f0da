"""Calls that compile what leads to the kernels: see `dynq_numba.warmup`."""

from __future__ import annotations

import numpy as np

from ..base import Warm
from .api import dequantize, quantize


def warm() -> Warm:
    yield "quantize, dequantize", lambda: dequantize(quantize(np.ones((2, 64), np.float32)))
