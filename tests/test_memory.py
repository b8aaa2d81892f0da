"""Memory: nothing read or written outside arrays, nothing read before it is written, nothing kept, and what happens
when there is none."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import golden
import guarded
import pytest

HERE = Path(__file__).parent
linux = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="uses /proc, mprotect and glibc's malloc")
pytestmark = linux


def child(*arguments, **environment):
    return subprocess.run(
        [sys.executable, *map(str, arguments)],
        cwd=HERE, env=os.environ | environment, capture_output=True, text=True, timeout=600, check=False,
    )  # fmt: skip


@pytest.mark.parametrize("operator", guarded.OPERATORS)
def test_nothing_is_read_or_written_beyond_an_array(operator):
    done = child("guarded.py", operator)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize(("at_end", "index"), [(True, 100), (False, -1)])
def test_a_guard_page_stops_what_comes_upon_it(at_end, index):
    code = f"""
import ctypes, numpy as np, guarded
array = guarded.guarded(np.arange(100, dtype=np.uint8), {at_end})
print(array[0], array[99], flush=True)
ctypes.c_uint8.from_address(array.ctypes.data + {index}).value
"""
    done = child("-c", code)
    assert (done.stdout, done.returncode) == ("0 99\n", -signal.SIGSEGV)


@pytest.mark.parametrize("byte", [0x55, 0xFF])
def test_no_byte_is_read_that_was_not_written(byte):
    """glibc fills what it hands out with that byte's complement, and what it takes back with the byte."""
    done = child("golden.py", MALLOC_PERTURB_=str(byte))
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.count(f"{len(golden.CASES)} of {len(golden.CASES)} cases") == len(done.stdout.splitlines())


def test_many_calls_keep_nothing():
    done = child("soak.py")
    assert done.returncode == 0, done.stdout + done.stderr


NO_MEMORY = """
import gc, json, resource
from pathlib import Path
import numpy as np
import dynq_numba as dq

F32, N = np.float32, 3000
x, big = np.ones((N, 64), F32), np.ones((N, N), F32)
w, table = dq.pack_linear(np.ones((N, 64), F32)), dq.pack_embedding(np.ones((10, 2000), F32))
square = dq.pack_conv(np.ones((64, 8, 3, 3), F32), padding=1)
image, ids, heads = np.ones((1, 8, 400, 400), F32), np.zeros(5000, np.int64), np.ones((1, 4, 6000, 256), F32)
lstm = dq.pack_lstm(np.ones((1, 1024, 64), F32), np.ones((1, 1024, 256), F32))
steps, q = np.ones((9000, 1, 64), F32), dq.quantize(big)
cos, sin = dq.rotary_tables(6000, 256)
calls = {
    "linear": lambda: dq.linear(x, w),
    "linear, strided": lambda: dq.linear(np.broadcast_to(x[:1], x.shape), w, activation="gelu"),
    "linear_many": lambda: dq.linear_many(x, [w, w]),
    "pack_linear": lambda: dq.pack_linear(big),
    "quantize": lambda: dq.quantize(big),
    "dequantize": lambda: dq.dequantize(q),
    "matmul": lambda: dq.matmul(x, x.T),
    "matmul_integer": lambda: dq.matmul_integer(q.data[:, :64], q.data[:64]),
    "conv": lambda: dq.conv(image, square),
    "embedding": lambda: dq.embedding(ids, table),
    "embedding_bag": lambda: dq.embedding_bag(ids, np.arange(5000), table),
    "softmax": lambda: dq.softmax(big),
    "layer_norm": lambda: dq.layer_norm(big),
    "rms_norm": lambda: dq.rms_norm(big),
    "gelu": lambda: dq.gelu(big),
    "swiglu": lambda: dq.swiglu(big, big),
    "attention": lambda: dq.attention(heads[:, :, :6000], heads[:, :, :64], heads[:, :, :64]),
    "attention_int8": lambda: dq.attention(heads[:, :, :6000], heads[:, :, :64], heads[:, :, :64], bits=8),
    "rotary": lambda: dq.rotary(heads, cos, sin),
    "lstm": lambda: dq.lstm(steps, lstm)[0],
}

def total(result):
    parts = result if isinstance(result, tuple) else (result,)
    return [float(np.asarray(p, np.float64).sum()) for p in parts if isinstance(p, np.ndarray)]

before = {name: total(call()) for name, call in calls.items()}
gc.collect()
used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
told = {}
resource.setrlimit(resource.RLIMIT_AS, (used + (4 << 20), resource.RLIM_INFINITY))
for name, call in calls.items():
    try:
        call()
        told[name] = "nothing"
    except BaseException as error:
        told[name] = type(error).__name__
    gc.collect()
resource.setrlimit(resource.RLIMIT_AS, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
after = {name: total(call()) for name, call in calls.items()}
print(json.dumps([told, [name for name in calls if before[name] != after[name]]]))
"""


def test_without_memory_every_operator_says_so_and_works_again_later():
    # Freed memory goes back at once, so that what is left is what the limit leaves.
    done = child("-c", NO_MEMORY, MALLOC_TRIM_THRESHOLD_="0", MALLOC_MMAP_THRESHOLD_="65536", MALLOC_ARENA_MAX="1")
    assert done.returncode == 0, done.stderr
    told, changed = json.loads(done.stdout)
    assert {name: error for name, error in told.items() if "MemoryError" not in error} == {}
    assert changed == []
