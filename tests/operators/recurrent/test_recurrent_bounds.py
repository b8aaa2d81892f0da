"""The bounds that docstrings give for one step of a recurrent layer, against float64."""

from __future__ import annotations

import numpy as np
import pytest

import dynq_numba as dq

UNITS = 24
ROUNDING = 1e-6  # float32 beside float64; the smallest bound below is a thousand times this


def sigmoid(v):
    return 1 / (1 + np.exp(-v))


def off(x, weight):
    """The bound of `linear` for x [B, K] and weight [N, K]: [B, N]."""
    scale_x = (np.maximum(0, x.max(1)) - np.minimum(0, x.min(1)))[:, None] / 255
    largest_x, largest_w = np.abs(x).max(1)[:, None], np.abs(weight).max(1)[None]
    scale_w = largest_w / 127
    return x.shape[1] * (scale_x * largest_w + scale_w * largest_x + scale_x * scale_w / 2) / 2


@pytest.fixture
def problem(rng):
    """x, h, c, and W, R, B of as many gates as are asked for."""
    x, h = rng.normal(size=(7, 20)), rng.uniform(-1, 1, (7, UNITS))
    c = rng.normal(size=(7, UNITS)) * 2

    def weights(gates):
        return (rng.normal(size=(gates * UNITS, 20)) / 9, rng.normal(size=(gates * UNITS, UNITS)) / 9,
                rng.normal(size=2 * gates * UNITS) / 3)  # fmt: skip

    return x, h, c, weights


def parts(array, gates):
    return np.split(array, gates, axis=1)


def test_lstm(problem):
    x, h, c, weights = problem
    W, R, B = weights(4)
    i, o, f, g = parts(x @ W.T + h @ R.T + B[: 4 * UNITS] + B[4 * UNITS :], 4)
    delta = np.max(parts(off(x, W) + off(h, R), 4), axis=0)
    c_after = sigmoid(f) * c + sigmoid(i) * np.tanh(g)
    h_after = sigmoid(o) * np.tanh(c_after)
    h_ours, c_ours = dq.lstm_cell(x, dq.pack_lstm(W, R, B, layout="onnx"), h, c)
    within(c_ours - c_after, (np.abs(c) + 5) * delta / 4)
    within(h_ours - h_after, (np.abs(c) + 6) * delta / 4)


def test_gru(problem):
    x, h, _, weights = problem
    W, R, B = weights(3)
    inputs, states = parts(x @ W.T + B[: 3 * UNITS], 3), parts(h @ R.T + B[3 * UNITS :], 3)
    z, r = sigmoid(inputs[0] + states[0]), sigmoid(inputs[1] + states[1])
    after = (1 - z) * np.tanh(inputs[2] + r * states[2]) + z * h
    delta = np.max(parts(off(x, W) + off(h, R), 3), axis=0)
    ours = dq.gru_cell(x, dq.pack_gru(W, R, B, linear_before_reset=True, layout="onnx"), h)
    within(ours - after, (5 + np.abs(h) + np.abs(states[2])) * delta / 4)


def test_rnn(problem):
    x, h, _, weights = problem
    W, R, B = weights(1)
    after = np.tanh(x @ W.T + h @ R.T + B[:UNITS] + B[UNITS:])
    within(dq.rnn_cell(x, dq.pack_rnn(W, R, B), h) - after, off(x, W) + off(h, R))


def within(error, bound):
    error = np.abs(error)
    assert (error <= bound + ROUNDING).all()
    assert error.max() > 1e-4  # there is something to bound
