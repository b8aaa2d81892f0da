"""Recurrent layers on default threads beside one and two: does sharing a sequence pay where it is chosen?

    python -m bench recurrent_threads               all layers, about 40 s on a quiet machine
    python -m bench recurrent_threads --smoke       each once

Medians of single calls, in rounds in turn. "default / 1" is what the choice costs or gains; the last lines count.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable

import numpy as np

import dynq_numba as dq

KINDS = {"gru": (dq.pack_gru, dq.gru, 3), "lstm": (dq.pack_lstm, dq.lstm, 4), "rnn": (dq.pack_rnn, dq.rnn, 1)}
#: Batch, units, inputs, times.
LAYERS = (
    (1, 100, 64, 12), (1, 256, 64, 12), (1, 512, 256, 50), (2, 64, 64, 12), (2, 256, 64, 12), (2, 512, 256, 20),
    (4, 64, 64, 12), (4, 128, 64, 3), (4, 256, 64, 12), (4, 512, 256, 20), (8, 16, 16, 50), (8, 32, 32, 20),
    (8, 100, 64, 12), (8, 256, 64, 12), (8, 512, 256, 50), (8, 768, 256, 10), (8, 1024, 256, 8), (16, 64, 64, 12),
    (16, 100, 64, 12), (16, 128, 64, 1), (16, 256, 64, 12), (32, 16, 16, 50), (32, 128, 128, 100), (32, 1024, 256, 6),
    (33, 100, 64, 12), (33, 256, 64, 12), (64, 16, 16, 12), (64, 64, 64, 50), (64, 256, 256, 50), (128, 1024, 256, 3),
    (200, 32, 32, 4),
)  # fmt: skip
THREADS = (1, 2, None)
ROUNDS, CALLS, ROUND_US = 5, 60, 4000.0


def median_micros(call: Callable, calls: int) -> float:
    times = []
    for _ in range(calls):
        begin = time.perf_counter_ns()
        call()
        times.append(time.perf_counter_ns() - begin)
    return statistics.median(times) / 1e3


def medians(calls: list[Callable], *, smoke: bool) -> list[float]:
    """Microseconds of each call, taken in turn."""
    first = [median_micros(call, 1 if smoke else 3) for call in calls]
    if smoke:
        return first
    count = int(min(CALLS, max(3, ROUND_US / first[0])))
    rounds = [[median_micros(call, count) for call in calls] for _ in range(ROUNDS)]
    return [statistics.median(each) for each in zip(*rounds, strict=True)]


def measure(kind: str, batch: int, units: int, inputs: int, times: int, smoke: bool) -> list[float]:
    """Microseconds of a call for each of THREADS."""
    rng = np.random.default_rng(0)
    pack, run, gates = KINDS[kind]
    layer = pack(*(rng.standard_normal((gates * units, k), dtype=np.float32) for k in (inputs, units)), layout="onnx")
    x = rng.standard_normal((times, batch, inputs), dtype=np.float32)
    return medians([lambda threads=threads: run(x, layer, threads=threads) for threads in THREADS], smoke=smoke)


def main(argv: list[str]) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m bench recurrent_threads", description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )  # fmt: skip
    parser.add_argument("--smoke", action="store_true", help="two small layers of each kind, once")
    args = parser.parse_args(argv)
    ratios = []
    for kind in KINDS:
        for layer in LAYERS[:2] if args.smoke else LAYERS:
            one, two, default = measure(kind, *layer, smoke=args.smoke)
            ratios.append(default / one)
            sizes = "batch {:3}  units {:4}  inputs {:3}  times {:3}".format(*layer)
            print(f"{kind:4}  {sizes}   1: {one:8.1f}   2: {two:8.1f}   default: {default:8.1f} µs   "
                  f"default / 1: {default / one:.2f}", flush=True)  # fmt: skip
    slower = sum(ratio > 1.05 for ratio in ratios)
    print(f"slower than one thread by more than 5 %: {slower} of {len(ratios)}; "
          f"geometric mean of default / 1: {statistics.geometric_mean(ratios):.3f}")  # fmt: skip
    return 0
