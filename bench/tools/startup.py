"""The cost of the first call: imports, packing and the first linear, with an empty kernel cache and with a full one.

    python -m bench startup [REPEATS]

Each repeat is a process of its own; seconds, medians. "first ever" compiles; "later process" loads from disk.
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import tempfile

from bench.harness.machine import ROOT

CHILD = """
import time
marks = [("start", time.perf_counter())]
def mark(name): marks.append((name, time.perf_counter()))
import numpy as np
mark("import numpy")
import numba
mark("import numba")
import dynq_numba as dq
mark("import dynq_numba")
dq.linear
mark("its first name")
weight, x = np.ones((768, 768), np.float32), np.ones((1, 768), np.float32)
mark("")
w = dq.pack_linear(weight, granularity="per_channel")
mark("first pack_linear")
dq.linear(x, w)
mark("first linear")
dq.linear(x, w)
mark("second linear")
import json
print(json.dumps({name: end - begin for (_, begin), (name, end) in zip(marks, marks[1:]) if name}))
"""


def process(cache: str) -> dict[str, float]:
    """Seconds of each step in one new process."""
    environment = {**os.environ, "NUMBA_CACHE_DIR": cache}
    command = (sys.executable, "-c", CHILD)
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=True, timeout=300)
    return json.loads(done.stdout.splitlines()[-1])


def measure(repeats: int = 5) -> dict[str, dict[str, float]]:
    """Median seconds of each step, "first ever" (of two: it compiles for seconds) and in a "later process"."""
    first = []
    for _ in range(min(2, repeats)):
        with tempfile.TemporaryDirectory(prefix="dynq-cache-") as cache:
            first.append(process(cache))
            later = [process(cache) for _ in range(repeats)]
    return {"first ever": medians(first), "later process": medians(later)}


def medians(runs: list[dict[str, float]]) -> dict[str, float]:
    return {name: float(f"{statistics.median(run[name] for run in runs):.3g}") for name in runs[0]}


def main(argv: list[str]) -> int:
    print(json.dumps(measure(*map(int, argv[:1])), indent=1))
    return 0
