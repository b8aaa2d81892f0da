"""InferenceSession where processes fork, are interrupted, end, run long, and have no compiler."""

from __future__ import annotations

import gc
import os
import subprocess
import sys
import textwrap
import threading
import weakref
from pathlib import Path

import numpy as np
import pytest
from onnx_models import floats, parsed

from dynq_numba.onnx import InferenceSession
from dynq_numba.planning import plan

BODY = "a = MatMul (x, w) b = Relu (a) c = ReduceSum <keepdims: int = 1> (b, axes) y = Sub (b, c)"


def model():
    w = np.random.default_rng(0).standard_normal((24, 24)).astype(np.float32)
    return parsed("float[n, t, 24] x", "float[n, t, 24] y", BODY, w=w, axes=np.array([-1]))


COMMON = """
import os, signal, sys, threading, time
import numpy as np
from test_promises import InferenceSession, floats, model
x = floats(3, 5, 24)
"""


def child(code: str, **environment: str) -> list[str]:
    paths = {"PYTHONPATH": os.pathsep.join([str(Path(__file__).parent), *sys.path])}
    quiet = "ignore:This process:DeprecationWarning"  # from Python 3.12 on every fork beside another thread warns
    done = subprocess.run(
        [sys.executable, "-W", quiet, "-c", COMMON + textwrap.dedent(code)], env=os.environ | paths | environment,
        capture_output=True, text=True, timeout=200, check=False,
    )  # fmt: skip
    assert done.returncode == 0 and not done.stderr, done.stderr
    return done.stdout.split()


def test_forked_children_run_it():
    assert child("""
        used, fresh = InferenceSession(model()), InferenceSession(model())
        expected = used.run(None, {"x": x})[0].tobytes()
        for session in (used, fresh):
            process = os.fork()
            if not process:
                os._exit(0 if session.run(None, {"x": x})[0].tobytes() == expected else 1)
            print(os.waitpid(process, 0)[1], session.run(None, {"x": x})[0].tobytes() == expected)
    """) == ["0", "True", "0", "True"]


def test_daemon_threads_and_the_end_of_the_interpreter():
    assert child("""
        session = InferenceSession(model())
        def work():
            while True:
                session.run(None, {"x": x})
        for _ in range(3):
            threading.Thread(target=work, daemon=True).start()
        time.sleep(0.3)
        print(session.run(None, {"x": x})[0].shape == x.shape)
    """) == ["True"]
    assert child("""
        session = InferenceSession(model())
        session.run(None, {"x": x})  # planned: a first run would import, which Python no longer can at its end
        class Last:
            def __del__(self, run=session.run, x=x, write=os.write):
                run(None, {"x": x})
                write(1, b"last")
        last = Last()
    """) == ["last"]


def test_an_interrupt_leaves_it_usable():
    assert child("""
        signal.signal(signal.SIGINT, signal.default_int_handler)
        expected = InferenceSession(model()).run(None, {"x": x})[0].tobytes()
        reached, wrong = 0, 0
        for i in range(60):
            session = InferenceSession(model())  # the first run plans
            try:
                signal.setitimer(signal.ITIMER_REAL, 0.0002 * (i % 20 + 1))
                signal.signal(signal.SIGALRM, signal.default_int_handler)
                for n in range(1, 30):
                    session.run(None, {"x": x[:, : n % 5 + 1]})
                time.sleep(0.05)
            except KeyboardInterrupt:
                reached += 1
            signal.setitimer(signal.ITIMER_REAL, 0)
            wrong += session.run(None, {"x": x})[0].tobytes() != expected
        print(reached > 30, wrong)
    """) == ["True", "0"]


@pytest.mark.parametrize("environment", [{"DYNQ_NUM_THREADS": "1"}, {"HOME": "/nowhere"}])
def test_environments(environment):
    expected = InferenceSession(model()).run(None, {"x": floats(3, 5, 24)})[0]
    printed = child("print(InferenceSession(model()).run(None, {'x': x})[0].tobytes().hex())", **environment)
    assert printed == [expected.tobytes().hex()]


def test_without_a_compiler_onnx_reference_runs_it():
    expected = InferenceSession(model()).run(None, {"x": floats(3, 5, 24)})[0]
    printed = child("""
        session, y = InferenceSession(model()), np.empty_like(x)
        assert session.run(["y"], {"x": x}, out={"y": y})[0] is y
        print(y.tobytes().hex())
    """, NUMBA_DISABLE_JIT="1")  # fmt: skip
    got = np.frombuffer(bytes.fromhex(printed[0]), np.float32).reshape(expected.shape)
    assert np.allclose(got, expected, rtol=1e-5, atol=1e-4)


def test_threads_build_and_run_one_session():
    session, wrong = InferenceSession(model()), []
    inputs = [floats(1 + i % 4, 1 + i % 7, 24, seed=i) for i in range(12)]
    alone = InferenceSession(model(), threads=1)
    expected = [alone.run(None, {"x": x})[0].tobytes() for x in inputs]
    barrier = threading.Barrier(8)

    def work(first: int) -> None:
        barrier.wait()
        for i in range(60):
            which = (first + i) % len(inputs)
            if session.run(None, {"x": inputs[which]})[0].tobytes() != expected[which]:
                wrong.append(which)

    threads = [threading.Thread(target=work, args=(i,)) for i in range(8)]
    for each in threads:
        each.start()
    for each in threads:
        each.join()
    assert not wrong


def test_ever_new_shapes_do_not_grow_it(monkeypatch):
    monkeypatch.setattr(plan, "MOST_WORDS", 60)
    monkeypatch.setattr(plan, "MANY", 1)
    session = InferenceSession(parsed("float[n] x, int64[r] shape", "float y", "a = Reshape (x, shape) y = Neg (a)"))
    words, segments, plans = [], [], set()
    for i in range(300):
        shape = (1,) * (i % 6) + (i + 1, 2)
        x = floats(2 * i + 2, seed=i)
        y = session.run(None, {"x": x, "shape": np.array(shape)})[0]
        assert y.shape == shape and np.array_equal(y.reshape(-1), -x)
        words.append(session._plan.sizes.count)
        segments.append(len(session._plan.segments()))
        plans.add(id(session._plan))
    assert max(words) < 300 and max(segments) < 20 and len(plans) > 1


def test_a_session_is_collected():
    session = InferenceSession(model())
    result = session.run(None, {"x": floats(3, 5, 24)})[0]
    kept, gone = result.copy(), weakref.ref(session._plan)
    del session
    gc.collect()
    assert gone() is None and np.array_equal(result, kept)
