"""The numpy reference of `activations.py`: the activations of ONNX LSTM, GRU and RNN as ``f(x, alpha, beta)``.

Every operation is one float32 rounding, in the order written; `alpha` and `beta` are np.float32.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from ..activations.reference import HALF, ONE, ZERO, at_least, at_most, exp, f32, relu, sigmoid, tanh

TWO = f32(2)
#: log(1 + u) = z·P(z²), z = u / (2 + u) in [0, 1/3]: P(z²) = 2·artanh(z) / z, minimax by Lawson's algorithm, 8e-9.
LOG1P_P = (f32(2), f32(0.66666317), f32(0.4002491), f32(0.279606), f32(0.28178334))


def affine(x: np.ndarray, alpha: np.float32, beta: np.float32) -> np.ndarray:
    """alpha·x + beta."""
    return alpha * x + beta


def leaky_relu(x: np.ndarray, alpha: np.float32, beta: np.float32) -> np.ndarray:
    """x, or alpha·x below 0."""
    return np.where(x < ZERO, alpha * x, x)


def thresholded_relu(x: np.ndarray, alpha: np.float32, beta: np.float32) -> np.ndarray:
    """x, or 0 below alpha."""
    return np.where(x < alpha, ZERO, x)


def scaled_tanh(x: np.ndarray, alpha: np.float32, beta: np.float32) -> np.ndarray:
    """alpha·tanh(beta·x)."""
    return alpha * tanh(beta * x)


def hard_sigmoid(x: np.ndarray, alpha: np.float32, beta: np.float32) -> np.ndarray:
    """alpha·x + beta, clipped to [0, 1]."""
    return at_most(at_least(alpha * x + beta, ZERO), ONE)


def elu(x: np.ndarray, alpha: np.float32, beta: np.float32) -> np.ndarray:
    """x, or alpha·(e^x - 1) below 0, as tanh(x/2)·(e^x + 1): nothing cancels."""
    return np.where(x < ZERO, alpha * (tanh(x * HALF) * (exp(x) + ONE)), x)


def softsign(x: np.ndarray, alpha: np.float32, beta: np.float32) -> np.ndarray:
    """x / (1 + |x|)."""
    return x / (ONE + np.abs(x))


def softplus(x: np.ndarray, alpha: np.float32, beta: np.float32) -> np.ndarray:
    """log(1 + e^x), as max(x, 0) + log(1 + e^-|x|)."""
    u = exp(-np.abs(x))
    z = u / (TWO + u)
    s = z * z
    p = ((LOG1P_P[4] * s + LOG1P_P[3]) * s + LOG1P_P[2]) * s + LOG1P_P[1]
    return relu(x) + z * (p * s + LOG1P_P[0])


#: By ONNX name, in small letters: the function, and the defaults of the parameters it has.
ACTIVATIONS: dict[str, tuple[Callable, tuple[float, ...]]] = {
    "relu": (lambda x, alpha, beta: relu(x), ()),
    "tanh": (lambda x, alpha, beta: tanh(x), ()),
    "sigmoid": (lambda x, alpha, beta: sigmoid(x), ()),
    "affine": (affine, (1.0, 0.0)),
    "leakyrelu": (leaky_relu, (0.01,)),
    "thresholdedrelu": (thresholded_relu, (1.0,)),
    "scaledtanh": (scaled_tanh, (1.0, 1.0)),
    "hardsigmoid": (hard_sigmoid, (0.2, 0.5)),
    "elu": (elu, (1.0,)),
    "softsign": (softsign, ()),
    "softplus": (softplus, ()),
}
