"""What every operator does when memory runs out, at any moment: MemoryError, nothing kept, and right again later.

    python tests/programs/starved.py [NAME …]        (default: all)

Each call runs under limits of the address space: from none to spare up to what it needs, and in steps of 64 KB below
that, without scratch memory of earlier calls. Prints JSON: for each name how often it failed with which error, bytes by
which the process has grown over it, whether results are as before, and slots of scratch that nobody gave back. Run with
glibc's MALLOC_TRIM_THRESHOLD_=0 MALLOC_MMAP_THRESHOLD_=65536 MALLOC_ARENA_MAX=1 and PYTHONMALLOC=malloc: freed memory
then goes back at once.
"""

from __future__ import annotations

import ctypes
import gc
import hashlib
import json
import resource
import sys
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np

import dynq_numba as dq
from dynq_numba.kernels.threads.scratch import BLOCK
from dynq_numba.runtime import scratch

free = ctypes.CDLL(None).free
free.argtypes = [ctypes.c_void_p]
F32, N = np.float32, 3000
#: Bytes above what the process has, until a call succeeds; and by which limits differ below that.
SPARE = [0, *(int(2 ** (14 + i / 2)) for i in range(40))]
STEP, STEPS = 1 << 16, 20


def operators(folder: str) -> dict[str, Callable]:
    rng = np.random.default_rng(0)

    def normal(*shape: int) -> np.ndarray:
        return rng.standard_normal(shape, F32)

    grouped = {"bits": 4, "granularity": "per_group", "group_size": 32}
    x, big, image = normal(N, 64), normal(N, N), normal(2, 8, 300, 300)
    w, table = dq.pack_linear(normal(N, 64)), dq.pack_embedding(normal(10, 2000))
    deep, rows, out = dq.pack_linear(normal(8, 20_000), rotate=32), normal(100, 20_000), np.empty((100, 8), F32)
    long = normal(3, 400_000)
    square, filters = dq.pack_conv(normal(64, 8, 3, 3), padding=1), normal(500, 200, 5, 5)
    ids, heads = np.zeros(5000, np.int64), normal(1, 4, 3000, 256)
    steps, q = normal(2000, 2, 64), dq.quantize(big)
    layers = [pack(normal(2, gates * 256, 64), normal(2, gates * 256, 256))
              for pack, gates in ((dq.pack_lstm, 4), (dq.pack_gru, 3), (dq.pack_rnn, 1))]  # fmt: skip
    cos, sin = dq.rotary_tables(3000, 256)
    narrow = dq.pack_linear(normal(64, N))
    up, down = dq.step.Linear(w, activation="gelu"), dq.step.Linear(narrow)
    chain = dq.Chain({"up": up, "down": down, "y": dq.step.LayerNorm(np.ones(64, F32))})
    path = str(Path(folder) / "model")
    dq.save(path, {"w": w, "big": big})

    def saved() -> np.ndarray:
        dq.save(path, {"w": w, "big": big})
        return np.frombuffer(Path(path).read_bytes()[-80:], np.uint8)

    return {
        "linear": lambda: dq.linear(x, w),
        "linear, strided": lambda: dq.linear(np.broadcast_to(x[:1], x.shape), w, activation="gelu"),
        "linear, rotated, into out": lambda: dq.linear(rows, deep, out=out),
        "linear_many": lambda: dq.linear_many(x, [w, w]),
        "linear_many, rotated": lambda: dq.linear_many(rows, [deep, deep]),
        "chain": lambda: chain(x),
        "pack_linear": lambda: dq.linear(big[:1], dq.pack_linear(big)),
        "pack_linear, 4 bits": lambda: dq.linear(big[:1], dq.pack_linear(big, **grouped)),
        "pack_linear, outliers": lambda: dq.linear(big[:1], dq.pack_linear(big, outliers=range(100))),
        "choose_scheme": lambda: np.float32([c.error for c in dq.choose_scheme(big).candidates]),
        "pack_conv": lambda: dq.conv(image[:1, :1, :5, :5].repeat(200, 1), dq.pack_conv(filters)),
        "pack_embedding": lambda: dq.embedding(ids[:1], dq.pack_embedding(big)),
        "quantize": lambda: dq.quantize(big).data,
        "quantize, few rows": lambda: dq.quantize(long).data,
        "dequantize": lambda: dq.dequantize(q),
        "matmul": lambda: dq.quantized_matmul(x, x.T),
        "matmul_integer": lambda: dq.matmul_integer(q.data[:1000], q.data[:, :1000]),
        "conv": lambda: dq.conv(image, square),
        "embedding": lambda: dq.embedding(ids, table),
        "embedding_bag": lambda: dq.embedding_bag(ids, np.arange(5000), table),
        "softmax": lambda: dq.softmax(big),
        "layer_norm": lambda: dq.layer_norm(big),
        "rms_norm": lambda: dq.rms_norm(big),
        "gelu": lambda: dq.gelu(big),
        "swiglu": lambda: dq.swiglu(big, big),
        "attention": lambda: dq.attention(heads, heads[:, :, :64], heads[:, :, :64]),
        "attention, 8 bits": lambda: dq.attention(heads, heads[:, :, :64], heads[:, :, :64], bits=8),
        "attention, 8 bits, many keys": lambda: dq.attention(heads[:, :, :40], heads, heads, bits=8),
        "rotary": lambda: dq.rotary(heads, cos, sin),
        "lstm": lambda: dq.lstm(steps, layers[0])[0],
        "gru": lambda: dq.gru(steps, layers[1])[0],
        "rnn": lambda: dq.rnn(steps, layers[2])[0],
        "save": saved,
        "load": lambda: dq.load(path)["big"],
    }


def digest(result: object) -> str:
    parts = result if isinstance(result, tuple | list) else (result,)
    return hashlib.sha256(b"".join(np.ascontiguousarray(part).tobytes() for part in parts)).hexdigest()


def size() -> int:
    return int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()


def empty() -> None:
    """Free the scratch memory that is kept for later calls."""
    for slot in scratch._ROOM:
        if slot[0] == 0 and slot[BLOCK]:
            free(int(slot[BLOCK]))
            slot[:] = 0


def attempt(call: Callable, limit: int) -> str:
    """What a call raises under a limit; "" for nothing."""
    empty()
    resource.setrlimit(resource.RLIMIT_AS, (limit, resource.RLIM_INFINITY))
    try:
        call()
        return ""
    except Exception as error:
        return type(error).__name__
    finally:
        resource.setrlimit(resource.RLIMIT_AS, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
        gc.collect()


def starve(call: Callable) -> Iterator[str]:
    """What it raises under the limits."""
    base, below = size(), 0
    for spare in SPARE:
        error = attempt(call, base + spare)
        yield error
        if not error:
            break
        below = spare
    enough = spare
    while enough - below > STEP:
        middle = (below + enough) // 2
        error = attempt(call, base + middle)
        yield error
        below, enough = (middle, enough) if error else (below, middle)
    for spare in range(below - STEPS * STEP, below, STEP):
        yield attempt(call, base + max(0, spare))


def main(names: list[str]) -> None:
    report = {}
    with tempfile.TemporaryDirectory() as folder:
        for name, call in operators(folder).items():
            if names and name not in names:
                continue
            before = digest(call())
            gc.collect()
            empty()
            base = size()
            errors = Counter(filter(None, starve(call)))
            empty()
            grown, busy = size() - base, int(np.count_nonzero(scratch._ROOM[:, 0]))
            report[name] = {"errors": errors, "grown": grown, "same": digest(call()) == before, "busy": busy}
            print(name, report[name], file=sys.stderr, flush=True)
    print(json.dumps(report))


if __name__ == "__main__":
    main(sys.argv[1:])
