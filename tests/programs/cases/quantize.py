"""Cases of quantize and dequantize."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from itertools import product

import numpy as np

import dynq_numba as dq

from .base import Arrays, Call, Draw, Extreme, Maker, Row, Size, special, values


def data_of(granularity: str) -> Callable[..., np.ndarray]:
    return lambda x, **options: dq.quantize(x, granularity=granularity, **options).data


def back(q: dq.Quantized) -> Call:
    return Call("dequantize", lambda data, **o: dq.dequantize(q._replace(data=data), **o), {"data": q.data}, ("out",))


def calls(size: Size) -> Iterator[Call]:
    a = Maker()
    x = a.normal(*{"small": (5, 24), "middle": (600, 768), "large": (3000, 3000)}[size])
    for granularity in ("per_token", "per_tensor"):
        name = "quantize" if granularity == "per_token" else "quantize, per tensor"
        yield Call(name, lambda x, granularity=granularity: dq.quantize(x, granularity=granularity)[:3], {"x": x}, (),
                   20_000 if size == "small" else None)  # fmt: skip
    yield back(dq.quantize(x))
    if size == "large":
        yield Call("quantize, few rows", data_of("per_token"), {"x": a.normal(3, 400_000)}, ("out",))


def edges() -> Iterator[Call]:
    for rows, columns in product((1, 3, 8), (1, 15, 16, 17, 63, 64, 65, 130)):
        x = values(5, rows, columns)
        for granularity in ("per_token", "per_tensor"):
            yield Call("quantize", data_of(granularity), {"x": x}, ("out",))
            yield back(dq.quantize(x, granularity=granularity))


def warm() -> Iterator[Callable[[], object]]:
    a = Maker(0)
    x = a.normal(20, 30)
    for form, dtype in product(({}, {"axis": 0}, {"granularity": "per_tensor"}), ("uint8", "int8")):
        yield lambda form=form, dtype=dtype: dq.dequantize(dq.quantize(x, dtype=dtype, **form))
        yield lambda form=form: dq.dequantize(dq.quantize(x, dtype="int8", symmetric=True, **form))
    yield partial(lambda x: dq.dequantize(dq.quantize(x)), a.normal(2, 300_000))


def golden() -> Arrays:
    for x in (values(17, 33, 70), special(18, 33, 70)):
        for dtype, symmetric in (("uint8", False), ("int8", True)):
            for granularity in ("per_token", "per_tensor"):
                q = dq.quantize(x, dtype=dtype, symmetric=symmetric, granularity=granularity)
                yield from (q.data, np.asarray(q.scale), np.asarray(q.zero_point), dq.dequantize(q))


def drawn(draw: Draw) -> tuple[np.ndarray, ...]:
    return (draw.floats(draw.length(), draw.length()),)


def extreme(x: np.ndarray) -> list:
    results = []
    for dtype, symmetric in (("uint8", False), ("int8", False), ("uint8", True), ("int8", True)):
        for granularity in ("per_token", "per_tensor"):
            q = dq.quantize(x, dtype=dtype, symmetric=symmetric, granularity=granularity)
            results += [q.data, np.asarray(q.scale), np.asarray(q.zero_point), dq.dequantize(q)]
    return results


ROW = Row(calls, edges, warm, {"quantize": golden}, extremes={"quantize": Extreme(drawn, extreme)},
    imports="base isa threads", bench=("conversion",))
