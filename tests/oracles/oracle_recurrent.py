"""One step of LSTM, GRU and RNN as ONNX defines it, in float64 on the oracle's exact quantized products.

Weights are in ONNX's order and not in blocks; nothing of the project is imported.
"""

import numpy as np
import oracle

F64 = np.float64


def sigmoid(v):
    return 1 / (1 + np.exp(-v))


ACTIVATIONS = {
    "relu": lambda v, a, b: np.maximum(v, 0),
    "tanh": lambda v, a, b: np.tanh(v),
    "sigmoid": lambda v, a, b: sigmoid(v),
    "affine": lambda v, a, b: a * v + b,
    "leakyrelu": lambda v, a, b: np.where(v >= 0, v, a * v),
    "thresholdedrelu": lambda v, a, b: np.where(v >= a, v, 0),
    "scaledtanh": lambda v, a, b: a * np.tanh(b * v),
    "hardsigmoid": lambda v, a, b: np.clip(a * v + b, 0, 1),
    "elu": lambda v, a, b: np.where(v >= 0, v, a * np.expm1(np.minimum(v, 0))),
    "softsign": lambda v, a, b: v / (1 + np.abs(v)),
    "softplus": lambda v, a, b: np.logaddexp(0, v),
}


def product(x, weight, bias=None):
    """The quantized linear of float32 x, as float64."""
    return oracle.linear(np.asarray(x, np.float32), oracle.pack(weight, bias)).astype(F64)


def functions(names, alpha, beta, clip):
    """f, g, h; `alpha` and `beta` one for each."""

    def function(i):
        def apply(v):
            v = v if clip is None or i == 2 else np.clip(v, -clip, clip)
            return ACTIVATIONS[names[i]](v, F64(np.float32(alpha[i])), F64(np.float32(beta[i])))

        return apply

    return [function(i) for i in range(len(names))]


def lstm(x, h, c, w, r, b, f, g, last, *, peepholes=None, projection=None, coupled=False):
    """(h, c) from float32 x [B, I], h [B, P], c [B, H]; w [4H, I] in order i o f c; b [2, 4H] float32."""
    units = len(w) // 4
    i, o, forget, a = np.split(product(x, w, b[0] + b[1]) + product(h, r), 4, axis=1)
    p = np.zeros((3, units)) if peepholes is None else peepholes.reshape(3, units).astype(F64)
    i = f(i + p[0] * c)
    forget = 1 - i if coupled else f(forget + p[2] * c)
    c = forget * c + i * g(a)
    h = f(o + p[1] * c) * last(c)
    return (h if projection is None else product(h, projection)), c


def gru(x, h, w, r, b, f, g, *, before):
    """h from float32 x, h; w [3H, I] in order z r h; `before`: linear_before_reset."""
    units = len(w) // 3
    gates = slice(0, 2 * units)
    if before:
        outer = np.concatenate([(b[0] + b[1])[gates], b[0, 2 * units :]])
        inner = np.concatenate([np.zeros(2 * units, np.float32), b[1, 2 * units :]])
        xz, xr, xn = np.split(product(x, w, outer), 3, axis=1)
        hz, hr, hn = np.split(product(h, r, inner), 3, axis=1)
        n = g(xn + f(xr + hr) * hn)
    else:
        xz, xr, xn = np.split(product(x, w, b[0] + b[1]), 3, axis=1)
        hz, hr = np.split(product(h, r[gates]), 2, axis=1)
        n = g(xn + product(f(xr + hr) * h, r[2 * units :]))
    z = f(xz + hz)
    return (1 - z) * n + z * h


def rnn(x, h, w, r, b, f):
    return f(product(x, w, b[0] + b[1]) + product(h, r))
