"""Calls that compile what leads to the kernels: see `dynq_numba.warmup`."""

from __future__ import annotations

import numpy as np

from ..base import Warm
from .api import embedding, embedding_bag
from .packed import pack_embedding


def warm() -> Warm:
    table, ids = pack_embedding(np.ones((2, 64), np.float32)), np.zeros((1, 2), np.int64)
    yield "embedding", lambda: [embedding(ids, table), *(embedding_bag(ids, None, table, m) for m in ("sum", "max"))]
