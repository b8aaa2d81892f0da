"""Calls that compile what leads to the kernels: see `dynq_numba.warmup`."""

from __future__ import annotations

import numpy as np

from ..base import Warm
from ..linear.pack import pack_linear
from . import step
from .api import Chain


def _run() -> None:
    w = pack_linear(np.ones((2, 64), np.float32))
    chain = Chain({"a": step.Linear(w), "y": step.Linear(w, x="x")}, "y")
    for rows in (1, 200):
        chain(np.ones((rows, 64), np.float32), threads=2)


def warm() -> Warm:
    yield "Chain", _run
