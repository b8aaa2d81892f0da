"""Helpers and the cores they run on: found without one, brought to the caller's, kept off it otherwise."""

import os
import subprocess
import sys
import threading
import time
from contextlib import contextmanager

import numba
import numpy as np
import pytest

from dynq_numba.kernels.base import cores
from dynq_numba.kernels.base.atomics import fetch_add, futex_wake, load_acquire
from dynq_numba.kernels.base.memory import data_ptr
from dynq_numba.kernels.threads import pool as parallel
from dynq_numba.kernels.threads.pool import Pool

ALLOWED = sorted(os.sched_getaffinity(0)) if sys.platform == "linux" else []
pytestmark = [
    pytest.mark.skipif(sys.platform != "linux", reason="helpers run on Linux"),
    pytest.mark.skipif(len(ALLOWED) == 1, reason="one core"),
]


@numba.njit(nogil=True)
def spin(words, stop):
    while load_acquire(data_ptr(words), stop) == 0:
        pass


@numba.njit(nogil=True)
def stalled(words, taken):
    return parallel.stalled(data_ptr(words), taken)


@numba.njit(nogil=True)
def await_helpers(words, taken):
    parallel.await_helpers(data_ptr(words), taken)


@numba.njit(nogil=True)
def leave_gate(words):
    fetch_add(Pool(data_ptr(words)).gate, 0, -1)
    futex_wake(Pool(data_ptr(words)).gate, 0, 1)


@numba.njit(nogil=True)
def move(thread, core):
    cores.move(thread, core)


@numba.njit(nogil=True)
def leave(core):
    return cores.leave(core)


@numba.njit(nogil=True)
def here():
    return cores.core()


@numba.njit(nogil=True)
def apart(words):
    return parallel.apart(data_ptr(words))


@contextmanager
def spinning():
    """The number of a thread that spins."""
    words, number = np.zeros(1, np.int64), []
    spin(np.ones(1, np.int64), 0)  # compiled

    def run():
        number.append(threading.get_native_id())
        spin(words, 0)

    thread = threading.Thread(target=run)
    thread.start()
    try:
        while not number:
            time.sleep(0.001)
        yield number[0]
    finally:
        words[0] = 1
        thread.join()


def core_of(thread):
    """The core that a thread runs on or ran on last: proc_pid_stat(5), field 39."""
    with open(f"/proc/self/task/{thread}/stat") as file:
        return int(file.read().rpartition(")")[2].split()[36])


def in_thread(function):
    """What a function gives in a thread of its own, whose affinity is nobody else's."""
    results = []
    thread = threading.Thread(target=lambda: results.append(function()))
    thread.start()
    thread.join()
    return results[0]


def test_a_thread_is_moved_and_may_run_where_it_might_before():
    with spinning() as thread:
        for core in ALLOWED[:4] * 2:
            for _ in range(1000):  # the system may move it on at once
                move(thread, core)
                if core_of(thread) == core:
                    break
            else:
                pytest.fail(f"never on core {core}")
            assert sorted(os.sched_getaffinity(thread)) == ALLOWED


def test_a_thread_leaves_a_core_and_may_come_back():
    def run():
        left = 0
        for _ in range(1000):
            core = here()
            assert leave(core)
            left += here() != core
        return left, sorted(os.sched_getaffinity(0))

    left, allowed = in_thread(run)
    assert left and allowed == ALLOWED


def test_who_may_run_on_one_core_only_stays():
    def run():
        os.sched_setaffinity(0, ALLOWED[-1:])
        words = np.zeros(parallel.POOL_WORDS, np.int64)
        words[Pool.core] = ALLOWED[-1]
        left = leave(ALLOWED[-1]), apart(words)
        words[Pool.moving] = 1  # another is being moved: it will try again
        assert apart(words)
        words[Pool.moving], words[Pool.core] = 0, -1  # the system does not say where the caller runs
        return *left, apart(words), sorted(os.sched_getaffinity(0))

    assert in_thread(run) == (False, False, True, ALLOWED[-1:])


@contextmanager
def sleeping():
    """The number of a thread that sleeps."""
    number, end = [], threading.Event()
    thread = threading.Thread(target=lambda: (number.append(threading.get_native_id()), end.wait()))
    thread.start()
    try:
        while not number:
            time.sleep(0.001)
        yield number[0]
    finally:
        end.set()
        thread.join()


def test_a_helper_inside_that_does_not_run_is_found():
    words = np.zeros(parallel.POOL_WORDS, np.int64)
    with sleeping() as idle:
        words[parallel.INSIDE + parallel.LINE * 2] = idle
        assert [stalled(words, taken) for taken in (0, 1, 2, 3)] == [0, 0, idle, idle], "of those that have entered"


def test_a_helper_inside_that_runs_is_left_alone():
    words = np.zeros(parallel.POOL_WORDS, np.int64)

    def tries():
        os.sched_setaffinity(0, ALLOWED[1:])
        for number in range(1, 100_000):  # other programs may well have its core for a while
            if stalled(words, 1) == 0:
                return number
            if number % 100 == 0:
                time.sleep(0.001)
        return 0

    with spinning() as busy:
        os.sched_setaffinity(busy, ALLOWED[:1])
        words[parallel.INSIDE + parallel.LINE] = busy
        assert in_thread(tries)


def test_a_caller_sleeps_until_the_helper_that_does_not_run_has_left():
    words = np.zeros(parallel.POOL_WORDS, np.int64)
    words[Pool.gate], seen = 1, []
    ready, over = threading.Event(), threading.Event()

    def helper():
        words[parallel.INSIDE + parallel.LINE] = threading.get_native_id()
        ready.set()
        while not words[Pool.awaited]:
            time.sleep(0.01)  # does not run meanwhile
        seen.append(words[Pool.gate])
        leave_gate(words)
        over.wait()
        seen.append(sorted(os.sched_getaffinity(0)))

    leave_gate(np.zeros(parallel.POOL_WORDS, np.int64))  # compiled
    thread = threading.Thread(target=helper)
    thread.start()
    ready.wait()
    await_helpers(words, 1)
    over.set()
    thread.join()
    assert words[Pool.gate] == words[Pool.awaited] == words[Pool.moving] == 0
    assert seen == [1, ALLOWED]


IDLE = """
import os, time
import numpy as np
import dynq_numba as dq
from dynq_numba.runtime import threads as pool

x, w = np.ones((300, 300), np.float32), dq.pack_linear(np.ones((500, 300), np.float32))
dq.linear(x, w, threads=3)
pool.stop()
before = set(os.listdir("/proc/self/task"))
dq.linear(x, w, threads=3)
helpers = set(os.listdir("/proc/self/task")) - before

def ran():
    # The clock of a thread's CPU time, as pthread_getcpuclockid(3) names it.
    return [time.clock_gettime_ns(~int(helper) << 3 | 6) for helper in sorted(helpers)]

def asleep():
    return all(open(f"/proc/self/task/{h}/stat").read().rpartition(")")[2].split()[0] == "S" for h in helpers)

while not asleep():
    time.sleep(0.01)
start = ran()
time.sleep(0.5)
print(len(helpers), ran() == start)
"""


def test_helpers_of_an_idle_process_cost_nothing():
    done = subprocess.run([sys.executable, "-c", IDLE], capture_output=True, text=True, timeout=240, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, "2 True\n", "")


BESIDE = """
import os, subprocess, sys, time
import numpy as np
import dynq_numba as dq
rng = np.random.default_rng(0)
x, w = rng.standard_normal((300, 300), np.float32), dq.pack_linear(rng.standard_normal((500, 300), np.float32))
lstm, steps = dq.pack_lstm(rng.standard_normal((512, 64), np.float32), rng.standard_normal((512, 128), np.float32),
                           layout="onnx"), rng.standard_normal((12, 3, 64), np.float32)
want = dq.linear(x, w, threads=1), dq.lstm(steps, lstm, threads=1)[0]
loop = "import os\\nparent = os.getppid()\\nwhile os.getppid() == parent: pass"
others = [subprocess.Popen((sys.executable, "-S", "-c", loop)) for _ in range(2 * len(os.sched_getaffinity(0)))]
until, calls = time.monotonic() + 1.5, 0
while time.monotonic() < until or calls < 100:
    threads = (None, 2, 3, 7)[calls % 4]
    assert np.array_equal(dq.linear(x, w, threads=threads), want[0])
    assert np.array_equal(dq.lstm(steps, lstm, threads=threads)[0], want[1])
    calls += 1
for _ in range(1000):  # one that leaves a core at this moment is bound for a moment
    allowed = {tuple(sorted(os.sched_getaffinity(int(task)))) for task in os.listdir("/proc/self/task")}
    if len(allowed) == 1:
        break
for other in others:
    other.kill()
    other.wait()
print(len(allowed))
"""


def test_beside_busy_programs_results_stay_and_threads_may_run_anywhere():
    done = subprocess.run([sys.executable, "-c", BESIDE], capture_output=True, text=True, timeout=240, check=False)
    assert (done.returncode, done.stdout.strip(), done.stderr) == (0, "1", "")
