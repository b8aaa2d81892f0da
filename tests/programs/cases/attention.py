"""Cases of attention, in float32 and in integers."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from itertools import product

import numpy as np

import dynq_numba as dq

from .base import Arrays, Call, Draw, Extreme, Maker, Row, Size, below, values


def masked(q: np.ndarray, k: np.ndarray, v: np.ndarray, mask: np.ndarray, **options: object) -> np.ndarray:
    return dq.attention(q, k, v, mask=mask, **options)


def integers(q: np.ndarray, k: np.ndarray, v: np.ndarray, **options: object) -> np.ndarray:
    return dq.attention(q, k, v, bits=8, **options)


def calls(size: Size) -> Iterator[Call]:
    a = Maker()
    if size == "large":
        heads = a.normal(1, 4, 3000, 256)
        few = heads[:, :, :64]
        yield Call("attention", dq.attention, {"q": heads, "k": few, "v": few})
        yield Call("attention, 8 bits", integers, {"q": heads, "k": few, "v": few})
        yield Call("attention, 8 bits, many keys", integers, {"q": heads[:, :, :40], "k": heads, "v": heads})
        return
    batch, heads, keys_of, rows, keys, dim, wide = {
        "small": (1, 4, 2, 5, 7, 8, 6), "middle": (1, 4, 2, 300, 300, 64, 64),
    }[size]  # fmt: skip
    arrays = {"q": a.normal(batch, heads, rows, dim), "k": a.normal(batch, keys_of, keys, dim),
              "v": a.normal(batch, keys_of, keys, wide)}  # fmt: skip
    yield Call("attention", masked, {**arrays, "mask": a.normal(1, 1, rows, keys)})
    yield Call("attention, no mask", dq.attention, arrays, share=1000 if size == "middle" else None)
    yield Call("attention, 8 bits", integers, arrays)
    if size == "small":
        arrays = {"q": a.normal(2, 2, 5, 8), "k": a.normal(2, 2, 7, 8), "key_lengths": np.array([3, 7])}
        yield Call("attention, lengths", lambda q, k, key_lengths: dq.attention(q, k, k, key_lengths=key_lengths),
                   arrays, ())  # fmt: skip


def edges() -> Iterator[Call]:
    for rows, keys, dim in product((1, 2, 15, 17, 33), (1, 15, 63, 64, 65, 130), (1, 8, 17, 32)):
        k, v = values(14, 1, 1, keys, dim), values(15, 1, 1, keys, dim + 3)
        arrays = {"q": values(13, 1, 2, rows, dim), "k": k, "v": v}
        yield Call("attention", dq.attention, arrays)
        yield Call("attention, 8 bits", integers, arrays)
        yield Call("attention, mask", masked, {**arrays, "mask": values(16, 1, 1, rows, keys)})


def warm() -> Iterator[Callable[[], object]]:
    a = Maker(0)
    q = a.normal(2, 4, 30, 64)
    cache = dq.KVCache(2, 4, 40, 64)
    cache.append(q, q)
    yield partial(dq.attention, q, cache.keys, cache.values)
    for options in ({}, {"causal": True}, {"mask": np.ones((30, 30), bool)}, {"mask": a.normal(30, 30)},
                    {"key_lengths": np.array([3, 30])}):  # fmt: skip
        for bits in (None, 8):
            yield partial(dq.attention, q, q, q, bits=bits, **options)
            rest = {name: value for name, value in options.items() if name != "mask"}
            yield partial(dq.attention, q[:, :, :1], q, q, bits=bits, **rest)


def golden() -> Arrays:
    q, k, v = values(43, 2, 4, 20, 24) * np.float32(4), values(44, 2, 2, 150, 24), values(45, 2, 2, 150, 40)
    mask = values(46, 2, 1, 20, 150)
    mask[below(47, 3, 2, 1, 20, 150) == 0] = -np.inf
    yield from (dq.attention(q, k, v), dq.attention(q, k, v, causal=True, threads=2), dq.attention(q, k, v, mask=mask))
    yield from (dq.attention(q, k, v, key_lengths=np.array([130, 7])), dq.attention(q[:, :, :1], k, v))


def golden_int8() -> Arrays:
    q, k, v = values(64, 2, 4, 70, 24) * np.float32(4), values(65, 2, 2, 150, 24), values(66, 2, 2, 150, 40)
    mask = values(67, 2, 1, 70, 150)
    mask[below(68, 3, 2, 1, 70, 150) == 0] = -np.inf
    for options in ({}, {"causal": True, "threads": 2}, {"mask": mask}, {"key_lengths": np.array([130, 7])}):
        yield dq.attention(q, k, v, bits=8, **options)
    yield dq.attention(q[:, :, :1], k, v, bits=8)


def drawn(draw: Draw) -> tuple[np.ndarray, ...]:
    batch, s, t, dim, wide = draw.one_of(0, 1, 2), draw.short(), draw.length(), draw.length(), draw.short()
    return draw.floats(batch, 4, s, dim), draw.floats(batch, 2, t, dim), draw.floats(batch, 2, t, wide)


def extreme(q: np.ndarray, k: np.ndarray, v: np.ndarray) -> list:
    runs = [dq.attention(q, k, v, causal=causal, bits=bits) for causal in (False, True) for bits in (None, 8)]
    return [*runs, dq.attention(q, k, v, scale=1.0, threads=2), dq.attention(q[:, :, :1], k, v)]


ROW = Row(
    calls, edges, warm, {"attention": golden, "attention int8": golden_int8},
    extremes={"attention": Extreme(drawn, extreme)},
    imports="base isa threads activations quantize", bench=("attention",),
)  # fmt: skip
