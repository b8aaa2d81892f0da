"""Sessions on a single core, with a cache that cannot be written, and planned by two threads at once."""

from __future__ import annotations

import json
import os
import sys
import threading
from pathlib import Path

import numpy as np
import pytest
from children import child
from onnx_models import parsed
from test_import import UNPRIVILEGED

from dynq_numba.onnx import InferenceSession
from dynq_numba.planning.plan import Plan

BODY = "a = MatMul (x, w) b = Relu (a) c = ReduceSum <keepdims: int = 1> (b, axes) y = Sub (b, c)"


def model():
    w = np.random.default_rng(0).standard_normal((192, 192)).astype(np.float32)
    return parsed("float[n, t, 192] x", "float[n, t, 192] y", BODY, w=w, axes=np.array([-1]))


def floats(*shape: int) -> np.ndarray:
    return np.random.default_rng(1).standard_normal(shape).astype(np.float32)


# -- one core -----------------------------------------------------------------------------------
ONE_CORE = """
import json, os, sys, time
when, core = sys.argv[1], int(sys.argv[2])
if when == "before":
    os.sched_setaffinity(0, {core})
import dynq_numba as dq
from test_sessions import InferenceSession, floats, model
x = floats(8, 40, 192)
session = InferenceSession(model(), threads=2)
session.run(None, {"x": x})
if when == "after":
    tasks = os.listdir("/proc/self/task")
    others = [f"/proc/self/task/{task}/stat" for task in tasks if int(task) != os.getpid()]
    # A helper that leaves a core sets its own affinity, and back: not while it sleeps.
    while any(open(path).read().rpartition(")")[2].split()[0] != "S" for path in others):
        time.sleep(0.01)
    for task in tasks:
        os.sched_setaffinity(int(task), {core})
digests = {session.run(None, {"x": x})[0].tobytes().hex()[:4000] for _ in range(20)}
allowed = {tuple(sorted(os.sched_getaffinity(int(task)))) for task in os.listdir("/proc/self/task")}
print(json.dumps({"digests": sorted(digests), "allowed": sorted(allowed), "default": dq.get_num_threads()}))
"""


@pytest.mark.skipif(sys.platform != "linux", reason="affinity is Linux's")
@pytest.mark.parametrize("when", ["before", "after"])
def test_two_threads_on_one_core(when):
    core, x = min(os.sched_getaffinity(0)), floats(8, 40, 192)
    expected = InferenceSession(model(), threads=1).run(None, {"x": x})[0].tobytes().hex()[:4000]
    done = child("-c", ONE_CORE, when, core)
    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout)
    assert report["digests"] == [expected] and report["allowed"] == [[core]]
    if when == "before":
        assert report["default"] == 1


# -- a cache that cannot be written --------------------------------------------------------------
COUNTED = """
import json, sys
from numba.core import event

compiled = []

class Listener(event.Listener):
    def on_start(self, event): compiled.append(event.data["dispatcher"].py_func.__name__)
    def on_end(self, event): pass

event.register("numba:compile", Listener())
import numpy as np
from dynq_numba.kernels.region import compiled as regions
from test_sessions import InferenceSession, parsed

translate = regions._object_code
def counted(*arguments):
    compiled.append("region")
    return translate(*arguments)
regions._object_code = counted
session = InferenceSession(parsed("float[n] x", "float[n] y", "y = Softsign (x)"), threads=1)
y, = session.run(None, {"x": np.linspace(-3, 5, 100, dtype=np.float32)})
print(json.dumps({"compiled": sorted(compiled), "y": y.tobytes().hex()}))
"""


def counted(cache: Path, *, privileged: bool = False) -> dict:
    command = ["-c", COUNTED]
    if not privileged and os.geteuid() == 0:
        command = ["-c", UNPRIVILEGED, sys.executable, *command]
    done = child(*command, NUMBA_CACHE_DIR=str(cache))
    assert done.returncode == 0 and not done.stderr, done.stderr
    return json.loads(done.stdout)


@pytest.mark.skipif(os.name != "posix", reason="there is no cache on this system")
def test_a_session_with_a_cache_that_is_read_only(tmp_path):
    filled, empty = tmp_path / "filled", tmp_path / "empty"
    first = counted(filled, privileged=True)
    assert "region" in first["compiled"] and len(first["compiled"]) > 1
    empty.mkdir()
    before = {path: path.read_bytes() for path in filled.rglob("*.*")}
    for path in (*filled.rglob("*"), filled, empty):
        path.chmod(0o555 if path.is_dir() else 0o444)
    assert counted(filled) == {"compiled": [], "y": first["y"]}
    assert {path: path.read_bytes() for path in filled.rglob("*.*")} == before
    assert counted(empty) == first and not list(empty.iterdir())


# -- two threads plan the same session for the first time ----------------------------------------
def test_two_threads_plan_a_session_at_the_same_time(monkeypatch):
    """Both find no plan before either makes one: one of them plans, and the other takes its plan."""
    session, x = InferenceSession(model()), floats(3, 5, 192)
    expected = InferenceSession(model()).run(None, {"x": x})[0]
    found, trace = Plan._found, Plan._trace
    both, looked, planned = threading.Barrier(2, timeout=60), threading.local(), []

    def found_nothing(self, *arguments):
        segment = found(self, *arguments)
        if not hasattr(looked, "before"):
            looked.before = segment
            both.wait()
        return segment

    def traced(self, *arguments):
        planned.append(threading.get_ident())
        return trace(self, *arguments)

    monkeypatch.setattr(Plan, "_found", found_nothing)
    monkeypatch.setattr(Plan, "_trace", traced)
    results: list = [None, None]

    def work(i: int) -> None:
        results[i] = (session.run(None, {"x": x})[0], looked.before)

    threads = [threading.Thread(target=work, args=(i,)) for i in range(2)]
    for each in threads:
        each.start()
    for each in threads:
        each.join()
    assert all(np.array_equal(y, expected) and before is None for y, before in results)
    assert len(planned) == 1 and len(session._plan.segments()) == 1
