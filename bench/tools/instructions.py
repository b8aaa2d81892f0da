"""Instructions of small calls, counted by valgrind's callgrind: what a clock is too noisy for.

    python -m bench instructions                 every call below, on avx2 and one thread

A count is the difference between twice as many calls and as many, divided by their number: Python's call and compiled
code, nothing else. It hardly changes from run to run, so two commits can be compared by a run in each. Valgrind knows
no AVX512; what leads to a kernel is the same on every instruction set. Kernels are compiled before, outside of it.
"""

from __future__ import annotations

import ctypes
import gc
import mmap
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import numba
import numpy as np

import dynq_numba as dq

#: The target: what valgrind's CPU can do.
TARGET = {
    "NUMBA_CPU_NAME": "haswell", "NUMBA_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "PYTHONHASHSEED": "0",
    "NUMBA_CPU_FEATURES": "+sse4.2,+popcnt,+avx,+avx2,+fma,+bmi,+bmi2,+lzcnt,+movbe,+f16c,+cx16,+sse4.1,+ssse3,+sse3",
}  # fmt: skip
CALLS = 40
#: valgrind's client request: a sequence of instructions that does nothing elsewhere.
REQUEST = bytes.fromhex("4889f8 31d2 48c1c703 48c1c70d 48c1c73d 48c1c733 4887db 4889d0 c3")
ZERO, DUMP, START, STOP = (0x43540000 + i for i in (1, 3, 4, 5))


def calls() -> Iterator[tuple[str, Callable[[], object]]]:
    """Names and calls."""
    rng = np.random.default_rng(0)

    def floats(*shape: int) -> np.ndarray:
        return rng.standard_normal(shape, dtype=np.float32)

    x, out, weight, wide = floats(8, 64), np.empty((8, 64), np.float32), floats(64, 64), floats(64)
    w = dq.pack_linear(weight, granularity="per_channel")
    grouped = dq.pack_linear(weight, granularity="per_group", group_size=32)
    fixed = dq.pack_linear(weight, granularity="per_tensor", x_granularity="per_tensor")
    yield "linear 1,64,64", lambda: dq.linear(x[:1], w)
    yield "linear 8,64,64", lambda: dq.linear(x, w)
    yield "linear, out, gelu", lambda: dq.linear(x, w, out=out, activation="gelu")
    yield "linear, residual", lambda: dq.linear(x, w, residual=x)
    yield "linear, groups of 32", lambda: dq.linear(x, grouped)
    yield "linear, per tensor", lambda: dq.linear(x, fixed)
    yield "linear_many, 3", lambda: dq.linear_many(x, (w, w, w))

    @numba.njit
    def loop(x, w, out):
        for _ in range(10):
            dq.linear(x, w, out=out)

    yield "linear in njit, 10", lambda: loop(x, w, out)
    yield "quantize", lambda: dq.quantize(x)
    q = dq.quantize(x)
    yield "dequantize", lambda: dq.dequantize(q)
    yield "softmax", lambda: dq.softmax(x)
    yield "layer_norm, residual", lambda: dq.layer_norm(x, wide, wide, residual=x)
    yield "gelu", lambda: dq.gelu(x)
    yield "swiglu", lambda: dq.swiglu(x, x)
    yield "matmul", lambda: dq.quantized_matmul(x, weight)
    yield "matmul_integer", lambda: dq.matmul_integer(q.data, q.data.T)
    table = dq.pack_embedding(weight)
    ids, offsets = np.arange(8), np.array([0, 3])
    yield "embedding", lambda: dq.embedding(ids, table)
    yield "embedding_bag", lambda: dq.embedding_bag(ids, offsets, table)
    image, kernel = floats(1, 4, 8, 8), dq.pack_conv(floats(8, 4, 3, 3), floats(8), padding=1)
    yield "conv", lambda: dq.conv(image, kernel)
    step, keys = floats(1, 2, 1, 32), floats(1, 2, 16, 32)
    rows = floats(1, 2, 20, 32)
    yield "attention, decode", lambda: dq.attention(step, keys, keys)
    yield "attention", lambda: dq.attention(rows, keys, keys)
    yield "attention, 8 bits", lambda: dq.attention(rows, keys, keys, bits=8)
    lstm = dq.pack_lstm(floats(128, 16), floats(128, 32), layout="torch")
    sequence = floats(3, 2, 16)
    yield "lstm, 3 steps", lambda: dq.lstm(sequence, lstm)
    steps = {
        "a": dq.step.Linear(w, activation="gelu"), "n": dq.step.LayerNorm(wide, wide, residual="x"),
        "y": dq.step.Linear(w, residual="n"),
    }  # fmt: skip
    chain = dq.Chain(steps)
    yield "chain of 3", lambda: chain(x)


def child() -> None:
    """Make the calls; the counts become files of valgrind."""
    page = mmap.mmap(-1, mmap.PAGESIZE, prot=mmap.PROT_READ | mmap.PROT_WRITE | mmap.PROT_EXEC)
    page.write(REQUEST)
    send = ctypes.CFUNCTYPE(ctypes.c_uint64, ctypes.c_void_p)(ctypes.addressof(ctypes.c_char.from_buffer(page)))

    def request(number: int, argument: int = 0) -> None:
        words = (ctypes.c_uint64 * 6)(number, argument)
        send(ctypes.addressof(words))

    gc.disable()
    for name, call in calls():
        call(), call()
        for count in (CALLS, 2 * CALLS):
            label = ctypes.create_string_buffer(f"{name}|{count}".encode())
            turns = range(count)
            request(START)
            request(ZERO)
            for _ in turns:
                call()
            request(DUMP, ctypes.addressof(label))
            request(STOP)


def count() -> dict[str, float]:
    """Instructions of each call."""
    environment = {**os.environ, **TARGET}
    script = [sys.executable, "-m", "bench", "instructions", "--child"]
    subprocess.run(script, env=environment, check=True)  # compiles
    with tempfile.TemporaryDirectory() as folder:
        valgrind = ["valgrind", "-q", "--tool=callgrind", "--instr-atstart=no", f"--callgrind-out-file={folder}/count"]
        subprocess.run([*valgrind, *script], env=environment, check=True)
        found = {}
        for path in Path(folder).iterdir():
            text = path.read_text()
            label, total = re.search(r"Client Request: (.*)", text), re.search(r"^totals: (\d+)", text, re.MULTILINE)
            if label and total:
                found[label[1].strip()] = int(total[1])
    names = sorted({label.split("|")[0] for label in found})
    return {name: (found[f"{name}|{2 * CALLS}"] - found[f"{name}|{CALLS}"]) / CALLS for name in names}


def main(argv: list[str]) -> int:
    """Print a table."""
    if argv == ["--child"]:
        child()
        return 0
    if shutil.which("valgrind") is None:
        print("this needs valgrind (apt-get install valgrind)", file=sys.stderr)
        return 2
    for name, instructions in count().items():
        print(f"{name:24}{instructions:10.0f}")
    return 0
