"""The float operations in float64, and how far a float32 result may be off; imports nothing of the project.

U = 2**-24 is the relative error of one rounding, TINY/2 its absolute error where the result underflows. A sum of K
terms spread over 64 lanes is K/64 additions in a row and 6 more to fold them: at most A = ceil(K/64) + 6 roundings
meet any term.
"""

import math

import numpy as np

U = 2.0**-24
TINY = 2.0**-149
F32 = np.float32


def additions(k):
    return math.ceil(k / 64) + 6


def softmax(x, mask=None):
    """Value and bound for float32 x and a mask (boolean, or float32 that is added in float32), both [..., K].

    s = v - max is one rounding, and so is s·log2(e), whose constant is off by U/4: 2.3 U |s| in the exponent. 2^f has
    3 U. The sum has the mean of that, weighted with p, and A U; 1/sum and the product 2 U more. e below 2^-126.3 may
    be 0.
    """
    with np.errstate(all="ignore"):
        v = x if mask is None else np.where(mask, x, F32(-np.inf)) if mask.dtype == bool else x + mask
        v = v.astype(np.float64)
        largest = v.max(axis=-1, keepdims=True, initial=-np.inf)
        s = v - np.where(np.isfinite(largest), largest, 0)
        e = np.exp(s)
        total = e.sum(axis=-1, keepdims=True)
        y = np.where(total == 0, 0, e / np.where(total == 0, 1, total))
        size = np.where(y == 0, 0, np.abs(s))
        mean = (y * size).sum(axis=-1, keepdims=True)
        relative = (2.3 * (size + mean) + 6 + additions(x.shape[-1]) + 2) * U
        return y, 1.01 * relative * y + 2.0**-126.3


def norm(x, weight, bias, residual, eps, centred, added=None):
    """Value and bound of float32 arrays; the sum x + residual is one rounding, and exact from there.

    `added` is A where sums have another order than ours.

    The mean is off by δ = (A + 1) U mean|v|. That moves every deviation by δ, and their squares' mean by δ² (the terms
    of first order cancel). Each square meets 3 roundings (twice its deviation's, its own) and A additions, their mean
    one more, eps one more: relative to σ² half of (A + 5) U + δ²/σ², then the root's and the quotient's: 2 U. The
    product, weight and bias round once each; a deviation once.
    """
    v = (x if residual is None else x + residual).astype(np.float64)
    k = x.shape[-1]
    weight = np.ones(k) if weight is None else weight.astype(np.float64)
    bias = np.zeros(k) if bias is None else bias.astype(np.float64)
    eps = np.float64(F32(eps))
    mean = v.mean(axis=-1, keepdims=True) if centred else np.zeros_like(v[..., :1])
    added = additions(k) if added is None else added
    delta = (added + 1) * U * np.abs(v).mean(axis=-1, keepdims=True) if centred else 0.0
    d = v - mean
    sigma = np.sqrt((d * d).mean(axis=-1, keepdims=True) + eps)
    n = d / sigma
    y = n * weight + bias
    relative = (added + 5) / 2 * U + (delta / sigma) ** 2 + 2 * U
    bound = np.abs(weight) * (delta / sigma + np.abs(n) * (relative + 3 * U)) + U * np.abs(y)
    return y, 1.01 * bound + (4 + np.abs(weight)) * TINY * (1 + 1 / sigma)


def swiglu(gate, up):
    """silu within 12 U and (4 |gate| + 2) TINY, one product more."""
    gate, up = gate.astype(np.float64), up.astype(np.float64)
    with np.errstate(over="ignore"):
        y = gate / (1 + np.exp(-gate)) * up
    return y, 13.01 * U * np.abs(y) + ((4 * np.abs(gate) + 2) * np.abs(up) + 1) * TINY


def rotary(x, cos, sin, positions, interleaved):
    """Of one matrix [S, D] with a table row for each; two products and a sum: 2 U of each product."""
    x, c, s = x.astype(np.float64), cos[positions].astype(np.float64), sin[positions].astype(np.float64)
    half = c.shape[-1]
    y, size = x.copy(), np.zeros_like(x)
    for i in range(half):
        a, b = (2 * i, 2 * i + 1) if interleaved else (i, i + half)
        y[:, a] = x[:, a] * c[:, i] - x[:, b] * s[:, i]
        y[:, b] = x[:, b] * c[:, i] + x[:, a] * s[:, i]
        size[:, a] = np.abs(x[:, a] * c[:, i]) + np.abs(x[:, b] * s[:, i])
        size[:, b] = np.abs(x[:, b] * c[:, i]) + np.abs(x[:, a] * s[:, i])
    return y, 2.1 * U * size + np.where(size > 0, 2 * TINY, 0)
