"""Where the time of a linear goes.

    python -m bench breakdown THREADS M,K,N ...

``whole``     the call, numpy array to numpy array.
``quantize``  the row pass of that call run alone, on one thread's share of the rows: ranges, parameters, row panels.
``dots``      what the dots alone would take at the register peak of the same rounds.
``rest``      the remainder: epilogue, stores, caches, handing out the work, the call itself.

Microseconds, medians over interleaved rounds.
"""

from __future__ import annotations

import json
import statistics
import time
from collections.abc import Callable
from functools import cache

import numpy as np

import dynq_numba as dq
from bench.harness import timing
from bench.harness.limits import Limits
from bench.harness.problem import Shape
from dynq_numba.kernels.base.jit import kernel
from dynq_numba.kernels.base.memory import ALIGN, address_value, data_ptr, keep, null, offset
from dynq_numba.kernels.gemm.tile import Scheme
from dynq_numba.kernels.isa.base import InstructionSet
from dynq_numba.kernels.linear.row_panels import row_panels
from dynq_numba.kernels.quantize.qparams import BYTE, fit_rows
from dynq_numba.runtime.isa import active

ROUNDS = 7


@cache
def row_pass(isa: InstructionSet) -> Callable:
    """``run(x, n, packed, scales, zero_points)``: quantize and pack all rows of x, as the worker of a linear does."""
    row_words, _, count_panels, row_panel, pack_rows, on_matrix = row_panels(isa, Scheme())

    @kernel(cached=False)
    def run(x, n, packed, scales, zero_points):
        rows, k, stride = x.shape[0], x.shape[1], x.strides[0]
        tiles = on_matrix(rows, n, k)
        panels, room = count_panels(tiles, rows), offset(data_ptr(packed), -address_value(data_ptr(packed)) % ALIGN)
        for p in range(panels):
            first, count = row_panel(tiles, p, panels, rows)
            source, target = offset(data_ptr(x), first * stride), offset(room, 4 * first * row_words(k))
            scale, zero_point = offset(data_ptr(scales), 4 * first), offset(data_ptr(zero_points), 4 * first)
            fit_rows(source, stride, count, k, null(), BYTE, scale, zero_point)
            pack_rows(tiles, source, stride, count, k, scale, zero_point, target)
        keep(x)
        keep(packed)
        keep(scales)
        keep(zero_points)

    return run


def breakdown(shape: Shape, limits: Limits) -> dict[str, float]:
    """Microseconds of each part."""
    rng = np.random.default_rng(0)
    x = rng.standard_normal((shape.m, shape.k), dtype=np.float32)
    w = dq.pack_linear(rng.standard_normal((shape.n, shape.k), dtype=np.float32), granularity="per_channel")
    rows = -(-shape.m // limits.threads)
    isa = active().form("linear")
    packed = np.empty(row_panels(isa, Scheme()).packed_bytes(rows, shape.k) + ALIGN, np.uint8)
    scales, zero_points = np.empty(rows, np.float32), np.empty(rows, np.int32)
    run, share_of_x, no_rows = row_pass(isa), x[:rows], x[:0]
    parts = {
        "whole": lambda: dq.linear(x, w, threads=limits.threads),
        "quantize": lambda: run(share_of_x, shape.n, packed, scales, zero_points),
        "nothing": lambda: run(no_rows, shape.n, packed, scales, zero_points),  # what calling it costs
    }
    times: dict[str, list[float]] = {name: [] for name in (*parts, "dots")}
    for _ in range(ROUNDS):
        for name, call in parts.items():
            time.sleep(0.002)
            times[name].append(timing.burst(call))
        times["dots"].append(shape.operations / limits.burst()["peak"])
    times["quantize"] = [q - n for q, n in zip(times["quantize"], times.pop("nothing"), strict=True)]
    times["rest"] = [w - q - d for w, q, d in zip(times["whole"], times["quantize"], times["dots"], strict=True)]
    return {name: float(f"{statistics.median(values) * 1e6:.4g}") for name, values in times.items()}


def measure(threads: int, shapes: list[Shape]) -> dict[str, dict[str, float]]:
    """The parts, by shape."""
    limits = Limits(threads)
    return {str(shape): breakdown(shape, limits) for shape in shapes}


def main(argv: list[str]) -> int:
    given = [Shape(*map(int, word.split(","))) for word in argv[1:]]
    print(json.dumps(measure(int(argv[0]), given), indent=1))
    return 0
