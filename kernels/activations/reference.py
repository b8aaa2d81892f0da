"""The numpy reference of `jitted.py`: the same float32 operations in the same order, hence the same bits.

That file says what the functions compute, why, and their largest error. The constants are here, because the reference
defines the result. Both files look alike on purpose. Every constant is a np.float32 or np.uint32:
one Python float or int in a jitted expression would promote it to 64 bits.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

f32, u32 = np.float32, np.uint32
ZERO, HALF, ONE = f32(0), f32(0.5), f32(1)

LOG2_E = f32(1.44269504)
LN2_HIGH, LN2_LOW = f32(0.693359375), f32(-2.12194440e-4)  # HIGH has 9 bits and n at most 8: n·HIGH is exact
EXP_MIN, EXP_MAX = f32(-104), f32(89)  # beyond: 0 and inf
MAGIC_EXP = f32(1.5 * 2**23 + 2 * 127)  # x + this has n + twice the exponent bias in its low bits
MAGIC_SIGMOID = f32(1.5 * 2**23 + 127 + 24)  # n + bias + 24: positive for every n in [-150, 0]
TWO_M24 = f32(2.0**-24)
EXP_P = (f32(0.49999255), f32(0.16667213), f32(0.041885737), f32(0.008301689))

TANH_MAX = f32(8.720271)
TANH_P = (f32(0.93023646), f32(0.027697962), f32(0.0001063139))
TANH_Q = (f32(1.8604729), f32(0.21043532), f32(0.0022450278), f32(2.2878085e-06))

ERF_MAX = f32(3.8065531)
ERF_P = (
    f32(0.49460676), f32(-0.045448933), f32(0.0035647962), f32(-0.00020676882),
    f32(8.825912e-06), f32(-2.5942518e-07), f32(3.9541637e-09),
)
ERF_C1, ERF_C3 = f32(2.2813663), f32(2.2516003)

SQRT_HALF = f32(0.70710678)
GELU_MIN = f32(-6)  # below, 1 + erf(x/√2) is exactly 0; the clamp keeps -inf·0 out
GELU_TANH_MIN = f32(-11)  # below, the sigmoid is exactly 0
GELU_TANH_1 = f32(1.5957691216)  # 2·√(2/π)
GELU_TANH_3 = f32(1.5957691216 * 0.044715)
SILU_MIN = EXP_MIN


def at_least(x: np.ndarray, low: np.float32) -> np.ndarray:
    return np.where(x < low, low, x)


def at_most(x: np.ndarray, high: np.float32) -> np.ndarray:
    return np.where(x > high, high, x)


def _exp_parts(x: np.ndarray, magic: np.float32) -> tuple[np.ndarray, np.ndarray]:
    shifted = x * LOG2_E + magic
    n = shifted - magic
    r = (x - n * LN2_HIGH) - n * LN2_LOW
    p = ((EXP_P[3] * r + EXP_P[2]) * r + EXP_P[1]) * r + EXP_P[0]
    return (r * r * p + r) + ONE, shifted.view(u32)


def power_of_two(biased: np.ndarray) -> np.ndarray:
    return (biased << u32(23)).view(f32)


@np.errstate(all="ignore")
def exp(x: np.ndarray) -> np.ndarray:
    """e^x."""
    x = at_least(x, EXP_MIN)
    x = at_most(x, EXP_MAX)
    p, bits = _exp_parts(x, MAGIC_EXP)
    half = bits >> u32(1)
    return p * power_of_two(half) * power_of_two(bits - half)


@np.errstate(all="ignore")
def sigmoid(x: np.ndarray) -> np.ndarray:
    """1 / (1 + e^-x)."""
    y = -np.abs(x)
    y = at_least(y, EXP_MIN)
    p, bits = _exp_parts(y, MAGIC_SIGMOID)
    e = p * power_of_two(bits) * TWO_M24
    return np.where(x < ZERO, e, ONE) / (ONE + e)


@np.errstate(all="ignore")
def tanh(x: np.ndarray) -> np.ndarray:
    """The hyperbolic tangent."""
    x = at_least(x, -TANH_MAX)
    x = at_most(x, TANH_MAX)
    s = x * x
    n = x * ((TANH_P[2] * s + TANH_P[1]) * s + TANH_P[0])
    q = ((TANH_Q[3] * s + TANH_Q[2]) * s + TANH_Q[1]) * s + TANH_Q[0]
    return (n + n) * q / (n * n + q * q)


@np.errstate(all="ignore")
def erf(x: np.ndarray) -> np.ndarray:
    """The error function."""
    x = at_least(x, -ERF_MAX)
    x = at_most(x, ERF_MAX)
    s = x * x
    p = ((ERF_P[6] * s + ERF_P[5]) * s + ERF_P[4]) * s + ERF_P[3]
    t = x * (((p * s + ERF_P[2]) * s + ERF_P[1]) * s + ERF_P[0])
    u = t * t
    return t * ((u - ERF_C3) * u + ERF_C1)


@np.errstate(all="ignore")
def relu(x: np.ndarray) -> np.ndarray:
    """max(x, 0); NaN stays NaN and -0 stays -0."""
    return at_least(x, ZERO)


@np.errstate(all="ignore")
def gelu(x: np.ndarray) -> np.ndarray:
    """x·(1 + erf(x/√2))/2."""
    x = at_least(x, GELU_MIN)
    return x * (HALF * (ONE + erf(x * SQRT_HALF)))


@np.errstate(all="ignore")
def gelu_tanh(x: np.ndarray) -> np.ndarray:
    """x·(1 + tanh(u))/2 with u = √(2/π)·(x + 0.044715·x³), as x·sigmoid(2u)."""
    x = at_least(x, GELU_TANH_MIN)
    return x * sigmoid(x * (GELU_TANH_3 * (x * x) + GELU_TANH_1))


@np.errstate(all="ignore")
def silu(x: np.ndarray) -> np.ndarray:
    """x·sigmoid(x)."""
    x = at_least(x, SILU_MIN)
    return x * sigmoid(x)


#: The public activations by name.
ACTIVATIONS: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "relu": relu, "gelu": gelu, "gelu_tanh": gelu_tanh, "silu": silu, "tanh": tanh, "sigmoid": sigmoid,
}
