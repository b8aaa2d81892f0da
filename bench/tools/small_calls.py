"""Small calls on default threads beside one and two: is a second thread asked only where it pays?

    python -m bench small_calls               about 10 s on a quiet machine
    python -m bench small_calls --smoke       a few shapes, once

Medians of single calls in a loop, so helpers are awake, in rounds in turn. "default / 1" is what the choice costs or
gains; the last line counts.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator
from itertools import product

import numpy as np

import dynq_numba as dq
from bench.tools.recurrent_threads import THREADS, medians

#: K, N of weights, and rows.
WEIGHTS = ((64, 64), (128, 128), (256, 256), (384, 384), (512, 512), (768, 768), (256, 1024), (1024, 256), (1024, 1024))
ROWS = (1, 2, 4, 8, 16, 32, 64)
#: Products, M, K, N.
PRODUCTS = ((1, 8, 64, 64), (1, 16, 64, 64), (1, 64, 64, 64), (1, 128, 64, 64), (1, 64, 128, 128), (4, 32, 32, 32),
            (12, 16, 64, 16), (12, 32, 64, 32), (12, 64, 64, 64), (1, 1, 256, 256))  # fmt: skip
#: Channels in and out, side of the image, side of the kernel.
CONVOLUTIONS = ((3, 16, 8, 3), (8, 16, 16, 3), (16, 32, 16, 3), (64, 64, 8, 1), (32, 64, 14, 3), (64, 64, 14, 1),
                (128, 128, 7, 3), (1, 8, 28, 3))  # fmt: skip
#: Rows and columns.
MATRICES = ((1, 256), (4, 256), (16, 256), (64, 256), (8, 768), (64, 768), (256, 768))
#: Queries, width, of four heads with at least 64 keys.
HEADS = ((1, 64), (8, 32), (16, 32), (32, 32), (64, 32))


def calls() -> Iterator[tuple[str, Callable]]:
    """Names, and functions of the number of threads."""
    rng = np.random.default_rng(0)

    def normal(*shape: int) -> np.ndarray:
        return rng.standard_normal(shape, dtype=np.float32)

    for (k, n), m in product(WEIGHTS, ROWS):
        x, w, out = normal(m, k), dq.pack_linear(normal(n, k)), np.empty((m, n), np.float32)
        yield f"linear {m},{k},{n}", lambda t, x=x, w=w, out=out: dq.linear(x, w, out=out, threads=t)
    for count, m, k, n in PRODUCTS:
        a, b = normal(count, m, k), normal(count, k, n)
        yield f"matmul {count} × {m},{k},{n}", lambda t, a=a, b=b: dq.quantized_matmul(a, b, threads=t)
    for before, after, side, taps in CONVOLUTIONS:
        x, w = normal(1, before, side, side), dq.pack_conv(normal(after, before, taps, taps), padding=taps // 2)
        yield f"conv {before} -> {after}, {side}², {taps}²", lambda t, x=x, w=w: dq.conv(x, w, threads=t)
    for (m, k), run in product(MATRICES, (dq.softmax, dq.layer_norm, dq.gelu)):
        x = normal(m, k)
        yield f"{run.__name__} {m},{k}", lambda t, x=x, run=run: run(x, threads=t)
    for s, d in HEADS:
        q, kv = normal(1, 4, s, d), normal(1, 4, max(64, s), d)
        yield f"attention {s} × {d}", lambda t, q=q, kv=kv: dq.attention(q, kv, kv, threads=t)


def main(argv: list[str]) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m bench small_calls", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--smoke", action="store_true", help="every twentieth, once")
    args = parser.parse_args(argv)
    ratios = []
    for i, (name, call) in enumerate(calls()):
        if args.smoke and i % 20:
            continue
        one, two, default = medians([lambda t=t, call=call: call(t) for t in THREADS], smoke=args.smoke)
        ratios.append(default / one)
        times = f"1: {one:7.2f}   2: {two:7.2f}   default: {default:7.2f} µs"
        print(f"{name:26} {times}   default / 1: {default / one:.2f}", flush=True)
    print(f"slower than one thread by more than 5 %: {sum(r > 1.05 for r in ratios)}, by more than 15 %: "
          f"{sum(r > 1.15 for r in ratios)}, of {len(ratios)}")  # fmt: skip
    return 0
