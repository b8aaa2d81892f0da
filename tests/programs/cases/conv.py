"""Cases of conv."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from itertools import product

import numpy as np

import dynq_numba as dq

from .base import F32, Arrays, Call, Draw, Extreme, Maker, Row, Size, values


def on(w: dq.PackedConv, x: np.ndarray, share: int | None = None) -> Call:
    return Call("conv", lambda x, **options: dq.conv(x, w, **options), {"x": x}, share=share)


def calls(size: Size) -> Iterator[Call]:
    a = Maker()
    outputs, channels, high, wide = {"small": (6, 4, 6, 7), "middle": (16, 8, 40, 40), "large": (64, 8, 300, 300)}[size]
    w = dq.pack_conv(a.normal(outputs, channels, 3, 3), padding=1)
    yield on(w, a.normal(2, channels, high, wide), 2500 if size == "small" else 500)
    if size == "large":
        image, filters = a.normal(1, 1, 5, 5).repeat(200, 1), a.normal(500, 200, 5, 5)
        yield Call("pack_conv", lambda weight: dq.conv(image, dq.pack_conv(weight)), {"weight": filters}, ())
        return
    yield Call("pack_conv", lambda weight, bias: dq.conv(np.ones((4, 6, 6), F32), dq.pack_conv(weight, bias)),
               {"weight": a.normal(5, 4, 3, 3), "bias": a.normal(5)}, (), 100)  # fmt: skip


def edges() -> Iterator[Call]:
    for channels, outputs, size in product((1, 3, 8), (1, 13, 17), ((5, 5), (7, 18), (3, 33))):
        w = dq.pack_conv(values(10, outputs, channels, 3, 3), values(11, outputs), padding=1)
        yield on(w, values(12, 2, channels, *size))


def warm() -> Iterator[Callable[[], object]]:
    a = Maker(0)
    for w, x in ((dq.pack_conv(a.normal(8, 4, 3, 3), a.normal(8), padding=1), a.normal(2, 4, 9, 9)),
                 (dq.pack_conv(a.normal(8, 1, 3), groups=8, stride=2), a.normal(2, 8, 30))):  # fmt: skip
        for activation in (None, "relu", "silu"):
            yield partial(dq.conv, x, w, activation=activation)


def golden() -> Arrays:
    w = dq.pack_conv(values(27, 24, 8, 3, 3), values(28, 24), stride=2, padding=1, dilation=(1, 2))
    yield dq.conv(values(29, 2, 8, 21, 30), w, activation="silu", threads=2)
    w = dq.pack_conv(values(30, 16, 1, 5), values(31, 16), padding=((2, 1),), groups=16)
    yield dq.conv(values(32, 3, 16, 50), w)


def drawn(draw: Draw) -> tuple[np.ndarray, ...]:
    n, c, o, high, wide = draw.short(), draw.one_of(1, 3, 5), draw.length(), draw.short(), draw.length()
    return draw.floats(n, c, high + 1, wide + 1), draw.floats(max(1, o), c, 3, 3)


def extreme(x: np.ndarray, weight: np.ndarray) -> list:
    return [dq.conv(x, dq.pack_conv(weight, padding=1, stride=stride), threads=stride) for stride in (1, 2)]


ROW = Row(calls, edges, warm, {"conv": golden}, extremes={"conv": Extreme(drawn, extreme)},
    imports="base isa threads quantize gemm linear", bench=("conv",))
