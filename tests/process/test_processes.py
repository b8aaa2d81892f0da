"""In servers: many threads at once, processes made by fork, forkserver and spawn, preloaded workers, few cores."""

import importlib.metadata
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

PROGRAMS = Path(__file__).parents[1] / "programs"
LAYERS = ("omp", "tbb", "workqueue")
linux = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="helpers run on Linux")


def child(*arguments, **environment):
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)} | environment
    done = subprocess.run(
        # From Python 3.12 on every fork beside another thread warns.
        [sys.executable, "-W", "ignore:This process:DeprecationWarning", *arguments],
        cwd=PROGRAMS, env=environment, capture_output=True, text=True, timeout=240, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stderr == "", "nothing is said that nobody asked for"
    return done.stdout


@pytest.mark.parametrize("layer", LAYERS)
def test_32_threads_on_shared_weights(layer):
    assert "calls from 32 threads" in child("load.py", "1.5", "32", NUMBA_THREADING_LAYER=layer)


INSIDE = """
import ctypes, sys
for library in sys.argv[1:]:
    ctypes.CDLL(library, mode=ctypes.RTLD_GLOBAL)
import numba, numpy as np
import dynq_numba as dq

@numba.njit(parallel=True, cache=True)
def batches(x, w, threads, out):
    for i in numba.prange(len(x)):
        out[i] = dq.linear(x[i], w, threads=threads)

rng = np.random.default_rng(0)
x, w = rng.standard_normal((20, 60, 300), np.float32), dq.pack_linear(rng.standard_normal((400, 300), np.float32))
want, out = np.stack([dq.linear(part, w, threads=1) for part in x]), np.empty((20, 60, 400), np.float32)
numba.set_num_threads(1)
numba.set_num_threads(most := numba.config.NUMBA_NUM_THREADS)
for threads in (1, 2, 3):
    batches(x, w, threads, out)
    assert np.array_equal(out, want) and numba.get_num_threads() == most
print(numba.threading_layer())
"""


def libraries(layer):
    """What must be in a process for numba to find the layer: a wheel's folder is not searched. None: not installed."""
    if layer != "tbb":
        return []
    try:
        parts = importlib.metadata.files("tbb")
    except importlib.metadata.PackageNotFoundError:
        return None
    return [str(part.locate().resolve()) for part in parts or () if part.name == "libtbb.so.12"]


def test_inside_parallel_loops_of_the_caller(tmp_path):
    """Its threads and ours do not know of each other, and `threads=` does not touch the caller's setting.

    One test: numba keeps what it compiles beside the file, which takes 8 s, and is the same for all layers.
    """
    path = tmp_path / "inside.py"
    path.write_text(INSIDE)
    for layer in LAYERS:
        if (needed := libraries(layer)) is not None:
            assert child(str(path), *needed, NUMBA_THREADING_LAYER=layer).strip() == layer
    if libraries("tbb") is None:
        pytest.skip("tbb is not installed; the other layers passed")


POOL = """
import hashlib, multiprocessing, sys
import cases
from cases.base import bits

def problem():
    return [call for call in cases.calls("middle") if "threads" in call.takes]

def digest(calls=None):
    results = [bits(call.run(**call.arrays, threads=2)) for call in calls or problem()]
    return hashlib.sha256(b"".join(results)).hexdigest()

def inherited(_):
    return digest(PARTS)

PARTS = problem() if __name__ == "__main__" else None
if __name__ == "__main__":
    want = digest(PARTS)  # the parent has run in parallel before it makes the others
    context = multiprocessing.get_context(sys.argv[1])
    with context.Pool(2) as pool:
        found = pool.map(inherited if sys.argv[1] == "fork" else digest, [None] * 8, chunksize=1)
    assert set(found) == {want} == {digest(PARTS)}
    print("fine")
"""


@linux
@pytest.mark.parametrize("method", ["fork", "forkserver", "spawn"])
def test_multiprocessing(tmp_path, method):
    (tmp_path / "pool.py").write_text(POOL)
    assert child(str(tmp_path / "pool.py"), method).strip() == "fine"


PRELOADED = """
# As gunicorn --preload: load and warm up once, fork 8 workers, serve from each; one that dies is replaced.
import json, os, signal, sys
import numpy as np
import dynq_numba as dq

rng = np.random.default_rng(0)
x, w = rng.standard_normal((200, 300), np.float32), dq.pack_linear(rng.standard_normal((400, 300), np.float32))
want = dq.linear(x, w, threads=2).tobytes()

def worker():
    served = 0
    for _ in range(40):
        served += dq.linear(x, w, threads=2).tobytes() == want
        served += dq.linear(x, w).tobytes() == want
    return served

def start():
    inlet, outlet = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.write(outlet, str(worker()).encode())
        os._exit(0)
    os.close(outlet)
    return pid, inlet

workers = [start() for _ in range(8)]
os.kill(workers[0][0], signal.SIGKILL)
workers.append(start())
dq.linear(x, w, threads=2)
served = []
for pid, inlet in workers:
    served.append(os.read(inlet, 100).decode())
    os.waitpid(pid, 0)
print(json.dumps([served, dq.linear(x, w, threads=2).tobytes() == want]))
"""


@linux
def test_preloaded_workers():
    served, parent = json.loads(child("-c", PRELOADED))
    assert served[1:] == ["80"] * 8 and parent


HALF_WAY = """
# Another thread's scratch memory, in the middle of a call, when this one forks: nobody in the child gives it back.
import os
import numpy as np
import dynq_numba as dq
from dynq_numba.runtime import scratch

x, w = np.ones((1, 8, 40, 40), np.float32), dq.pack_conv(np.ones((16, 8, 3, 3), np.float32))
want = dq.conv(x, w)
scratch._ROOM[1] = 1, 12345, 1 << 40, 0, 0, 0, 0, 0
pid = os.fork()
if pid == 0:
    scratch._ROOM[0, 0] = 1  # so that the call takes the next one
    os._exit(0 if np.array_equal(dq.conv(x, w), want) and scratch._ROOM[1, 0] == 0 else 1)
print(os.waitpid(pid, 0)[1], scratch._ROOM[1, :2].tolist())
"""


@linux
def test_scratch_of_other_threads_at_a_fork():
    assert child("-c", HALF_WAY).strip() == "0 [1, 12345]"


COMPILING = """
# numba compiles under a lock, which a child must not inherit from a thread that it has not.
import os, signal, threading
import numba, numpy as np
import dynq_numba as dq

done, x = threading.Event(), np.ones((3, 40), np.float32)
dq.linear  # from the first use on a fork waits for that lock

def compile_on():
    while not done.is_set():
        numba.njit(lambda v: v + 1)(2.0)

thread = threading.Thread(target=compile_on)
thread.start()
statuses = []
for i in range(5):
    pid = os.fork()
    if pid == 0:
        signal.alarm(60)
        assert numba.njit(lambda v: v * i)(2.0) == 2 * i
        assert dq.linear(x, dq.pack_linear(np.ones((30, 40), np.float32)), activation="silu").shape == (3, 30)
        os._exit(0)
    statuses.append(os.waitpid(pid, 0)[1])
done.set()
thread.join()
assert numba.njit(lambda v: v - 1)(2.0) == 1
print(statuses)
"""


@linux
def test_a_fork_while_another_thread_compiles():
    assert child("-c", COMPILING).strip() == "[0, 0, 0, 0, 0]"
