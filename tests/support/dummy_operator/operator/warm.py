"""Calls that compile what leads to the kernels: see `dynq_numba.warmup`."""

from __future__ import annotations

import numpy as np

from ..base import Warm
from .api import double


def warm() -> Warm:
    yield "double", lambda: double(np.ones(3, np.float32))
