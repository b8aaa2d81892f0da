"""Cases of Chain."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from itertools import product

import numpy as np

import dynq_numba as dq

from .base import Arrays, Call, Maker, Row, Size, values


def of(run: dq.Chain, **arrays: np.ndarray) -> Call:
    return Call("chain", lambda x, **others: run(x, **others), arrays, ("threads",))


def calls(size: Size) -> Iterator[Call]:
    a = Maker()
    m, k, n = {"small": (2, 16, 32), "middle": (500, 131, 70), "large": (3000, 64, 3000)}[size]
    up, down = dq.pack_linear(a.normal(n, k)), dq.pack_linear(a.normal(k, n))
    first, norm = dq.step.Linear(up, activation="gelu"), dq.step.LayerNorm(a.normal(k))
    run = dq.Chain({"up": first, "down": dq.step.Linear(down), "y": norm})
    yield of(run, x=a.normal(m, k))._replace(share=10_000 if size == "small" else None)


def edges() -> Iterator[Call]:
    for k, n in product((1, 15, 33), (16, 70)):
        up, down = dq.pack_linear(values(1, n, k), values(2, n)), dq.pack_linear(values(3, k, n))
        steps = {"up": dq.step.Linear(up, activation="gelu"), "down": dq.step.Linear(down),
                 "y": dq.step.LayerNorm(values(4, k), residual="r")}  # fmt: skip
        run = dq.Chain(steps, "y")
        for m in (1, 2, 13, 57, 60):
            yield of(run, x=values(5, m, k), r=values(6, m, k))


def warm() -> Iterator[Callable[[], object]]:
    a = Maker(0)
    up, down = dq.pack_linear(a.normal(70, 300)), dq.pack_linear(a.normal(300, 70))
    run = dq.Chain({
        "up": dq.step.Linear(up, activation="gelu"), "down": dq.step.Linear(down),
        "y": dq.step.LayerNorm(a.normal(300), a.normal(300), residual="x"), "z": dq.step.RMSNorm(a.normal(300)),
    })  # fmt: skip
    for rows in (1, 40, 3000):
        yield partial(run, a.normal(rows, 300))


def golden() -> Arrays:
    sizes = (64, 90, 40), (66, 90, 40), (68, 40, 90)
    up, gate, down = (dq.pack_linear(values(seed, n, k), values(seed + 1, n)) for seed, n, k in sizes)
    steps = {
        "n": dq.step.RMSNorm(values(70, 40), residual="r", sum="h"),
        "gate": dq.step.Linear(gate), "up": dq.step.Linear(up, x="n", activation="gelu"),
        "inner": dq.step.SwiGLU("up", x="gate"), "down": dq.step.Linear(down, residual="h"),
        "y": dq.step.LayerNorm(values(71, 40), values(72, 40), residual="h"),
    }  # fmt: skip
    run = dq.Chain(steps, ("h", "up", "y"))
    for m in (1, 9, 130):
        yield from run(values(73, m, 40), r=values(74, m, 40), threads=2)


ROW = Row(calls, edges, warm, {"chain": golden}, imports="base objects threads linear rowwise", bench=("chain",))
