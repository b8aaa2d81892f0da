"""The numpy reference of `worker.py`: it defines softmax, the norms, gelu, silu, swiglu and rotary, bit for bit.

All float32, one rounding per operation, in the order written; numpy only. The formulas of single values are also what
`rowwise/emit.py` runs: it calls them with vectors of LLVM IR instead of arrays (isa/traced.py), so there is no second
copy that could differ. Sums over a row have one order on every machine, that of `row_sum`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from ..activations import reference as activations
from ..activations.reference import LOG2_E, ONE, ZERO

#: Arrays; or the lanes of isa/traced.py, of which mypy knows nothing.
Values = Any

F32 = np.float32
MINUS_INF = F32(-np.inf)
#: Lanes of a vector; vectors that a sum is spread over.
LANES, STREAMS = 16, 4
#: 2^f = 1 + f·P(f) for |f| ≤ 1/2: minimax (Lawson's reweighted least squares), then searched among float32 neighbours;
#: 2.87·2^-24 off at most, evaluated as it is here.
EXP2_P = (F32(0.693147), F32(0.24022247), F32(0.055507343), F32(0.009671541), F32(0.0013264727))
#: Below, exp_negative is 0: its power of two would be no normal float.
LOWEST = F32(-87.7)
#: Of a norm: where the variance and eps are below the least normal float, they are taken again of values · LIFT.
LEAST_NORMAL, LIFT = F32(2.0**-126), F32(2.0**96)
MAGIC = F32(1.5 * 2**23 + 127)  # x + this has n plus the exponent's bias in its low bits


# -- formulas of single values ------------------------------------------------------------------
def exp_negative(x: Values) -> Values:
    """e^x = 2^n·2^f of x ≤ 0 (or NaN), n + f = x·log2(e); what is below 2^-126.5 becomes 0.

    Off by (3 + 1.3·|x|)·2^-24: the exponent is rounded, as x, a difference, was. `exp` does without that, in three
    operations more. Clamped, x is a little above -127·ln2: then n + 127 is 0, and so is the float of these bits.
    (Powers that underflow bit by bit would cost a microcode assist each: half the speed of a softmax with a mask.)
    """
    t = activations.at_least(x, LOWEST) * LOG2_E
    shifted = t + MAGIC
    f = t - (shifted - MAGIC)
    p = (((EXP2_P[4] * f + EXP2_P[3]) * f + EXP2_P[2]) * f + EXP2_P[1]) * f + EXP2_P[0]
    return (f * p + ONE) * activations.power_of_two(shifted.view(np.uint32))


def origin(largest: Values) -> Values:
    """What softmax subtracts: the row's maximum, 0 where nothing is left of the row."""
    return np.where(largest > MINUS_INF, largest, ZERO)


def inverse(total: Values) -> Values:
    """1 / total; 0 for a row of which nothing is left."""
    return np.where(total == ZERO, ZERO, ONE / total)


def variance(squares: Values, count: Values, eps: Values) -> Values:
    """squares / count + eps: each operation correctly rounded."""
    return squares / count + eps


def inverse_deviation(squares: Values, count: Values, eps: Values) -> Values:
    """1 / √(squares / count + eps): each operation correctly rounded."""
    return ONE / np.sqrt(variance(squares, count, eps))


def swiglu(gate: Values, up: Values) -> Values:
    """silu(gate)·up."""
    return activations.silu(gate) * up


def rotate(a: Values, b: Values, cos: Values, sin: Values) -> tuple[Values, Values]:
    """The pair (a, b) turned by an angle."""
    return a * cos - b * sin, b * cos + a * sin


#: The element by element operations; the last has two operands.
MAPS: dict[str, Callable] = {
    "gelu": activations.gelu, "gelu_tanh": activations.gelu_tanh, "silu": activations.silu, "swiglu": swiglu,
}  # fmt: skip


# -- rows ---------------------------------------------------------------------------------------
def _halved(parts: np.ndarray, axis: int) -> np.ndarray:
    """The first half of the parts plus the second, until one is left."""
    while parts.shape[axis] > 1:
        low, high = np.split(parts, 2, axis=axis)
        parts = low + high
    return parts


def row_sum(values: np.ndarray) -> np.ndarray:
    """float32 [M, 1] of [M, K]: value k goes to lane k % LANES of stream k // LANES % STREAMS.

    Each of these sums is taken in the order of k, from 0; then streams, then lanes, are added half to half.
    """
    rows, k = values.shape
    width = LANES * STREAMS
    padded = np.zeros((rows, -(-k // width) * width), F32)
    padded[:, :k] = values
    total = np.zeros((rows, STREAMS, LANES), F32)
    for block in range(padded.shape[1] // width):
        total = total + padded[:, block * width : (block + 1) * width].reshape(rows, STREAMS, LANES)
    return _halved(_halved(total, 1), 2).reshape(rows, 1)


@np.errstate(all="ignore")
def softmax(x: np.ndarray, mask: np.ndarray | None = None) -> np.ndarray:
    """Along the rows of x [M, K]; mask [M, K]: boolean, False is -inf, or float32, added."""
    if mask is not None:
        x = np.where(mask, x, MINUS_INF) if mask.dtype == np.bool_ else x + mask
    largest = np.fmax.reduce(x, axis=1, keepdims=True, initial=MINUS_INF)
    e = exp_negative(x - origin(largest))
    return e * inverse(row_sum(e))


def _affine(y: np.ndarray, weight: np.ndarray | None, bias: np.ndarray | None) -> np.ndarray:
    y = y if weight is None else y * weight
    return y if bias is None else y + bias


@np.errstate(all="ignore")
def norm(
    x: np.ndarray,
    weight: np.ndarray | None,
    bias: np.ndarray | None,
    residual: np.ndarray | None,
    eps: np.float32,
    centred: bool,
) -> tuple[np.ndarray, np.ndarray]:
    """Normalised rows of x [M, K], and x + residual. `centred`: layer_norm, else rms_norm.

    A row whose squares underflow is lifted first; centred once more, for its mean may have been off by as much.
    """
    total = x if residual is None else x + residual
    count, v = F32(x.shape[1]), total
    if centred:
        v = v - row_sum(v) / count
    small = variance(row_sum(v * v), count, eps) < LEAST_NORMAL
    lifted = v * LIFT
    if centred:
        lifted = lifted - row_sum(lifted) / count
    v, least = np.where(small, lifted, v), np.where(small, eps * LIFT * LIFT, eps)
    return _affine(v * inverse_deviation(row_sum(v * v), count, least), weight, bias), total


@np.errstate(all="ignore")
def rotary(x: np.ndarray, cos: np.ndarray, sin: np.ndarray, positions: np.ndarray, interleaved: bool) -> np.ndarray:
    """x [M, D] turned by the tables' rows [P, H] at `positions` [M]; columns from 2H on stay."""
    half = cos.shape[1]
    y = x.copy()
    first, second = (slice(0, 2 * half, 2), slice(1, 2 * half, 2)) if interleaved else (
        slice(0, half), slice(half, 2 * half)
    )  # fmt: skip
    y[:, first], y[:, second] = rotate(x[:, first], x[:, second], cos[positions], sin[positions])
    return y
