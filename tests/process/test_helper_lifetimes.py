"""Helpers start and end whenever: from signal handlers that fork, at the interpreter's end, without memory."""

import subprocess
import sys

import pytest

linux = pytest.mark.skipif(sys.platform != "linux", reason="helpers run on Linux")


def child(code, *arguments):
    """Standard output of a process that must end well and say nothing else."""
    # From Python 3.12 on every fork beside another thread warns.
    command = [sys.executable, "-W", "ignore:This process:DeprecationWarning", "-c", code, *arguments]
    done = subprocess.run(command, capture_output=True, text=True, timeout=240, check=False)
    assert (done.returncode, done.stderr) == (0, ""), done.stdout + done.stderr
    return done.stdout


NO_THREADS = """
import resource
import numpy as np
import dynq_numba as dq
from dynq_numba.runtime import threads as pool

x, w = np.ones((70, 200), np.float32), dq.pack_linear(np.ones((300, 200), np.float32))
want = dq.linear(x, w, threads=1)
out = np.empty_like(want)  # what is spare has no room for it
pool._start(0)  # compiled, before any thread leaves its stack to the next
for spare, there in ((1 << 16, 0), (None, 2)):  # less than a stack; enough
    pages = int(open("/proc/self/statm").read().split()[0])
    limit = resource.RLIM_INFINITY if spare is None else pages * resource.getpagesize() + spare
    resource.setrlimit(resource.RLIMIT_AS, (limit, resource.RLIM_INFINITY))
    out[:] = 0
    assert np.array_equal(dq.linear(x, w, threads=3, out=out), want) and pool.helpers() == there, pool.helpers()
print("fine")
"""


@linux
def test_where_no_thread_can_be_started_calls_go_alone():
    assert child(NO_THREADS) == "fine\n"


HANDLER = """
import faulthandler, os, signal, sys, threading, time
import numpy as np
import dynq_numba as dq
from dynq_numba.runtime import threads as pool

x, w = np.ones((128, 768), np.float32), dq.pack_linear(np.ones((512, 768), np.float32))
want = dq.linear(x, w, threads=1)
faulthandler.dump_traceback_later(200, exit=True)
forks, inside = 0, []

def fork(*_):
    global forks
    if len(inside) == 2:  # a handler within a handler, and no deeper: a busy machine would never come out again
        return
    forks += 1
    inside.append(1)
    pid = os.fork()
    if pid == 0:
        signal.alarm(100)
        os._exit(0 if np.array_equal(dq.linear(x, w, threads=3), want) else 3)
    assert os.waitpid(pid, 0)[1] == 0
    inside.pop()

pool._start(0)  # compiled, or every handler's child would compile it
signal.signal(signal.SIGUSR1, fork)
"""

AT_EVERY_STEP = """
# Whatever is called while helpers are started, held and released: the signal comes just before, and just after.
def interrupt():
    signal.raise_signal(signal.SIGUSR1)

def interrupted(function):
    def run(*arguments):
        interrupt()
        function(*arguments)
        interrupt()
    return run

pool._changes = tuple(map(interrupted, pool._changes))
for _ in range(2):
    assert np.array_equal(dq.linear(x, w, threads=3), want) and pool.helpers() in (0, 2)
    pool.stop()
assert forks > 20
if sys.version_info >= (3, 12):  # which refuses to fork while the interpreter ends
    signal.signal(signal.SIGUSR1, signal.SIG_IGN)
print("fine")
"""

AT_ANY_TIME = """
def poke():
    while True:
        time.sleep(0.0137)
        signal.pthread_kill(threading.main_thread().ident, signal.SIGUSR1)

threading.Thread(target=poke, daemon=True).start()
until = time.time() + 2
while time.time() < until:
    pool.stop()
    assert np.array_equal(dq.linear(x, w, threads=4), want)
signal.signal(signal.SIGUSR1, signal.SIG_IGN)
assert forks
print("fine")
"""


@linux
@pytest.mark.parametrize("when", [AT_EVERY_STEP, AT_ANY_TIME], ids=["at every step", "at any time"])
def test_a_handler_may_fork_whatever_it_interrupts(when):
    assert child(HANDLER + when) == "fine\n"


DESTRUCTOR = """
import builtins, faulthandler, sys
import numpy as np
import dynq_numba as dq

w, x = dq.pack_linear(np.ones((512, 768), np.float32)), np.ones((128, 768), np.float32)
dq.linear(x, w, threads=int(sys.argv[1]))

class Last:
    def __init__(self, threads):
        self.parts = dq.linear, x, w, threads, dq.linear(x, w, threads=1).tobytes(), print
    def __del__(self):
        linear, x, w, threads, want, say = self.parts
        say(linear(x, w, threads=threads).tobytes() == want)

one_of_the_module, builtins.one_that_outlives_modules = Last(None), Last(3)
faulthandler.dump_traceback_later(200, exit=True)
"""


@pytest.mark.parametrize("before", ["1", "2"], ids=["without helpers before", "with helpers before"])
def test_destructors_compute_at_the_interpreters_end(before):
    assert child(DESTRUCTOR, before) == "True\nTrue\n"


SHORT = """
import os, resource, signal
import numpy as np
import dynq_numba as dq
x, w = np.ones((400, 500)), dq.pack_linear(np.ones((300, 500), np.float32))
dq.linear(x, w, residual=x[:, :300], threads=2)  # everything is compiled
for spare in (0, *(1 << n for n in range(12, 21))):
    pid = os.fork()  # which stops the helpers: the child's call starts its own
    if pid == 0:
        signal.alarm(60)
        pages = int(open("/proc/self/statm").read().split()[0])
        resource.setrlimit(resource.RLIMIT_AS, (pages * resource.getpagesize() + spare, resource.RLIM_INFINITY))
        try:
            dq.linear(x, w, residual=x[:, :300], threads=2)
        except MemoryError:
            os._exit(3)
        os._exit(0)
    print(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) in (0, 3))
"""


@linux
def test_helpers_start_or_do_not_whatever_memory_is_left():
    assert child(SHORT) == "True\n" * 10
