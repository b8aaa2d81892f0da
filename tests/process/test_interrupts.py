"""Ctrl-C at any moment of compiling, packing, running, saving: no partial file, and a process that goes on."""

import json
import os
import subprocess
import sys
import textwrap

import pytest

pytestmark = pytest.mark.skipif(os.name != "posix", reason="sends SIGINT")
COMMON = """
import hashlib, json, os, random, signal, sys, threading, time
import numpy as np
import dynq_numba as dq

signal.signal(signal.SIGINT, signal.default_int_handler)  # a parent in the background may have passed on its ignoring
rng = np.random.default_rng(0)
x, weight = rng.standard_normal((40, 131), np.float32), rng.standard_normal((70, 131), np.float32)

def trial(work, seconds):
    '''Whether an interrupt reached `work`: from so many seconds on, one after another until then.

    One that comes within a callback of C code is lost, as ctypes prints and drops what such a function raises.
    '''
    working, reached = threading.Event(), False
    working.set()

    def send():
        time.sleep(seconds)
        while working.is_set():
            os.kill(os.getpid(), signal.SIGINT)
            time.sleep(0.2)

    sender = threading.Thread(target=send, daemon=True)
    try:
        sender.start()
        work()
    except KeyboardInterrupt:
        reached = True
    while True:
        try:  # one more may be on its way
            working.clear()
            sender.join()
            time.sleep(0.01)
            return reached
        except KeyboardInterrupt:
            pass

def results():
    for options in ({}, {"bits": 4, "granularity": "per_group", "group_size": 32}):
        w = dq.pack_linear(weight, **options)
        for threads in (1, 2):
            yield dq.linear(x, w, activation="gelu", threads=threads)

def digest():
    return hashlib.sha256(b"".join(y.tobytes() for y in results())).hexdigest()
"""


def child(code, **environment):
    paths = {"PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run(
        [sys.executable, "-c", COMMON + textwrap.dedent(code)],
        env=os.environ | paths | environment, capture_output=True, text=True, timeout=240, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@pytest.fixture(scope="module")
def expected():
    return child("print(json.dumps(digest()))")


def test_while_compiling(tmp_path, expected):
    report = child(
        """
        seconds = (0.02, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0, 1.2, 1.4)
        print(json.dumps([sum(trial(digest, s) for s in seconds), digest()]))
        """,
        NUMBA_CACHE_DIR=str(tmp_path),
    )
    assert report[0] >= 5, "hardly an interrupt came in time: this test proves nothing"
    assert report[1] == expected
    assert {path.suffix for path in (tmp_path / "dynq_numba").iterdir()} == {".nbc"}
    assert child("print(json.dumps(digest()))", NUMBA_CACHE_DIR=str(tmp_path)) == expected


def test_an_interrupt_waits_for_the_kernel_that_is_compiled(tmp_path):
    reached, calls, found = child(
        """
        from numba.core import event

        compiled = []

        class Interrupting(event.Listener):
            def on_start(self, event):
                os.kill(os.getpid(), signal.SIGINT)
                compiled.append(event.data["dispatcher"])

            def on_end(self, event):
                pass

        reached = 0
        with event.install_listener("numba:compile", Interrupting()):
            while True:
                before = len(compiled)
                try:
                    found = digest()
                    break
                except KeyboardInterrupt:
                    reached += 1
                    assert len(compiled) > before and all(kernel.overloads for kernel in compiled[before:])
        print(json.dumps([reached, len(compiled), found]))
        """,
        NUMBA_CACHE_DIR=str(tmp_path),
    )
    assert 5 <= reached <= calls and found == child("print(json.dumps(digest()))")


def test_while_packing_and_running(expected):
    interrupted, found, threads = child(
        """
        random.seed(0)
        before = digest(), dq.get_num_threads()
        large = rng.standard_normal((2000, 3000), np.float32)
        rows, kept = rng.standard_normal((300, 3000), np.float32), dq.pack_linear(large)
        y = dq.linear(rows, kept)

        def work():
            w = dq.pack_linear(large)
            for _ in range(5):
                assert np.array_equal(dq.linear(rows, w), y) and np.array_equal(dq.linear(rows, kept, threads=2), y)

        interrupted = sum(trial(work, random.random() * 0.06) for _ in range(60))
        work()
        assert (digest(), dq.get_num_threads()) == before
        print(json.dumps([interrupted, digest(), dq.get_num_threads()]))
        """
    )
    assert interrupted >= 10, "hardly an interrupt came in time: this test proves nothing"
    assert found == expected and threads >= 1


def test_while_running_every_operator():
    interrupted = child(
        """
        random.seed(0)

        import cases
        from cases.base import bits
        calls = [(call, {"threads": 2} if "threads" in call.takes else {}) for call in cases.calls("middle")]
        expected = [bits(call.run(**call.arrays)) for call, _ in calls]

        def work():
            for _ in range(4):
                for (call, two), want in zip(calls, expected):
                    assert bits(call.run(**call.arrays)) == want == bits(call.run(**call.arrays, **two))

        work()
        begin = time.perf_counter()
        work()
        usual = time.perf_counter() - begin
        interrupted = sum(trial(work, random.random() * usual) for _ in range(60))
        work()
        print(json.dumps(interrupted))
        """
    )
    assert interrupted >= 10, "hardly an interrupt came in time: this test proves nothing"


def test_while_saving_and_loading(tmp_path):
    interrupted, found, left = child(
        f"""
        random.seed(0)
        path, small = {str(tmp_path / "model")!r}, dq.pack_linear(weight)
        contents = [{{"w": small, "a": np.full(1_000_000, i, np.float32)}} for i in range(3)]
        dq.save(path, contents[0])

        def whole():
            got = dq.load(path)
            return got["w"] == small and len(got["a"]) == 1_000_000 and (got["a"] == got["a"][0]).all()

        def work():
            for content in contents:
                dq.save(path, content)
                assert whole()

        interrupted, found = 0, True
        for _ in range(60):
            interrupted += trial(work, random.random() * 0.03)
            found &= bool(whole())
        print(json.dumps([interrupted, found, os.listdir(os.path.dirname(path))]))
        """
    )
    assert interrupted >= 10, "hardly an interrupt came in time: this test proves nothing"
    assert found and left == ["model"]
