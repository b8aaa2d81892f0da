"""Cases of double."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial

import numpy as np

import dynq_numba as dq

from .base import Arrays, Call, Draw, Extreme, Maker, Row, Size, special, values


def calls(size: Size) -> Iterator[Call]:
    shape = {"small": (5, 24), "middle": (500, 768), "large": (3000, 3000)}[size]
    yield Call("double", dq.double, {"x": Maker().normal(*shape)})


def edges() -> Iterator[Call]:
    for count in (1, 15, 16, 17, 64, 65):
        yield Call("double", dq.double, {"x": values(80, count)})


def warm() -> Iterator[Callable[[], object]]:
    yield partial(dq.double, Maker(0).normal(30, 64))


def golden() -> Arrays:
    yield from (dq.double(values(81, 7, 131)), dq.double(special(82, 40, 33)))


def drawn(draw: Draw) -> tuple[np.ndarray, ...]:
    return (draw.floats(draw.length(), draw.length()),)


def extreme(x: np.ndarray) -> list[np.ndarray]:
    return [dq.double(x)]


ROW = Row(
    calls, edges, warm, {"double": golden}, imports="base threads", bench=("dummy",),
    extremes={"double": Extreme(drawn, extreme)},
)  # fmt: skip
