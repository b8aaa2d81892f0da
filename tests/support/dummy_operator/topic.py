"""double beside numpy."""

from __future__ import annotations

import numpy as np

from bench.topics.base import Topic, Way

TOPIC = Topic(
    "Doubling", {"4096": {"n": 4096}}, lambda case: {"x": np.ones(case["n"], np.float32)},
    lambda case, given: 2 * given["x"].astype(np.float64),
    (Way("numpy", (), lambda case, given, threads: lambda: given["x"] + given["x"], 1e-6),),
)  # fmt: skip
