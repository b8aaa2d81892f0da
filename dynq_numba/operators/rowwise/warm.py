"""Calls that compile what leads to the kernels: see `dynq_numba.warmup`."""

from __future__ import annotations

import numpy as np

from ..base import Warm
from .elementwise import gelu, swiglu
from .norms import layer_norm, rms_norm, softmax
from .rotary import rotary


def warm() -> Warm:
    x = np.ones((2, 64), np.float32)
    yield "softmax, norms", lambda: [f(x) for f in (softmax, layer_norm, rms_norm)]
    yield "gelu, swiglu, rotary", lambda: [gelu(x), swiglu(x), rotary(x, x[:, :32], x[:, :32])]
