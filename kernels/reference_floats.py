"""The numpy twin of `floats.py`: what softmax, the norms, gelu, silu, swiglu and rotary embeddings are, bit for bit.

All float32, one rounding per operation, in the order written; numpy only. The formulas of single values are also what
`emit/floats.py` runs: it calls them with vectors of LLVM IR instead of arrays (emit/traced.py), so there is no second
copy that could differ. Sums over a row have one order on every machine, that of `row_sum`.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from . import reference_activations as activations
from .reference_activations import ONE, ZERO

F32 = np.float32
MINUS_INF = F32(-np.inf)
#: Lanes of a vector; vectors that a sum is spread over.
LANES, STREAMS = 16, 4
#: Below, exp_negative is 0: so small a power of two would be no normal float.
LOWEST = F32(-87.7)
MAGIC = F32(1.5 * 2**23 + 127)  # x + this has n plus the exponent's bias in its low bits


# -- formulas of single values ------------------------------------------------------------------
def exp_negative(x: np.ndarray) -> np.ndarray:
    """e^x of x ≤ 0 (or NaN), where what is below 2^-126.5 becomes 0; else the bits of `exp`, for less.

    Clamped, x is -127·ln2 and a little: n + 127 is 0 then, and so is the float of these bits. (Powers that underflow
    bit by bit would cost a microcode assist each: half the speed of a softmax with a mask.)
    """
    x = activations._at_least(x, LOWEST)
    p, bits = activations._exp_parts(x, MAGIC)
    return p * activations._power_of_two(bits)


def origin(largest: np.ndarray) -> np.ndarray:
    """What softmax subtracts: the row's maximum, 0 where nothing is left of the row."""
    return np.where(largest > MINUS_INF, largest, ZERO)


def inverse(total: np.ndarray) -> np.ndarray:
    """1 / total; 0 for a row of which nothing is left."""
    return np.where(total == ZERO, ZERO, ONE / total)


def inverse_deviation(squares: np.ndarray, count: np.ndarray, eps: np.ndarray) -> np.ndarray:
    """1 / √(squares / count + eps): each operation correctly rounded."""
    return ONE / np.sqrt(squares / count + eps)


def swiglu(gate: np.ndarray, up: np.ndarray) -> np.ndarray:
    """silu(gate)·up."""
    return activations.silu(gate) * up


def rotate(a: np.ndarray, b: np.ndarray, cos: np.ndarray, sin: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
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
    """Normalised rows of x [M, K], and x + residual. `centred`: layer_norm, else rms_norm."""
    total = x if residual is None else x + residual
    count, v = F32(x.shape[1]), total
    if centred:
        v = v - row_sum(v) / count
    return _affine(v * inverse_deviation(row_sum(v * v), count, eps), weight, bias), total


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
