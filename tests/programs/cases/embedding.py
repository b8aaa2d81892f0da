"""Cases of embedding and embedding_bag."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from itertools import product

import numpy as np

import dynq_numba as dq

from .base import Arrays, Call, Draw, Extreme, Maker, Row, Size, below, values


def every_row(table: np.ndarray) -> np.ndarray:
    packed = dq.pack_embedding(table)
    return dq.embedding(np.arange(packed.shape[0]), packed)


def calls(size: Size) -> Iterator[Call]:
    a = Maker()
    rows, columns, count = {"small": (30, 24, 4), "middle": (70, 131, 3000), "large": (10, 2000, 5000)}[size]
    packed, ids = dq.pack_embedding(a.normal(rows, columns)), a.ids(rows, count)
    if size == "small":
        ids = np.array([3, 29, 0, 3])
    offsets = {"small": np.array([0, 1]), "middle": np.arange(0, 3000, 40), "large": np.arange(5000)}[size]
    few = {"share": 5000} if size == "small" else {}

    def bag(ids: np.ndarray, offsets: np.ndarray, weights: np.ndarray | None = None, **options: object) -> np.ndarray:
        return dq.embedding_bag(ids, offsets, packed, weights=weights, **options)

    yield Call("embedding", lambda ids, **o: dq.embedding(ids, packed, **o), {"ids": ids}, **few)
    yield Call("embedding_bag", bag, {"ids": ids, "offsets": offsets, "weights": a.normal(count)}, **few)
    if size != "large":
        yield Call("embedding_bag, plain", bag, {"ids": ids, "offsets": offsets})
    yield Call("embedding_bag, rows", lambda ids, **o: dq.embedding_bag(ids, None, packed, "max", **o),
               {"ids": ids.reshape(-1, 2)})  # fmt: skip
    table = a.normal(3000, 3000) if size == "large" else a.normal(9, 24)
    yield Call("pack_embedding", every_row, {"table": table}, (), 100)


def edges() -> Iterator[Call]:
    for bits, columns in product((8, 4), (1, 15, 16, 17, 33, 70)):
        packed = dq.pack_embedding(values(17, 20, columns), bits=bits)
        ids, offsets = below(18, 20, 50), np.array([0, 3, 3, 20])
        yield Call("embedding", lambda ids, p=packed, **o: dq.embedding(ids, p, **o), {"ids": ids})
        for mode in ("sum", "mean", "max"):
            yield Call("embedding_bag", lambda ids, offsets, p=packed, m=mode, **o: dq.embedding_bag(
                ids, offsets, p, m, **o), {"ids": ids, "offsets": offsets})  # fmt: skip


def warm() -> Iterator[Callable[[], object]]:
    a = Maker(0)
    ids, offsets = np.arange(12).reshape(3, 4), np.array([0, 5])
    for bits in (8, 4):
        table = dq.pack_embedding(a.normal(20, 64), bits=bits)
        for dtype in (np.int32, np.int64):
            yield partial(dq.embedding, ids.astype(dtype), table)
            for mode in ("sum", "mean", "max"):
                yield partial(dq.embedding_bag, ids.astype(dtype), None, table, mode)
                yield partial(dq.embedding_bag, ids.reshape(-1), offsets, table, mode)
        yield partial(dq.embedding_bag, ids.reshape(-1), offsets, table, weights=np.ones(12, np.float32))


def golden() -> Arrays:
    for bits in (8, 4):
        packed = dq.pack_embedding(values(33, 90, 37), bits=bits)
        ids, offsets = below(34, 90, 200), np.array([0, 0, 3, 50, 51, 120])
        yield dq.embedding(ids, packed)
        for mode in ("sum", "mean", "max"):
            yield dq.embedding_bag(ids, offsets, packed, mode)
        yield dq.embedding_bag(ids.astype(np.int32), offsets, packed, weights=values(35, 200))


def drawn(draw: Draw) -> tuple[np.ndarray, ...]:
    rows, columns, count, bags = draw.one_of(1, 3, 20), draw.length(), draw.length(), draw.short()
    rng = draw.rng()
    offsets = np.sort(rng.integers(0, count + 1, bags))
    offsets[:1] = 0
    ids = rng.integers(0, rows, count if bags else 0)
    return draw.floats(rows, columns) / np.float32(2), ids, offsets, draw.floats(ids.size)


def extreme(table: np.ndarray, ids: np.ndarray, offsets: np.ndarray, weights: np.ndarray) -> list:
    results = []
    for bits in (8, 4):
        packed = dq.pack_embedding(table, bits=bits)
        results += [packed.dequantize(), dq.embedding(ids, packed)]
        results += [dq.embedding_bag(ids, offsets, packed, mode) for mode in ("sum", "mean", "max")]
        results.append(dq.embedding_bag(ids, offsets, packed, weights=weights))
    return results


ROW = Row(calls, edges, warm, {"embedding": golden}, extremes={"embedding": Extreme(drawn, extreme)},
    imports="base isa threads quantize", bench=("embedding",))
