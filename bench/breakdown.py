"""Where a linear's time goes: python -m bench.breakdown THREADS M,K,N ...

``whole``     the call, numpy array to numpy array.
``dots``      what the dots alone would take at the register peak of the same rounds.
``quantize``  `dq.quantize` of the same rows: the same arithmetic as the pass inside the linear, into plain rows.

Microseconds, medians over interleaved rounds.
"""

from __future__ import annotations

import json
import statistics
import sys
import time

import numpy as np

import dynq_numba as dq
from bench import timing
from bench.limits import Limits
from bench.problem import Shape

ROUNDS = 7


def breakdown(shape: Shape, limits: Limits) -> dict[str, float]:
    """Microseconds of each part."""
    rng = np.random.default_rng(0)
    x = rng.standard_normal((shape.m, shape.k), dtype=np.float32)
    w = dq.pack_linear(rng.standard_normal((shape.n, shape.k), dtype=np.float32), granularity="per_channel")
    parts = {"whole": lambda: dq.linear(x, w, threads=limits.threads), "quantize": lambda: dq.quantize(x)}
    times: dict[str, list[float]] = {name: [] for name in (*parts, "dots")}
    for _ in range(ROUNDS):
        for name, call in parts.items():
            time.sleep(0.002)
            times[name].append(timing.burst(call))
        times["dots"].append(shape.operations / limits.burst()["peak"])
    return {name: float(f"{statistics.median(values) * 1e6:.4g}") for name, values in times.items()}


def measure(threads: int, shapes: list[Shape]) -> dict[str, dict[str, float]]:
    """The parts, by shape."""
    limits = Limits(threads)
    return {str(shape): breakdown(shape, limits) for shape in shapes}


if __name__ == "__main__":
    given = [Shape(*map(int, word.split(","))) for word in sys.argv[2:]]
    print(json.dumps(measure(int(sys.argv[1]), given), indent=1))
