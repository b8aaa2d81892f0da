"""Cases of quantized_matmul and matmul_integer."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from itertools import product

import numpy as np

import dynq_numba as dq

from .base import Arrays, Call, Draw, Extreme, Maker, Row, Size, below, values


def calls(size: Size) -> Iterator[Call]:
    a = Maker()
    one, two = {"small": ((2, 5, 24), (2, 24, 9)), "middle": ((12, 128, 32), (12, 32, 128)),
                "large": ((3000, 64), (64, 3000))}[size]  # fmt: skip
    yield Call("matmul", dq.quantized_matmul, {"a": a.normal(*one), "b": a.normal(*two)})
    bytes_ = dq.quantize(a.normal(*{"small": (5, 24), "middle": (128, 131), "large": (1000, 3000)}[size])).data
    other = np.ascontiguousarray(bytes_.T).view(np.int8) if size != "large" else bytes_.T[:, :1000]
    yield Call("matmul_integer", dq.matmul_integer, {"a": bytes_, "b": other}, ())


def edges() -> Iterator[Call]:
    for m, k, n in product((1, 2, 13, 14, 15, 30), (1, 15, 64, 67), (1, 15, 16, 17, 33)):
        yield Call("matmul", dq.quantized_matmul, {"a": values(6, m, k), "b": values(7, k, n)})
        a, b = below(8, 256, m, k).astype(np.uint8), below(9, 256, k, n).astype(np.uint8)
        for right in (b, b.view(np.int8)):
            exact = a.astype(np.int32) @ right.astype(np.int32)
            assert np.array_equal(dq.matmul_integer(a, right), exact)
            yield Call("matmul_integer", dq.matmul_integer, {"a": a, "b": right}, ())


def warm() -> Iterator[Callable[[], object]]:
    a = Maker(0)
    for left, right in product((np.int8, np.uint8), repeat=2):
        yield partial(dq.matmul_integer, np.ones((3, 4), left), np.ones((4, 5), right), 1, 2)
    yield partial(dq.quantized_matmul, a.normal(3, 4, 50), a.normal(50, 20))
    yield partial(dq.quantized_matmul, a.normal(200, 300), a.normal(300, 200), threads=2)


def golden() -> Arrays:
    yield dq.quantized_matmul(values(19, 3, 2, 17, 70), values(20, 3, 2, 70, 33))
    yield dq.quantized_matmul(values(21, 1, 64), values(22, 64, 50), threads=2)
    a, b = below(23, 256, 19, 131).astype(np.uint8), below(24, 256, 131, 40).astype(np.uint8)
    yield dq.matmul_integer(a, b.view(np.int8), 3, 0)
    yield dq.matmul_integer(a.view(np.int8), b, below(25, 9, 19).astype(np.int8), below(26, 9, 40).astype(np.uint8))


def drawn(draw: Draw) -> tuple[np.ndarray, ...]:
    m, k, n = draw.length(), draw.length(), draw.length()
    return draw.floats(m, k), np.ascontiguousarray(draw.floats(n, k).T)


def extreme(a: np.ndarray, b: np.ndarray) -> list:
    out = np.full((len(a), b.shape[1]), 7, np.float32)
    turned = np.ascontiguousarray(b.T).T  # columns contiguous
    return [dq.quantized_matmul(a, b), dq.quantized_matmul(a, b, out=out, threads=2), dq.quantized_matmul(a, turned)]


def extreme_integers(a: np.ndarray, b: np.ndarray) -> list:
    q, r = dq.quantize(a), dq.quantize(b)
    return [dq.matmul_integer(q.data, r.data, q.zero_point.reshape(-1), 3)]


ROW = Row(
    calls, edges, warm, {"matmul": golden}, imports="base isa threads quantize gemm linear", bench=("matmul",),
    extremes={"matmul": Extreme(drawn, extreme), "matmul_integer": Extreme(drawn, extreme_integers)},
)  # fmt: skip
