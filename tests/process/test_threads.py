"""The helper threads: how many, shared by concurrent calls, gone at a fork and back after it."""

import os
import subprocess
import sys
import threading
from pathlib import Path

import numba
import numpy as np
import problems
import pytest

import dynq_numba as dq
from dynq_numba.kernels.base.memory import data_ptr
from dynq_numba.kernels.threads import partition
from dynq_numba.kernels.threads import pool as parallel
from dynq_numba.runtime import threads as pool

linux = pytest.mark.skipif(sys.platform != "linux", reason="helpers run on Linux")


def child(code, **environment):
    return subprocess.run(
        # From Python 3.12 on every fork beside another thread warns.
        [sys.executable, "-W", "ignore:This process:DeprecationWarning", "-c", code],
        env=os.environ | environment, capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip


@pytest.fixture
def problem(rng):
    x, weight, bias = problems.normal_problem(rng, 70, 200, 300)
    return x, dq.pack_linear(weight, bias)


def test_the_setting_is_kept_and_checked():
    before = dq.get_num_threads()
    try:
        dq.set_num_threads(3)
        assert dq.get_num_threads() == 3
        for wrong, error in ((0, ValueError), (1025, ValueError), (True, TypeError), ("2", TypeError)):
            with pytest.raises(error, match="threads"):
                dq.set_num_threads(wrong)
        assert dq.get_num_threads() == 3
    finally:
        dq.set_num_threads(before)


def test_concurrent_calls_get_their_own_results(problem):
    """One call has the helpers, the others go alone; every result has the bits of the serial one."""
    x, w = problem
    want = {m: dq.linear(x[:m], w, threads=1) for m in range(1, 71, 3)}
    wrong = []

    def calls(start):
        for i in range(300):
            m = 1 + (start + 3 * i) % 70
            m -= (m - 1) % 3
            if not np.array_equal(dq.linear(x[:m], w, threads=1 + i % 5), want[m]):
                wrong.append((start, i, m))

    callers = [threading.Thread(target=calls, args=(s,)) for s in range(8)]
    for caller in callers:
        caller.start()
    for caller in callers:
        caller.join(60)
    assert not any(caller.is_alive() for caller in callers) and not wrong


@numba.njit
def worthwhile(words, threads, micros):
    return parallel.worthwhile(data_ptr(words), threads, micros, 1.0)


def test_a_call_has_as_many_threads_as_have_work_for_each():
    words = np.zeros(parallel.POOL_WORDS, np.int64)
    words[parallel.Pool.setting] = 4
    assert [worthwhile(words, 0, micros) for micros in (0.5, 1.9, 2.1, 90.0)] == [1, 1, 2, 4]
    assert [worthwhile(words, threads, 0.5) for threads in (1, 3, 9)] == [1, 3, 9], "what the caller asks for is done"


def test_helpers_wake_from_sleep(problem):
    x, w = problem
    want = dq.linear(x, w, threads=1)
    for _ in range(20):
        threading.Event().wait(3 * parallel.SPIN_NS / 1e9)  # they are asleep by then
        assert np.array_equal(dq.linear(x, w, threads=3), want)


@linux
def test_stopped_helpers_start_again(problem):
    x, w = problem
    want = dq.linear(x, w, threads=1)
    for count in (2, 4, 2):
        dq.linear(x, w, threads=count)
        assert pool.helpers() >= count - 1
        tasks = len(list(Path("/proc/self/task").iterdir()))
        ended = pool.helpers()
        pool.stop()
        assert pool.helpers() == 0 and len(list(Path("/proc/self/task").iterdir())) == tasks - ended
    assert np.array_equal(dq.linear(x, w, threads=2), want)


FORK = """
import os, sys, threading
import numpy as np
import dynq_numba as dq
rng = np.random.default_rng(0)
x = rng.standard_normal((200, 300), dtype=np.float32)
w = dq.pack_linear(rng.standard_normal((400, 300), dtype=np.float32))
want = dq.linear(x, w, threads=2)
stop = threading.Event()
def busy():
    while not stop.is_set():
        dq.linear(x, w, threads=2)
callers = [threading.Thread(target=busy) for _ in range(BUSY)]
for caller in callers:
    caller.start()
for _ in range(25):
    pid = os.fork()
    if pid == 0:
        same = all(np.array_equal(dq.linear(x, w, threads=t), want) for t in (1, 2, 3))
        os._exit(0 if same else 3)
    _, status = os.waitpid(pid, 0)
    assert status == 0, status
    assert np.array_equal(dq.linear(x, w, threads=2), want)
stop.set()
for caller in callers:
    caller.join()
print("fine")
"""


@linux
@pytest.mark.parametrize("busy", [0, 3])
def test_parent_and_children_work_after_a_fork(busy):
    done = child(FORK.replace("BUSY", str(busy)))
    assert done.stdout.strip() == "fine", done.stderr
    assert done.stderr == ""


def test_a_process_that_computes_to_the_end_exits_cleanly():
    code = """
import atexit, threading
import numpy as np
import dynq_numba as dq
x = np.ones((200, 300), np.float32)
w = dq.pack_linear(np.ones((400, 300), np.float32))
dq.linear(x, w, threads=4)
atexit.register(lambda: print(abs(dq.linear(x, w, threads=4)[0, 0] - 300) < 1))
def forever():
    while True:
        dq.linear(x, w, threads=2)
threading.Thread(target=forever, daemon=True).start()
"""
    for _ in range(3):
        done = child(code)
        assert (done.returncode, done.stderr) == (0, "") and done.stdout.strip() == "True"


def test_columns_are_shared_from_more_work_on_than_rows():
    """Each thread quantizes all rows then, so what rows are shared for is not enough (bench.small_calls)."""
    assert partition.least_micros(4 * 14, 14) == partition.WORTH_US < partition.least_micros(4 * 14 - 1, 14)
    words = np.zeros(parallel.POOL_WORDS, np.int64)
    words[parallel.Pool.setting], words[parallel.Pool.helpers] = 2, 1
    m, n, k = 32, 128, 128  # 1.7 times as slow on two threads as on one
    micros = partition.estimate(m, n, k, n * k)
    assert worthwhile_of(words, micros, partition.least_micros(m, 14)) == 1
    assert worthwhile_of(words, 2 * micros, partition.least_micros(2 * m, 14)) == 2


@numba.njit
def worthwhile_of(words, micros, least):
    return parallel.worthwhile(data_ptr(words), 0, micros, least)
