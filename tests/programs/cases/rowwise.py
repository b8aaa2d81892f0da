"""Cases of softmax, norms, elementwise functions and rotary embeddings."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from itertools import product

import numpy as np

import dynq_numba as dq

from .base import Arrays, Call, Draw, Extreme, Maker, Row, Size, below, special, values

ACTIVATIONS = ("relu", "gelu", "gelu_tanh", "silu", "tanh", "sigmoid")


def softmax(x, mask, **options):
    return dq.softmax(x, mask=mask, **options)


def layer_norm(x, weight, bias, residual, **options):
    return dq.layer_norm(x, weight, bias, residual=residual, **options)


def rms_norm(x, weight, residual, **options):
    return dq.rms_norm(x, weight, residual=residual, **options)


def calls(size: Size) -> Iterator[Call]:
    a = Maker()
    m, k = {"small": (5, 24), "middle": (500, 768), "large": (3000, 3000)}[size]
    x, other, weight = a.normal(m, k), a.normal(m, k), a.normal(k)
    often = 20_000 if size == "small" else None
    yield Call("softmax", softmax, {"x": x, "mask": other > 0})
    yield Call("layer_norm", layer_norm, {"x": x, "weight": weight, "bias": a.normal(k), "residual": other})
    yield Call("rms_norm", dq.rms_norm, {"x": x, "weight": weight})
    yield Call("gelu", dq.gelu, {"x": x})
    yield Call("silu", dq.silu, {"x": x})
    yield Call("swiglu", dq.swiglu, {"gate": x, "up": other})
    if size != "large":
        yield Call("softmax, no mask", dq.softmax, {"x": x}, share=often)
        yield Call("layer_norm, alone", dq.layer_norm, {"x": x}, share=often)
    heads, places, dim = {"small": ((1, 2, 4, 24), 9, 24), "middle": ((1, 4, 200, 64), 300, 64),
                          "large": ((1, 4, 3000, 256), 3000, 256)}[size]  # fmt: skip
    cos, sin = dq.rotary_tables(places, dim)
    at = np.array([3, 0, 8, 1]) if size == "small" else np.arange(heads[2])
    yield Call("rotary", lambda x, cos, sin, positions, **o: dq.rotary(x, cos, sin, positions, **o),
               {"x": a.normal(*heads), "cos": cos, "sin": sin, "positions": at})  # fmt: skip


def edges() -> Iterator[Call]:
    for rows, columns in product((1, 2, 5), (1, 15, 16, 17, 64, 65, 131)):
        x, other = values(19, rows, columns), values(20, rows, columns)
        weight, bias = values(21, columns), values(22, columns)
        for function in (dq.softmax, dq.gelu, dq.silu):
            yield Call(function.__name__, function, {"x": x})
        yield Call("swiglu", dq.swiglu, {"gate": x, "up": other})
        yield Call("layer_norm", layer_norm, {"x": x, "weight": weight, "bias": bias, "residual": other})
        yield Call("rms_norm", rms_norm, {"x": x, "weight": weight, "residual": other})
    for dim, interleaved in product((2, 4, 16, 30, 34, 64), (True, False)):
        cos, sin = dq.rotary_tables(9, dim)
        run = partial(dq.rotary, interleaved=interleaved)
        yield Call("rotary", run, {"x": values(23, 1, 3, 9, dim), "cos": cos, "sin": sin})


def warm() -> Iterator[Callable[[], object]]:
    a = Maker(0)
    x = a.normal(30, 64)
    for mask in (None, a.normal(30, 64), np.ones((1, 64), bool)):
        yield partial(dq.softmax, x, mask=mask)
    for norm, weight, residual in product((dq.layer_norm, dq.rms_norm), (None, a.normal(64)), (None, x)):
        yield partial(norm, x, weight, residual=residual)
    yield partial(dq.layer_norm, x, a.normal(64), a.normal(64))
    yield lambda: (dq.gelu(x), dq.silu(x), dq.swiglu(x), dq.swiglu(x, x))
    yield partial(dq.rotary, x[None, None], *dq.rotary_tables(30, 64))


def golden_activations() -> Arrays:
    x = np.concatenate([special(15, 20_000), values(16, 20_000) * np.float32(8)])
    eye = dq.pack_linear(np.ones((1, 1)))
    for name in ACTIVATIONS:
        yield dq.linear(values(16, 2000, 1) * np.float32(8), eye, activation=name)
    yield from (dq.gelu(x), dq.gelu(x, approximate="tanh"), dq.silu(x), dq.swiglu(x, x[::-1].copy()))


def golden_floats() -> Arrays:
    for x in (values(36, 7, 131) * np.float32(20), special(37, 40, 33)):
        weight, bias, other = values(38, x.shape[1]), values(39, x.shape[1]), values(40, *x.shape)
        mask = below(41, 2, *x.shape).astype(bool)
        yield from (dq.softmax(x), dq.softmax(x, mask=mask), dq.softmax(x, axis=0))
        yield from (dq.layer_norm(x, weight, bias, residual=other), dq.rms_norm(x, weight, residual=other))


def golden_rotary() -> Arrays:
    cos, sin = dq.rotary_tables(70, 32)
    yield from (cos, sin)
    for interleaved in (False, True):
        yield dq.rotary(values(42, 2, 3, 60, 32), cos, sin, offset=5, interleaved=interleaved)


def drawn(draw: Draw) -> tuple[np.ndarray, ...]:
    m, k = draw.length(), draw.length()
    return draw.floats(m, k), draw.floats(m, k)


def drawn_tables(draw: Draw) -> tuple[np.ndarray, ...]:
    m, half = draw.length(), draw.short()
    return draw.floats(m, 2 * half), draw.floats(m, half), draw.floats(m, half)


def extreme_softmax(x: np.ndarray, other: np.ndarray) -> list:
    return [dq.softmax(x), dq.softmax(x, mask=other), dq.softmax(x, mask=other > 0), dq.softmax(x, axis=0)]


def extreme_norms(x: np.ndarray, other: np.ndarray) -> list:
    weight, bias = np.linspace(-2, 2, x.shape[1], dtype=np.float32), np.ones(x.shape[1], np.float32)
    results = []
    for eps in (0.0, 1e-42, 1e-5):
        results += [dq.layer_norm(x, eps=eps), dq.layer_norm(x, weight, bias, eps=eps, residual=other)]
        results += [dq.rms_norm(x, eps=eps), dq.rms_norm(x, weight, eps=eps, residual=other)]
    return results


def extreme_maps(x: np.ndarray, other: np.ndarray) -> list:
    return [dq.gelu(x), dq.gelu(x, approximate="tanh"), dq.silu(x), dq.swiglu(x, other)]


def extreme_rotary(x: np.ndarray, cos: np.ndarray, sin: np.ndarray) -> list:
    return [dq.rotary(x, cos, sin), dq.rotary(x, cos, sin, interleaved=True)]


ROW = Row(
    calls, edges, warm, {"activations": golden_activations, "floats": golden_floats, "rotary": golden_rotary},
    extremes={
        "softmax": Extreme(drawn, extreme_softmax), "norms": Extreme(drawn, extreme_norms),
        "maps": Extreme(drawn, extreme_maps), "rotary": Extreme(drawn_tables, extreme_rotary),
    },
    imports="base isa objects threads activations", bench=("rowwise",),
)  # fmt: skip
