"""The activations of ONNX LSTM, GRU and RNN as ``f(x, alpha, beta)`` on float32, the same bits on every CPU.

exp, sigmoid and tanh are those of activations/jitted.py; the functions here that are made of them follow the same
rules. `reference_activations.py` is their reference and says what each computes.

    softplus    max(x, 0) + log(1 + u), u = e^-|x|; log(1 + u) = 2·artanh(z), z = u / (2 + u) ≤ 1/3, as z·P(z²)

Worst error, in ulp of the float64 value: softplus 6, elu 10 (tests/operators/recurrent/test_recurrent_activations.py).
Source: ONNX LSTM-14.
"""

from __future__ import annotations

from typing import Any

from ..activations.jitted import at_least, at_most, exp, relu, sigmoid, tanh
from ..activations.reference import HALF, ONE, ZERO
from ..base.jit import kernel
from .reference_activations import LOG1P_P, TWO


@kernel
def _relu(x, alpha, beta):
    return relu(x)


@kernel
def _tanh(x, alpha, beta):
    return tanh(x)


@kernel
def _sigmoid(x, alpha, beta):
    return sigmoid(x)


@kernel
def affine(x, alpha, beta):
    return alpha * x + beta


@kernel
def leaky_relu(x, alpha, beta):
    scaled = alpha * x
    return scaled if x < ZERO else x


@kernel
def thresholded_relu(x, alpha, beta):
    return ZERO if x < alpha else x


@kernel
def scaled_tanh(x, alpha, beta):
    return alpha * tanh(beta * x)


@kernel
def hard_sigmoid(x, alpha, beta):
    return at_most(at_least(alpha * x + beta, ZERO), ONE)


@kernel
def elu(x, alpha, beta):
    below = alpha * (tanh(x * HALF) * (exp(x) + ONE))
    return below if x < ZERO else x


@kernel
def softsign(x, alpha, beta):
    return x / (ONE + abs(x))


@kernel
def softplus(x, alpha, beta):
    u = exp(-abs(x))
    z = u / (TWO + u)
    s = z * z
    p = ((LOG1P_P[4] * s + LOG1P_P[3]) * s + LOG1P_P[2]) * s + LOG1P_P[1]
    return relu(x) + z * (p * s + LOG1P_P[0])


#: By ONNX name, in small letters.
ACTIVATIONS: dict[str, Any] = {
    "relu": _relu, "tanh": _tanh, "sigmoid": _sigmoid, "affine": affine, "leakyrelu": leaky_relu,
    "thresholdedrelu": thresholded_relu, "scaledtanh": scaled_tanh, "hardsigmoid": hard_sigmoid, "elu": elu,
    "softsign": softsign, "softplus": softplus,
}  # fmt: skip
