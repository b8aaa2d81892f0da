"""Cases of float32 convolutions, which have no public function: calls of their backend."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from itertools import product
from typing import Any

import numpy as np

from dynq_numba.arguments.geometry import Geometry
from dynq_numba.kernels.sconv.context import WINOGRAD_2, WINOGRAD_4
from dynq_numba.operators.sconv import backend
from dynq_numba.operators.sconv.pack import FloatConvWeight
from dynq_numba.runtime import isa

from .base import Arrays, Call, Draw, Extreme, Maker, Row, Size, values

ONE, NONE = (1, 1), ((0, 0), (0, 0))
AROUND = ((1, 1), (1, 1))
WAYS = {WINOGRAD_2: "Winograd 2×2", WINOGRAD_4: "Winograd 4×4"}


def convolved(
    x: np.ndarray, weight: np.ndarray, bias: np.ndarray | None = None, residual: np.ndarray | None = None, *,
    stride: tuple[int, int] = ONE, padding: tuple = NONE, dilation: tuple[int, int] = ONE, groups: int = 1,
    way: int | None = None, **options: Any,
) -> np.ndarray:  # fmt: skip
    w = FloatConvWeight(weight, bias, Geometry(stride, padding, dilation, groups), isa.active(), way)
    return backend.convolve(x, w, residual=residual, **options)


def calls(size: Size) -> Iterator[Call]:
    """None are small: those are given every odd argument, of which a backend is not told."""
    if size == "small":
        return
    a = Maker()
    outputs, channels, high, wide = (16, 8, 40, 40) if size == "middle" else (64, 8, 300, 300)
    around = partial(convolved, padding=AROUND)
    yield Call("sconv", around, {"x": a.normal(1, channels, high, wide), "weight": a.normal(outputs, channels, 3, 3)})
    for way, name in WAYS.items():
        yield Call(f"sconv, {name}", partial(around, way=way),
                   {"x": a.normal(1, channels, high, wide), "weight": a.normal(outputs, channels, 3, 3)})  # fmt: skip
    yield Call("sconv, depthwise", partial(around, groups=channels),
               {"x": a.normal(1, channels, high, wide), "weight": a.normal(channels, 1, 3, 3)})  # fmt: skip


def edges() -> Iterator[Call]:
    for channels, outputs, size in product((1, 3, 8), (1, 13, 17), ((5, 5), (7, 18), (3, 33))):
        weight, bias, x = values(50, outputs, channels, 3, 3), values(51, outputs), values(52, 2, channels, *size)
        for step in (1, 2):
            yield Call("sconv", partial(convolved, padding=AROUND, stride=(1, step)),
                       {"x": x, "weight": weight, "bias": bias})  # fmt: skip
        for way, name in WAYS.items():
            yield Call(f"sconv, {name}", partial(convolved, padding=AROUND, way=way),
                       {"x": x, "weight": weight, "bias": bias})  # fmt: skip
        yield Call("sconv, 1×1", convolved, {"x": x, "weight": np.ascontiguousarray(weight[:, :, :1, :1])})
    for taps, step, size in product((3, 4, 5), (1, 2, 3), ((5, 5), (7, 18), (9, 33))):
        yield Call("sconv, depthwise", partial(convolved, padding=AROUND, stride=(1, step), groups=3),
                   {"x": values(53, 2, 3, *size), "weight": values(54, 3, 1, taps, taps)})  # fmt: skip


def warm() -> Iterator[Callable[[], object]]:
    a = Maker(0)
    for groups, activation in product((1, 8), (None, "relu", "silu")):
        weight = a.normal(8, 8 // groups, 3, 3)
        yield partial(convolved, a.normal(2, 8, 9, 9), weight, a.normal(8), groups=groups, activation=activation)
    for way in WAYS:
        yield partial(convolved, a.normal(2, 8, 9, 9), a.normal(8, 8, 3, 3), way=way)


def golden() -> Arrays:
    x, w = values(55, 2, 8, 21, 30), values(56, 24, 8, 3, 3)
    yield convolved(x, w, values(57, 24), stride=(2, 2), padding=AROUND, dilation=(1, 2), activation="silu", threads=2)
    yield convolved(values(58, 1, 60, 9, 7), values(59, 33, 60, 3, 3), padding=AROUND, threads=2)
    for step, taps in product((1, 2), (3, 4, 5)):
        w = values(60, 16, 1, taps, taps)
        x, stride = values(61, 1, 16, 21, 37), (step, 3 - step)
        yield convolved(x, w, values(62, 16), stride=stride, padding=AROUND, groups=16)


def golden_winograd(way: int) -> Arrays:
    for size, around, activation in (((21, 30), AROUND, "silu"), ((8, 75), NONE, None)):
        x, w = values(63, 2, 20, *size), values(64, 33, 20, 3, 3)
        yield convolved(x, w, values(65, 33), padding=around, activation=activation, threads=2, way=way)


def drawn(draw: Draw) -> tuple[np.ndarray, ...]:
    n, c, o, high, wide = draw.short(), draw.one_of(1, 3, 5), draw.length(), draw.short(), draw.length()
    x = draw.floats(n, c, high + 1, wide + 1)
    return x, draw.floats(max(1, o), c, 3, 3), draw.floats(c, 1, 3, 3)


def extreme(x: np.ndarray, weight: np.ndarray, each: np.ndarray) -> list:
    return [
        convolved(x, w, padding=AROUND, stride=(1, stride), groups=1 if w is weight else len(w),
                  threads=stride)
        for w in (weight, each) for stride in (1, 2)
    ] + [convolved(x, weight, padding=AROUND, threads=2, way=way) for way in WAYS]  # fmt: skip


ROW = Row(
    calls, edges, warm,
    {"sconv": golden, "winograd": partial(golden_winograd, WINOGRAD_2),
     "winograd 4×4": partial(golden_winograd, WINOGRAD_4)},
    imports="base isa threads gemm conv",
    bench=("sconv",), extremes={"sconv": Extreme(drawn, extreme)},
)  # fmt: skip
