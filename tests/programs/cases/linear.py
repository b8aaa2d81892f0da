"""Cases of linear and linear_many, of packing, and of the choice of a scheme."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from functools import partial
from itertools import product

import numpy as np

import dynq_numba as dq

from .base import F32, Arrays, Call, Draw, Extreme, Maker, Row, Size, special, values

ROWS = [(1, 64, 48), (2, 131, 70), (15, 67, 131), (40, 256, 33), (70, 1, 17), (3, 1000, 16)]
GROUPED = {"bits": 4, "granularity": "per_group", "group_size": 32}
SCHEMES: dict[str, dict] = {
    "int8 per channel": {},
    "int8 per tensor": {"granularity": "per_tensor", "x_granularity": "per_tensor"},
    "int8 groups of 32": {"granularity": "per_group", "group_size": 32},
    "int8 groups of 128": {"granularity": "per_group", "group_size": 128},
    "int4 per channel": {"bits": 4},
    "int4 groups of 32": GROUPED,
    "int4 groups of 64, zero points": {"bits": 4, "granularity": "per_group", "group_size": 64, "symmetric": False},
    "int4 groups of 32, rotated": {**GROUPED, "rotate": 32},
    "int8 per channel, outliers": {"granularity": "per_channel", "outliers": (40, 0, 15)},
    "int4 groups of 32, outliers": {**GROUPED, "outliers": (40, 0, 15)},
    "int8 per channel, x of 16 bits": {"granularity": "per_channel", "x_bits": 16},
    "int8 per tensor, x of 16 bits": {"granularity": "per_tensor", "x_granularity": "per_tensor", "x_bits": 16},
}


def on(name: str, w: dq.PackedLinear, x: np.ndarray, share: int | None = None, /, **fixed: object) -> Call:
    return Call(name, lambda x, **options: dq.linear(x, w, **fixed, **options), {"x": x}, share=share)


def calls(size: Size) -> Iterator[Call]:
    a = Maker()
    if size == "large":
        yield from _large(a)
        return
    m, k, n = {"small": (5, 24, 20), "middle": (128, 768, 768)}[size]
    x, weight = a.normal(m, k), a.normal(n, k)
    w = dq.pack_linear(weight, a.normal(n))
    four = dq.pack_linear(weight, **(GROUPED if size == "middle" else {"bits": 4}))
    yield on("linear", w, x, 600_000 if size == "small" else 3000)
    yield on("linear, gelu", w, x, 100_000 if size == "small" else 2000, activation="gelu")
    yield Call("linear, residual", lambda x, residual, **o: dq.linear(x, w, residual=residual, **o),
               {"x": x, "residual": a.normal(m, n)}, share=20_000 if size == "small" else None)  # fmt: skip
    yield on("linear, 4 bits", four, a.normal(3, 2, k) if size == "small" else x, activation="silu")
    yield on("linear, one row", w, x[:1].copy())
    yield on("linear, x of 16 bits", dq.pack_linear(weight, x_bits=16), x, 20_000 if size == "small" else None)
    yield Call("linear_many", lambda x, **o: tuple(dq.linear_many(x, [w, four, w], **o)), {"x": x}, ("threads",),
               5000 if size == "small" else None)  # fmt: skip
    yield Call("pack_linear", lambda weight, bias: dq.pack_linear(weight, bias).dequantize(),
               {"weight": weight, "bias": a.normal(n)}, (), 100 if size == "small" else 10)  # fmt: skip
    yield Call("smooth", lambda weight, activation_amax: dq.smooth(weight, activation_amax).weight,
               {"weight": a.normal(8, 24), "activation_amax": np.abs(a.normal(24)) + F32(0.1)}, (), 100)  # fmt: skip


def _large(a: Maker) -> Iterator[Call]:
    n = 3000
    x, big, rows = a.normal(n, 64), a.normal(n, n), a.normal(100, 20_000)
    w, deep = dq.pack_linear(a.normal(n, 64)), dq.pack_linear(a.normal(8, 20_000), rotate=32)
    out = np.empty((100, 8), F32)
    yield on("linear", w, x)
    yield on("linear, x of 16 bits", dq.pack_linear(a.normal(n, 64), x_bits=16), x)
    yield on("linear, strided", w, np.broadcast_to(x[:1], x.shape), activation="gelu")
    yield Call("linear, rotated, into out", lambda x: dq.linear(x, deep, out=out), {"x": rows}, ())
    yield Call("linear_many", lambda x, **o: dq.linear_many(x, [w, w], **o), {"x": x}, ("threads",))
    yield Call("linear_many, rotated", lambda x, **o: dq.linear_many(x, [deep, deep], **o), {"x": rows},
               ("threads",))  # fmt: skip
    for name, options in (("pack_linear", {}), ("pack_linear, 4 bits", GROUPED),
                          ("pack_linear, outliers", {"outliers": range(100)})):  # fmt: skip
        yield Call(name, lambda weight, options=options: dq.linear(weight[:1], dq.pack_linear(weight, **options)),
                   {"weight": big}, ())  # fmt: skip
    yield Call("choose_scheme", lambda weight: F32([each.error for each in dq.choose_scheme(weight).candidates]),
               {"weight": big}, ())  # fmt: skip


def edges() -> Iterator[Call]:
    for scheme, options in SCHEMES.items():
        ks = (32, 96) if "rotate" in options else (41, 64, 70) if "outliers" in options else (1, 15, 64, 70)
        for k, n in product(ks, (1, 15, 16, 33, 65)):
            w = dq.pack_linear(values(1, n, k), values(2, n), **options)
            heights = (*range(1, 16), 28, 29, 30, 57) if scheme == "int8 per channel" else (1, 2, 5, 13, 14, 15, 29)
            for m in heights:
                yield on("linear", w, values(3, m, k))
            yield Call("linear", lambda x, r, w=w, **o: dq.linear(x, w, activation="gelu", residual=r, **o),
                       {"x": values(3, 5, k), "r": values(4, 5, n)})  # fmt: skip


def warm() -> Iterator[Callable[[], object]]:
    a = Maker(0)
    x, weight, residual = a.normal(40, 300), a.normal(70, 300), a.normal(40, 70)
    schemes: list[dict] = [
        {}, {"granularity": "per_tensor"}, {"x_granularity": "per_tensor"}, {"symmetric": False}, {"rotate": 64},
        {"outliers": [3, 5]}, {"granularity": "per_group", "group_size": 32}, GROUPED, {**GROUPED, "symmetric": False},
        {"x_bits": 16},
    ]  # fmt: skip
    packed = []
    for options in schemes:
        try:
            packed.append(dq.pack_linear(weight, a.normal(70), **options))
        except ValueError:
            continue  # schemes that exclude each other
        w = packed[-1]
        yield lambda w=w: (w.qweight, w.scale, w.zero_point, w.nbytes, w.dequantize(), w == w, repr(w))
    assert len(packed) >= 7
    for w, threads, name in itertools.product(packed, (None, 1, 2), (None, "relu", "gelu", "silu", "sigmoid")):
        out = np.empty((1, 70), F32)
        yield partial(dq.linear, x, w, activation=name, threads=threads)
        yield partial(dq.linear, x[:1], w, activation=name, residual=residual[:1], out=out)
        yield partial(dq.linear_many, x, [w, w], activation=name, threads=threads)
    yield partial(dq.linear, a.normal(1, 70_000), dq.pack_linear(a.normal(2, 70_000)))
    yield partial(dq.smooth, weight, np.abs(x).max(0))


def golden_of(scheme: str) -> Callable[[], Arrays]:
    def run() -> Arrays:
        for m, k, n in ROWS:
            if k % SCHEMES[scheme].get("rotate", 1) or k <= max(SCHEMES[scheme].get("outliers", (0,))):
                continue
            x, weight, bias = values(1, m, k), values(2, n, k), values(3, n)
            w = dq.pack_linear(weight, bias, **SCHEMES[scheme])
            yield from (w.qweight, w.scale, w.dequantize(), dq.linear(x, w))
            yield dq.linear(x, w, activation="gelu", residual=values(4, m, n), threads=2)

    return run


def golden_special() -> Arrays:
    x = special(5, 30, 70)
    yield dq.linear(x, dq.pack_linear(values(6, 40, 70)))
    x[np.isnan(x)] = 1
    yield dq.linear(np.minimum(np.maximum(x, -3e38), 3e38), dq.pack_linear(values(6, 40, 70)))
    yield dq.linear(values(5, 2, 70_001), dq.pack_linear(values(6, 20, 70_001)))


def golden_many() -> Arrays:
    ws = [dq.pack_linear(values(seed, n, 90), values(seed + 1, n)) for seed, n in ((7, 40), (9, 130), (11, 1))]
    for m in (1, 9, 60):
        yield from dq.linear_many(values(13, m, 90), ws, threads=2)


EXTREME_SCHEMES: dict[str, dict] = {
    "per tensor": {"granularity": "per_tensor", "x_granularity": "per_tensor"},
    "per channel": {"granularity": "per_channel"},
    "per channel, x of 16 bits": {"x_bits": 16},
    "groups of 32": {"granularity": "per_group", "group_size": 32},
    "4 bits": {"bits": 4, "granularity": "per_channel"},
    "4 bits, groups of 32": GROUPED,
    "4 bits, zero points": {**GROUPED, "symmetric": False},
}


def drawn(draw: Draw) -> tuple[np.ndarray, ...]:
    m, k, n = draw.length(), draw.length(), draw.length()
    return draw.floats(m, k), draw.floats(n, k), draw.floats(n)


def extreme_of(scheme: str) -> Callable:
    def run(x: np.ndarray, weight: np.ndarray, bias: np.ndarray) -> list:
        w = dq.pack_linear(weight, bias, **EXTREME_SCHEMES[scheme])
        return [w.qweight, w.scale, dq.linear(x, w), dq.linear(x, w, activation="relu", threads=2)]

    return run


def extreme_outliers(x: np.ndarray, weight: np.ndarray, bias: np.ndarray) -> list:
    return [dq.linear(x, dq.pack_linear(weight, bias, outliers=range(min(3, x.shape[1]))))]


def extreme_many(x: np.ndarray, weight: np.ndarray, bias: np.ndarray) -> list:
    w = dq.pack_linear(weight, bias)
    return dq.linear_many(x, [w, w], threads=2)


ROW = Row(
    calls, edges, warm,
    golden={
        **{f"linear, {scheme}": golden_of(scheme) for scheme in SCHEMES},
        "linear of special values": golden_special,
        "linear many": golden_many,
    },
    extremes={
        **{f"linear, {scheme}": Extreme(drawn, extreme_of(scheme)) for scheme in EXTREME_SCHEMES},
        "linear, outliers": Extreme(drawn, extreme_outliers), "linear_many": Extreme(drawn, extreme_many),
    },
    imports="base isa objects threads activations quantize gemm region",
    bench=("linear", "projections"),
)  # fmt: skip
