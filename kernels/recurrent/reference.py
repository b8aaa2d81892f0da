"""The numpy reference of the recurrent kernels: the same operations in the same order, hence the same bits.

cells.py says what is computed. Weights come as `Direction`s: the integers and scales of packed
weights, or float32, whose rows are gates in blocks (context.py).
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from ..activations.reference import ONE, at_least, at_most
from ..linear import reference as quantized
from ..sgemm import reference as floats
from .context import LANES
from .reference_activations import ACTIVATIONS


class Direction(NamedTuple):
    """One direction of a layer; weights are (q int8 [N, K], scale float32 [N, 1], bias float32 [N]), or the last only
    after float32 [N, K]."""

    kind: str
    reverse: bool
    units: int
    input: tuple
    products: tuple[tuple, ...]
    activations: tuple[str, ...]
    parameters: np.ndarray
    peepholes: np.ndarray | None
    clipped: bool
    coupled: bool
    linear_before_reset: bool


def _linear(x: np.ndarray, *weight: np.ndarray) -> np.ndarray:
    """x [rows, K] times a weight of a `Direction`."""
    if len(weight) == 2:
        return floats.product(x, weight[0].T, weight[1])
    return quantized.linear(x, *weight)


def _gates(product: np.ndarray, count: int) -> np.ndarray:
    """[rows, blocks · count · LANES] as [count, rows, units rounded up]."""
    rows, columns = product.shape
    blocks = product.reshape(rows, columns // (count * LANES), count, LANES)
    return np.ascontiguousarray(blocks.transpose(2, 0, 1, 3).reshape(count, rows, columns // count))


def _functions(direction: Direction) -> tuple[Any, ...]:
    """f, g, h as functions of one array, the clip included."""
    clip = direction.parameters[6]

    def function(i: int, name: str) -> Any:
        alpha, beta = direction.parameters[2 * i : 2 * i + 2]

        def apply(x: np.ndarray) -> np.ndarray:
            if direction.clipped and i < 2:  # the third, h of an LSTM, takes c as it is
                x = at_most(at_least(x, -clip), clip)
            return ACTIVATIONS[name][0](x, alpha, beta)

        return apply

    return tuple(function(i, name) for i, name in enumerate(direction.activations))


def _lstm(d: Direction, x: np.ndarray, h: np.ndarray, c: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    f, g, last = _functions(d)
    i, o, keep, a = _gates(x, 4) + _gates(_linear(h, *d.products[0]), 4)
    p = d.peepholes
    if p is not None:
        i, keep = i + p[0] * c, keep + p[2] * c
    i = f(i)
    keep = ONE - i if d.coupled else f(keep)
    c = keep * c + i * g(a)
    o = f(o if p is None else o + p[1] * c)
    h = o * last(c)
    if len(d.products) > 1:
        h = _linear(h[:, : d.units], *d.products[1])
    return h, c


def _gru(d: Direction, x: np.ndarray, h: np.ndarray) -> np.ndarray:
    f, g = _functions(d)
    xz, xr, xn = _gates(x, 3)
    old = np.zeros_like(xz)
    old[:, : d.units] = h
    if d.linear_before_reset:
        hz, hr, hn = _gates(_linear(h, *d.products[0]), 3)
        z, r = f(xz + hz), f(xr + hr)
        n = g(xn + r * hn)
    else:
        hz, hr = _gates(_linear(h, *d.products[0]), 2)
        z, r = f(xz + hz), f(xr + hr)
        n = g(xn + _linear((r * old)[:, : d.units], *d.products[1]))
    return (ONE - z) * n + z * old


@np.errstate(all="ignore")
def sequence(
    directions: tuple[Direction, ...],
    x: np.ndarray,
    lengths: np.ndarray | None,
    h: np.ndarray,
    c: np.ndarray | None,
    y: np.ndarray,
) -> None:
    """Fill y [T, B, directions·P], and h [directions, B, P] and c in place, which hold the initial states before."""
    times, batch = x.shape[:2]
    lengths = np.full(batch, times) if lengths is None else lengths
    state = h.shape[2]
    for i, d in enumerate(directions):
        columns, inputs = d.input[0].shape
        gates = _linear(x.reshape(times * batch, inputs), *d.input).reshape(times, batch, columns)
        cells = np.zeros((batch, -(-d.units // LANES) * LANES), np.float32)
        if c is not None:
            cells[:, : d.units] = c[i]
        for t in reversed(range(times)) if d.reverse else range(times):
            active = t < lengths
            if d.kind == "lstm":
                new, updated = _lstm(d, gates[t], h[i], cells)
                cells = np.where(active[:, None], updated, cells)
            elif d.kind == "gru":
                new = _gru(d, gates[t], h[i])
            else:
                (f,) = _functions(d)
                new = f(gates[t] + _linear(h[i], *d.products[0]))
            h[i] = np.where(active[:, None], new[:, :state], h[i])
            y[t, :, i * state : (i + 1) * state] = np.where(active[:, None], h[i], np.float32(0))
        if c is not None:
            c[i] = cells[:, : d.units]
