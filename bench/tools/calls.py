"""The cost of a call: small layers from Python and inside a compiled loop.

    NUMBA_NUM_THREADS=1 python -m bench calls

Microseconds of one call: the median over rounds of a burst each. numba's setting is the most threads a call may take.
"""

from __future__ import annotations

import json
import statistics
import time

import numba
import numpy as np

import dynq_numba as dq
from bench.harness import timing
from bench.harness.problem import Shape

SHAPES = (Shape(1, 64, 64), Shape(1, 768, 768))
ROUNDS = 9
#: Calls of a compiled loop between two looks at the clock.
LOOP = 50


@numba.njit
def loop(x, w, out, count):
    for _ in range(count):
        dq.linear(x, w, out=out)


def measure() -> dict[str, dict[str, float]]:
    """Microseconds by shape and by the way it is called."""
    ways: dict[str, dict] = {}
    for m, k, n in SHAPES:
        rng = np.random.default_rng(0)
        w = dq.pack_linear(rng.standard_normal((n, k), dtype=np.float32), granularity="per_channel")
        x, out = rng.standard_normal((m, k), dtype=np.float32), np.empty((m, n), np.float32)
        ways[str(Shape(m, k, n))] = {
            "from Python": (lambda x=x, w=w: dq.linear(x, w), 1),
            "from Python, out given": (lambda x=x, w=w, out=out: dq.linear(x, w, out=out), 1),
            "in a compiled loop": (lambda x=x, w=w, out=out: loop(x, w, out, LOOP), LOOP),
        }
    times: dict[str, dict[str, list[float]]] = {shape: {way: [] for way in calls} for shape, calls in ways.items()}
    for _ in range(ROUNDS):
        for shape, calls in ways.items():
            for way, (call, count) in calls.items():
                time.sleep(0.002)
                times[shape][way].append(timing.burst(call) / count)
    return {
        shape: {way: float(f"{statistics.median(values) * 1e6:.3g}") for way, values in calls.items()}
        for shape, calls in times.items()
    }


def main(argv: list[str]) -> int:
    print(json.dumps(measure(), indent=1))
    return 0
