"""Calls that compile what leads to the kernels: see `dynq_numba.warmup`."""

from __future__ import annotations

from ..base import Warm
from . import backend


def warm() -> Warm:
    yield "float32 convolution", lambda: [backend.step_address(), backend.step_entry()]
