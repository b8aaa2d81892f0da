"""quantize and dequantize on their own, beside numpy and the read bandwidth.

    python -m bench.conversion [THREADS]

Bytes are those that must move: each float32 and each 8-bit value once. The bandwidth is what reads alone reach on as
much data, in the same rounds.
"""

from __future__ import annotations

import json
import statistics
import sys
import time
from collections.abc import Callable

import numba
import numpy as np

import dynq_numba as dq
from bench import timing
from bench.bandwidth import STEP, read_loop
from bench.machine import last_level_cache

#: Rows and columns: in a core's L2, in the last-level cache, and (rows of 0: made to measure) beyond every cache.
SHAPES = {"in L2": (128, 768), "in L3": (1024, 1024), "beyond the caches": (0, 4096)}
ROUNDS = 7
#: Bytes of a value and its 8-bit form.
MOVED = 5


def shape_of(name: str) -> tuple[int, int]:
    rows, columns = SHAPES[name]
    return rows or 4 * last_level_cache() // (4 * columns), columns


def numpy_quantize(x: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """What `dq.quantize` does, as one writes it in numpy."""
    low, high = np.minimum(x.min(1), 0), np.maximum(x.max(1), 0)
    scale = (high - low) / np.float32(255)
    zero = np.rint(-low / scale)
    q = np.clip(np.rint(x / scale[:, None]) + zero[:, None], 0, 255)
    return q.astype(np.uint8), scale, zero.astype(np.uint8)


def numpy_dequantize(q: tuple[np.ndarray, np.ndarray, np.ndarray]) -> np.ndarray:
    data, scale, zero = q
    return (data.astype(np.float32) - zero[:, None].astype(np.float32)) * scale[:, None]


def functions(shape: tuple[int, int]) -> dict[str, dict[str, Callable[[], object]]]:
    """The calls by operation and by whose they are, checked against each other."""
    x = np.random.default_rng(0).standard_normal(shape, dtype=np.float32)
    ours, theirs = dq.quantize(x), numpy_quantize(x)
    if np.abs(ours.data[:64].astype(int) - theirs[0][:64]).max() > 1:
        raise AssertionError("dq.quantize and numpy differ by more than a step")
    return {
        "quantize": {"dynq": lambda: dq.quantize(x), "numpy": lambda: numpy_quantize(x)},
        "dequantize": {"dynq": lambda: dq.dequantize(ours), "numpy": lambda: numpy_dequantize(theirs)},
    }


def measure(threads: int) -> list[dict]:
    """A record for each array and operation."""
    numba.set_num_threads(threads)
    read = read_loop()
    records = []
    for name in SHAPES:
        shape = shape_of(name)
        size = MOVED * shape[0] * shape[1] // (STEP * threads) * STEP * threads
        data, passes = np.ones(size, np.uint8), max(1, 100_000_000 // size)
        calls = {(op, who): call for op, both in functions(shape).items() for who, call in both.items()}
        times: dict[tuple, list[float]] = {key: [] for key in (*calls, "read")}
        for _ in range(ROUNDS):
            times["read"].append(timing.burst(lambda d=data, p=passes: read(d, p, threads), 0) / (size * passes))
            for key, call in calls.items():
                time.sleep(0.002)
                times[key].append(timing.burst(call) / (shape[0] * shape[1]))
        for operation in ("quantize", "dequantize"):
            ours, theirs, bandwidth = times[operation, "dynq"], times[operation, "numpy"], times["read"]
            records.append({
                "where": name, "rows": shape[0], "columns": shape[1], "threads": threads, "operation": operation,
                "gb_s": round(statistics.median(MOVED / t for t in ours) / 1e9, 2),
                "read_gb_s": round(statistics.median(1 / t for t in bandwidth) / 1e9, 1),
                "of_limit": round(statistics.median(MOVED * b / t for t, b in zip(ours, bandwidth, strict=True)), 4),
                "ratio_numpy": round(statistics.median(n / t for n, t in zip(theirs, ours, strict=True)), 2),
            })  # fmt: skip
    return records


if __name__ == "__main__":
    print(json.dumps(measure(int(sys.argv[1]) if len(sys.argv) > 1 else 1), indent=1))
