"""The functions of single values that regions need beside those of activations/reference.py: log, pow, softplus …

    log(x)       x = 2^k·m with m in [√½, √2);  log m = 2·artanh(s), s = (m - 1)/(m + 1), |s| ≤ 0.1716
    pow(x, y)    2^(y·log2|x|); t = n + f with n by adding 1.5·2^52, |f| ≤ ½;  2^f = e^(f·ln 2)
    softplus(x)  max(x, 0) + log(1 + e^-|x|), the last as 2·artanh(s) with s = e/(2 + e) ≤ ⅓: exact for small e
    sin, cos     x·2/π mod 4 = n + f: 2/π in 8 pieces of 29 bits, so that each product with x is exact, and may be taken
                 mod 4 by itself; then a polynomial of f·π/2. No argument is too large.

All inside in float64: what is wrong there is far below a float32's last bit, so results are the nearest float32, or in
rare cases its neighbour. Only operations that IEEE 754 defines, no fused multiply-add: the same bits on every machine.
Polynomials are Taylor's; the first term left out is below 2^-42 of the result (log, pow), 2^-32 (softplus).

Worst error in ulp of the float64 value, over all finite inputs, by `python -m bench exhaustive_regions`:
    log 0.500000    softplus 2.974, which is the exponential's    sin, cos 0.500000 (of x ≥ 0;
    each operation of theirs gives the same for -x but for the sign)
tests/regions/test_region_operators.py holds pow, which has too many inputs, to 0.501 on a sample.
Special values are those of C's functions.
"""

from __future__ import annotations

from math import factorial
from typing import Any

import numpy as np

from ..activations import reference as activations
from ..activations.reference import HALF, ONE, ZERO

#: Arrays of numpy, or the lanes of isa/traced.py.
Values = Any

f32, f64, u32, u64 = np.float32, np.float64, np.uint32, np.uint64
INF, NAN = f32(np.inf), f32(np.nan)
#: The bits of √½; of the exponent of 1; and how far up an exponent is.
ROOT, BIAS, UP = f64(0.5**0.5).view(u64), f64(1).view(u64), u64(52)
#: An exponent field in the low bits of this is a float64 of this size and as many units.
UNITS = f64(2.0**52)
_MAGIC = f64(1.5 * 2**52 + 1023)
_LARGE = f64(300)
LN2, LOG2_E = f64(0.6931471805599453), f64(1.4426950408889634)
#: 2·artanh(s) = 2s + 2s·w·(1/3 + w/5 + w²/7 …), w = s².
_ARTANH = tuple(f64(1 / (2 * i + 3)) for i in range(9))
_EXP = tuple(f64(1 / factorial(i)) for i in range(11))
F1, F2 = f64(1), f64(2)


def polynomial(x: Values, coefficients: tuple) -> Values:
    """c0 + c1·x + c2·x² …"""
    *rest, total = coefficients
    for each in reversed(rest):
        total = total * x + each
    return total


def twice_artanh(s: Values) -> Values:
    w = s * s
    return (s + s) * (w * polynomial(w, _ARTANH)) + (s + s)


def _parts(x: Values) -> tuple[Values, Values]:
    """(k, log m) of float64 x = 2^k·m, which is normal and > 0; anything of other x."""
    bits = x.view(u64)
    biased = (bits - ROOT + BIAS) >> UP
    m = (bits - (biased << UP) + BIAS).view(f64)
    k = (biased | UNITS.view(u64)).view(f64) - (UNITS + f64(1023))
    return k, twice_artanh((m - F1) / (m + F1))


def _exp2(t: Values) -> Values:
    """2^t of float64 t in [-1000, 1000]; NaN of NaN."""
    shifted = t + _MAGIC
    f = t - (shifted - _MAGIC)
    return polynomial(f * LN2, _EXP) * (shifted.view(u64) << UP).view(f64)


def log(x: Values) -> Values:
    """The natural logarithm."""
    k, part = _parts(x.astype(f64))
    y = (k * LN2 + part).astype(f32)
    y = np.where(x < INF, y, x)  # and NaN
    return np.where(x > ZERO, y, np.where(x == ZERO, -INF, np.where(x < ZERO, NAN, x)))


def power(x: Values, y: Values) -> Values:
    """x to the power of y."""
    size = np.abs(x)
    k, part = _parts(size.astype(f64))
    logarithm = k + part * LOG2_E
    logarithm = np.where(size < INF, logarithm, f64(np.inf))
    logarithm = np.where(size == ZERO, f64(-np.inf), logarithm)
    t = y.astype(f64) * logarithm
    t = np.where(t < -_LARGE, -_LARGE, np.where(t > _LARGE, _LARGE, t))  # still no float32, but a float64
    z = _exp2(t).astype(f32)
    whole, half = np.rint(y) == y, y * HALF
    odd = whole & (np.rint(half) != half)
    negative = x.view(u32) >= u32(1 << 31)
    z = np.where(negative & odd, -z, z)
    z = np.where((x < ZERO) & (x > -INF) & ~whole, NAN, z)
    z = np.where(np.isnan(x) | np.isnan(y), x + y, z)
    z = np.where((size == ONE) & (np.abs(y) == INF), ONE, z)
    return np.where((x == ONE) | (y == ZERO), ONE, z)


def softplus(x: Values) -> Values:
    """log(1 + e^x)."""
    e = activations.exp(-np.abs(x)).astype(f64)
    y = twice_artanh(e / (F2 + e)) + activations.at_least(x, ZERO).astype(f64)
    return y.astype(f32)


# -- sine and cosine ------------------------------------------------------------------------------
#: 2/π in pieces of 29 bits: each times a float32 is a float64.
_PIECE_BITS, _PIECES = 29, 8
_TWO_OVER_PI = 0xA2F9836E4E441529FC2757D1F534DDC0DB6295993C439041FE5163ABDEBBC561B7246E3A424DD2E006492EEA09D1921C
_TWO_OVER_PI_BITS = 384
_FOUR, _QUARTER = f64(4), f64(0.25)
HALF_PI = f64(1.5707963267948966)
SINE = tuple(f64((-1) ** i / factorial(2 * i + 1)) for i in range(8))
COSINE = tuple(f64((-1) ** i / factorial(2 * i)) for i in range(8))


def _pieces() -> tuple[np.float64, ...]:
    found = []
    for i in range(_PIECES):
        down = _TWO_OVER_PI_BITS - _PIECE_BITS * (i + 1)
        bits = (_TWO_OVER_PI >> down) & ((1 << _PIECE_BITS) - 1)
        found.append(f64(bits * 2.0 ** (-_PIECE_BITS * (i + 1))))
    return tuple(found)


PIECES = _pieces()


def quarter_turns(x: Values) -> tuple[Values, Values]:
    """(n, f) with x·2/π = n + f mod 4, n one of 0 1 2 3 4, |f| ≤ ½, in float64."""
    wide, rest = x.astype(f64), f64(0)
    products = [wide * piece for piece in PIECES]
    total, *others = [product - _FOUR * np.rint(product * _QUARTER) for product in products]
    for product in others:
        s = total + product  # and what is lost by rounding it: two-sum
        moved = s - total
        rest = rest + ((total - (s - moved)) + (product - moved))
        total = s
    turns = np.rint(total)
    f = (total - turns) + rest
    n = turns - _FOUR * np.floor(turns * _QUARTER)
    return n, f


def _wave(x: Values, first: float) -> Values:
    n, f = quarter_turns(x)
    n = n + f64(first)
    n = n - _FOUR * np.floor(n * _QUARTER)
    r = f * HALF_PI
    w = r * r
    sine, cosine = r * polynomial(w, SINE), polynomial(w, COSINE)
    odd = (n == F1) | (n == f64(3))
    y = np.where(odd, cosine, sine)
    return np.where(n >= F2, -y, y).astype(f32)


def sin(x: Values) -> Values:
    return np.where(x == ZERO, x, _wave(x, 0))


def cos(x: Values) -> Values:
    return _wave(x, 1)
