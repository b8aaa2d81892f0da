"""The cost of a start: imports and first calls, with an empty kernel cache and with a full one.

    python -m bench startup [REPEATS]              dq.linear
    python -m bench startup [REPEATS] MiniLM       a session on the artifact of a case of `python -m bench models`

Each repeat is a process of its own; seconds, medians. "first ever" compiles; "later process" loads from disk. Of
a model there are the seconds that the process computed ("CPU", all its threads), too: they depend less on who else is
busy.
"""

from __future__ import annotations

import compileall
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

from bench.harness.machine import ROOT

MARKS = """
import os, sys, time
interpreter = time.time() - float(os.environ["BEGAN"]), time.process_time()
marks = [("start", time.perf_counter(), time.process_time())]
def mark(name): marks.append((name, time.perf_counter(), time.process_time()))
"""
LINEAR = f"""{MARKS}
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
print(json.dumps({{name: end - begin for (_, begin, _), (name, end, _) in zip(marks, marks[1:]) if name}}))
"""
MODEL = f"""{MARKS}
import dynq_numba as dq
dq.onnx
mark("imports")
session = dq.onnx.InferenceSession(sys.argv[1])
mark("constructor")
import numpy as np
feeds = dict(np.load(sys.argv[2]))
mark("")
session.run(None, feeds)
mark("first run")
session.run(None, feeds)
mark("second run")
import json
pairs = list(zip(marks, marks[1:]))
found = {{}}
for clock, more in ((0, ""), (1, ", CPU")):
    steps = {{"interpreter": interpreter[clock]}}
    steps |= {{name: end[clock] - begin[clock] for (_, *begin), (name, *end) in pairs if name}}
    steps["start to first answer"] = sum(steps.values()) - steps["second run"]
    found |= {{name + more: seconds for name, seconds in steps.items()}}
print(json.dumps(found))
"""


def process(cache: str, code: str, *arguments: object) -> dict[str, float]:
    """Seconds of each step in one new process."""
    environment = {**os.environ, "NUMBA_CACHE_DIR": cache, "BEGAN": str(time.time())}
    command = (sys.executable, "-c", code, *map(str, arguments))
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=True, timeout=300)
    return json.loads(done.stdout.splitlines()[-1])


def measure(repeats: int = 5, code: str = LINEAR, *arguments: object) -> dict[str, dict[str, float]]:
    """Median seconds of each step, "first ever" (of two: it compiles for seconds) and in a "later process"."""
    for folder in ("dynq_numba", "kernels"):  # bytecode, as pip makes it when it installs a package
        compileall.compile_dir(ROOT / folder, quiet=1)
    first = []
    for _ in range(min(2, repeats)):
        with tempfile.TemporaryDirectory(prefix="dynq-cache-") as cache:
            first.append(process(cache, code, *arguments))
            later = [process(cache, code, *arguments) for _ in range(repeats)]
    return {"first ever": medians(first), "later process": medians(later)}


def measure_model(repeats: int, word: str) -> dict[str, dict[str, float]]:
    """The same of a session's first run."""
    import dynq_numba as dq
    from bench.topics import model_files

    case = model_files.case_of(word)
    with tempfile.TemporaryDirectory() as folder:
        source, artifact, feeds = (Path(folder) / name for name in ("model.onnx", "model.int8.onnx", "feeds.npz"))
        model_files.MODELS[case.model].write(source)
        dq.onnx.quantize(source, artifact)
        np.savez(feeds, **case.feeds())
        return measure(repeats, MODEL, artifact, feeds)


def medians(runs: list[dict[str, float]]) -> dict[str, float]:
    return {name: float(f"{statistics.median(run[name] for run in runs):.3g}") for name in runs[0]}


def main(argv: list[str]) -> int:
    repeats = int(argv[0]) if argv else 5
    print(json.dumps(measure_model(repeats, argv[1]) if len(argv) > 1 else measure(repeats), indent=1))
    return 0
