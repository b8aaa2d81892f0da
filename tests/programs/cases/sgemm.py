"""Cases of float32 products, which have no public function: calls of their backend."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from itertools import product

import numpy as np

from dynq_numba.operators.sgemm import backend

from .base import F32, Arrays, Call, Draw, Extreme, Maker, Row, Size, values


def multiplied(
    a: np.ndarray, b: np.ndarray, bias: np.ndarray | None = None, *, packed: bool = False,
    out: np.ndarray | None = None, threads: int = 0,
) -> np.ndarray:  # fmt: skip
    target = np.empty((*a.shape[:-1], b.shape[-1]), F32) if out is None else out
    backend.product(a, b, target, bias, packed, threads)
    return target


def calls(size: Size) -> Iterator[Call]:
    """None are small: those are given every odd argument, of which a backend is not told."""
    if size == "small":
        return
    a = Maker()
    shapes = ((12, 128, 32), (12, 32, 128)) if size == "middle" else ((2000, 1500), (1500, 2000))
    yield Call("sgemm", multiplied, {"a": a.normal(*shapes[0]), "b": a.normal(*shapes[1])})


def edges() -> Iterator[Call]:
    for m, k, n in product((1, 2, 13, 14, 15, 30), (1, 15, 17, 64, 530), (1, 15, 16, 17, 33)):
        arrays = {"a": values(40, m, k), "b": values(41, k, n), "bias": values(42, n)}
        yield Call("sgemm", multiplied, arrays)
        yield Call("sgemm, packed", partial(multiplied, packed=True), arrays)
        columns = {"a": values(43, k, m), "b": values(44, n, k)}
        yield Call("sgemm, columns", lambda a, b, **options: multiplied(a.T, b.T, **options), columns)


def warm() -> Iterator[Callable[[], object]]:
    a = Maker(0)
    yield partial(multiplied, a.normal(3, 50), a.normal(50, 20))
    yield partial(multiplied, a.normal(200, 300), a.normal(300, 200), a.normal(200), packed=True, threads=2)


def golden() -> Arrays:
    yield multiplied(values(45, 3, 2, 17, 70), values(46, 3, 2, 70, 33))
    yield multiplied(values(47, 1, 600), values(48, 600, 50), values(49, 50), packed=True, threads=2)
    yield multiplied(values(50, 45, 1100), values(51, 40, 1100).T, values(52, 40), threads=2)


def drawn(draw: Draw) -> tuple[np.ndarray, ...]:
    m, k, n = draw.length(), draw.length(), draw.length()
    return draw.floats(m, k), np.ascontiguousarray(draw.floats(n, k).T), draw.floats(1, n)[0]


def extreme(a: np.ndarray, b: np.ndarray, bias: np.ndarray) -> list:
    turned = np.ascontiguousarray(b.T).T
    return [multiplied(a, b, bias), multiplied(a, b, bias, packed=True, threads=2), multiplied(a, turned)]


ROW = Row(
    calls, edges, warm, {"sgemm": golden}, imports="base isa threads gemm", bench=("sgemm",),
    extremes={"sgemm": Extreme(drawn, extreme)},
)  # fmt: skip
