"""What x of 16 bits (w8a16) costs and gains: time and error of linear with x_bits=16 beside 8, on each instruction set.

    python -m bench activation_bits [--threads N] [--isa NAME ...] [M,K,N ...]

``slower``       the time with 16 bits over that with 8, medians over interleaved rounds.
``error``        of x alone: the norm of the difference to the float64 product with the rounded weight, over its norm.
``smaller``      the error with 8 bits over that with 16.
"""

from __future__ import annotations

import argparse
import statistics
from functools import partial

import numpy as np

import dynq_numba as dq
from bench.harness import timing
from bench.harness.problem import Shape

SHAPES = ("1,768,768", "8,768,3072", "128,384,1536", "128,768,768", "512,1024,1024")
ROUNDS = 9


def measure(shape: Shape, threads: int) -> tuple[dict[int, float], dict[int, float]]:
    """Seconds and relative errors, by bits of x."""
    rng = np.random.default_rng(0)
    x = rng.standard_normal((shape.m, shape.k), dtype=np.float32)
    weight = rng.standard_normal((shape.n, shape.k), dtype=np.float32)
    packed = {bits: dq.pack_linear(weight, granularity="per_channel", x_bits=bits) for bits in (8, 16)}
    exact = x.astype(np.float64) @ packed[8].dequantize().astype(np.float64).T
    norm = np.linalg.norm
    errors = {bits: float(norm(dq.linear(x, w) - exact) / norm(exact)) for bits, w in packed.items()}
    times: dict[int, list[float]] = {bits: [] for bits in packed}
    for _ in range(ROUNDS):
        for bits, w in packed.items():
            times[bits].append(timing.burst(partial(dq.linear, x, w, threads=threads)))
    return {bits: statistics.median(each) for bits, each in times.items()}, errors


def main(argv: list[str]) -> int:
    """Print a line for each instruction set and shape."""
    parser = argparse.ArgumentParser(prog="python -m bench activation_bits", description=__doc__)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--isa", nargs="+", default=[dq.current_isa()], choices=dq.available_isas())
    parser.add_argument("shapes", nargs="*", default=SHAPES)
    given = parser.parse_args(argv)
    print(f"{'set':12}{'M,K,N':>16}{'8 bits':>10}{'16 bits':>10}{'slower':>8}{'error 8':>10}{'16':>10}{'smaller':>9}")
    for isa in given.isa:
        with dq.force_isa(isa):
            for text in given.shapes:
                times, errors = measure(Shape(*map(int, text.split(","))), given.threads)
                line = f"{isa:12}{text:>16}{times[8] * 1e6:>7.1f} µs{times[16] * 1e6:>7.1f} µs"
                ratios = times[16] / times[8], errors[8] / errors[16]
                print(f"{line}{ratios[0]:>8.2f}{errors[8]:>10.1e}{errors[16]:>10.1e}{ratios[1]:>9.0f}", flush=True)
    return 0
