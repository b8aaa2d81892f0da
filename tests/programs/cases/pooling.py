"""Cases of pooling, which has no public function: calls of its backend."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from itertools import product

import numpy as np

from dynq_numba.operators.pooling.backend import global_pool, pool

from .base import Arrays, Call, Draw, Extreme, Maker, Row, Size, special, values

AROUND = ((1, 1), (1, 1))


def calls(size: Size) -> Iterator[Call]:
    """None are small: those are given every odd argument, of which a backend is not told."""
    if size == "small":
        return
    a = Maker()
    x = a.normal(1, 16, *((60, 60) if size == "middle" else (600, 600)))
    many = x if size == "middle" else a.normal(4, 250_000, 2, 2)  # results that need memory
    for average in (False, True):
        yield Call(f"pool, {average}", partial(pool, taps=(3, 3), stride=(2, 2), padding=AROUND, average=average),
                   {"x": x})  # fmt: skip
        yield Call(f"global_pool, {average}", partial(global_pool, average=average), {"x": many})


def edges() -> Iterator[Call]:
    for size, average in product(((5, 5), (7, 18), (3, 33), (1, 131)), (False, True)):
        x = values(70, 2, 3, *size)
        for step in (1, 2, 3):
            yield Call("pool", partial(pool, taps=(3, 2), stride=(step, step), padding=AROUND, average=average),
                       {"x": x})  # fmt: skip
        yield Call("global_pool", partial(global_pool, average=average), {"x": x})


def warm() -> Iterator[Callable[[], object]]:
    x = Maker(0).normal(2, 8, 9, 9)
    for average in (False, True):
        yield partial(pool, x, (3, 3), average=average)
        yield partial(global_pool, x, average=average)


def golden() -> Arrays:
    for x, average in product((values(71, 2, 3, 21, 40), special(72, 1, 2, 9, 33)), (False, True)):
        for step in (1, 2, 3):
            yield pool(x, (3, 2), stride=(step, step), padding=AROUND, average=average, ceil_mode=True, threads=2)
        yield pool(x, (2, 5), dilation=(3, 2), average=average, padding=((1, 0), (2, 1)), count_padding=True)
        yield global_pool(x, average=average)


def drawn(draw: Draw) -> tuple[np.ndarray, ...]:
    return (draw.floats(draw.short(), 2, draw.short() + 2, draw.length() + 2),)


def extreme(x: np.ndarray) -> list:
    kinds = product((False, True), (1, 2))
    found = [pool(x, (2, 2), stride=(1, step), padding=AROUND, average=a, threads=step) for a, step in kinds]
    return found + [global_pool(x, average=average) for average in (False, True)]


ROW = Row(
    calls, edges, warm, {"pooling": golden}, imports="base isa threads activations rowwise conv", bench=("pooling",),
    extremes={"pooling": Extreme(drawn, extreme)},
)  # fmt: skip
