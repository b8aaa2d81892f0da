"""quantize and dequantize alone, beside numpy and the memory bandwidth.

    python -m bench conversion [THREADS]

Bytes are those that must move: each float32 and each 8-bit value once. `out`: into an array that there is already;
otherwise into a new one, whose pages the system clears meanwhile. Two limits, both on as much data in the same rounds:
`read` is what reads alone reach; `move` is what a loop reaches that only reads and writes in the same proportion, past
the caches or not, whichever is faster. One long row is read twice, for its range and to convert it.
An array that was disturbed is measured again; a record that was disturbed again says so.
"""

from __future__ import annotations

import json
import statistics
from collections.abc import Callable
from functools import partial

import numba
import numpy as np

import dynq_numba as dq
from bench.harness import timing
from bench.harness.awake import rest
from bench.harness.bandwidth import MOVE_STEP, STEP, lines, move_loop, read_loop
from bench.harness.disturbance import disturbed, quiet_part, spread, steady
from bench.harness.machine import last_level_cache

#: Rows and columns: in a core's L2, in the last-level cache, and (0: made to measure) beyond every cache.
SHAPES = {"in L2": (128, 768), "in L3": (1024, 1024), "beyond the caches": (0, 4096), "beyond, one row": (1, 0)}
ROUNDS = 7
#: Bytes of a value and its 8-bit form.
MOVED = 5
#: Lines read and written by each operation.
PROPORTIONS = {"quantize": (4, 1), "dequantize": (1, 4)}


def shape_of(name: str) -> tuple[int, int]:
    rows, columns = SHAPES[name]
    beyond = 4 * last_level_cache() // 4
    return rows or beyond // columns, columns or beyond


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
    data, back = np.zeros_like(ours.data), np.zeros_like(x)
    return {
        "quantize": {
            "dynq": lambda: dq.quantize(x),
            "dynq out": lambda: dq.quantize(x, out=data),
            "numpy": lambda: numpy_quantize(x),
        },
        "dequantize": {
            "dynq": lambda: dq.dequantize(ours),
            "dynq out": lambda: dq.dequantize(ours, out=back),
            "numpy": lambda: numpy_dequantize(theirs),
        },
    }


def limits(values: int, threads: int) -> dict[str, Callable[[], float]]:
    """Functions that give bytes a second, by limit: "read", and each operation's "move" with and without streaming."""
    whole = MOVE_STEP * STEP * threads
    size = max(1, 4 * values // whole) * whole
    long, short = lines(size), lines(size // 4)
    passes = max(1, 100_000_000 // size)

    def rate(run: Callable, moved: int, *arrays: np.ndarray) -> Callable[[], float]:
        return lambda: moved * passes / timing.burst(lambda: run(*arrays, passes, threads), 0)

    found = {"read": rate(read_loop(), size, long)}
    for operation, (read, written) in PROPORTIONS.items():
        arrays = (long, short) if read > written else (short, long)
        for stream in (False, True):
            found[f"{operation} {stream}"] = rate(move_loop(read, written, stream), size // 4 * MOVED, *arrays)
    return found


def measure(threads: int) -> list[dict]:
    """A record for each array, operation, and kind of result."""
    numba.set_num_threads(threads)
    dq.set_num_threads(threads)
    return [record for name in SHAPES for record in steady(partial(measure_array, name, threads))["records"]]


def measure_array(name: str, threads: int) -> dict:
    """The "records" of one array, and whether one of them is "disturbed"."""
    shape = shape_of(name)
    values = shape[0] * shape[1]
    calls = {(op, who): call for op, each in functions(shape).items() for who, call in each.items()}
    bounds = limits(values, threads)
    rates: dict[object, list[float]] = {key: [] for key in (*calls, *bounds)}
    quiet = []
    for _ in range(ROUNDS):
        for limit, rate in bounds.items():
            rates[limit].append(rate())
        for key, call in calls.items():
            quiet.append(rest())
            rates[key].append(MOVED * values / timing.burst(call))
    records = []
    for operation in PROPORTIONS:
        move = max((rates[f"{operation} {stream}"] for stream in (False, True)), key=statistics.median)
        for who in ("dynq", "dynq out"):
            ours, theirs, read = rates[operation, who], rates[operation, "numpy"], rates["read"]
            record = {
                "where": name, "rows": shape[0], "columns": shape[1], "threads": threads, "operation": operation,
                "result": "out=" if who == "dynq out" else "new",
                "gb_s": round(statistics.median(ours) / 1e9, 2),
                "read_gb_s": round(statistics.median(read) / 1e9, 1),
                "of_limit": ratio(ours, read, 4),
                "move_gb_s": round(statistics.median(move) / 1e9, 1),
                "of_move": ratio(ours, move, 4),
                "ratio_numpy": ratio(ours, theirs, 2),
            }  # fmt: skip
            record["disturbed"] = disturbed(map(spread, (ours, theirs)), quiet_part(quiet), [record["of_move"]])
            records.append(record)
    return {"records": records, "disturbed": any(record["disturbed"] for record in records)}


def ratio(ours: list[float], others: list[float], digits: int) -> float:
    """The median of the rounds' ratios."""
    return round(statistics.median(a / b for a, b in zip(ours, others, strict=True)), digits)


def main(argv: list[str]) -> int:
    print(json.dumps(measure(int(argv[0]) if argv else 1), indent=1))
    return 0
