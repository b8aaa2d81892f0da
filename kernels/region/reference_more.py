"""Functions in float64, and with their help the inverse and hyperbolic ones in float32: exp, log, tan, atan, asinh …

    exp(x)       x = k·ln 2 + r, |r| ≤ ½·ln 2;  2^k·e^r, e^r by its series; 2^k in two steps: results may be subnormal
    log(x)       x = 2^k·m with m in [√½, √2), f = m - 1, s = f/(2 + f);  log m = f - (f²/2 - s·(f²/2 + R)),
                 R = s²·(2/3 + s²·2/5 …)
    softplus(x)  max(x, 0) + log(1 + e^-|x|);  log(1 + e) = log u + (e - (u - 1))/u, u = 1 + e
    tan(x)       x·2/π = n + f as in reference_functions.py;  sine/cosine, or -cosine/sine
    atan(x)      series in t², t ≤ tan π/8, after x → 1/x and x → (x - 1)/(x + 1)
    asin, acos   atan(x/√(1 - x²)), 2·atan √((1 - x)/(1 + x))
    sinh, cosh   of e^x and e^-x; sinh of |x| < ½ by its series
    asinh, acosh, atanh     by log, or where that would cancel by 2·artanh(s) of reference_functions.py

Only operations that IEEE 754 defines, no fused multiply-add: the same bits on every machine. exp, log, softplus and
sigmoid of float64 are within four of its last places. The functions of float32 are computed in float64 and rounded
once. tests/regions/test_region_functions.py holds all to their bounds. Special values are those of C's functions.
"""

from __future__ import annotations

from math import factorial
from typing import Any

import numpy as np

from ..activations.reference import ZERO
from .reference_functions import (
    BIAS,
    COSINE,
    F1,
    F2,
    HALF_PI,
    NAN,
    ROOT,
    SINE,
    UNITS,
    UP,
    f32,
    f64,
    polynomial,
    quarter_turns,
    twice_artanh,
    u64,
)

#: Arrays of numpy, or the lanes of isa/traced.py.
Values = Any

_ZERO, _HALF, _INF, _NAN = f64(0), f64(0.5), f64(np.inf), f64(np.nan)
#: Beyond these e^x is infinite, or 0.
_MOST, _LEAST = f64(710), f64(-746)
#: ln 2 in two pieces, the first with so few digits that k times it is exact.
_LN2_HIGH, _LN2_LOW, _LOG2_E = f64(6.93147180369123816490e-01), f64(1.90821492927058770002e-10), f64(1 / np.log(2))
_EXP = tuple(f64(1 / factorial(i)) for i in range(2, 15))
_LOG = tuple(f64(2 / (2 * i + 3)) for i in range(12))
_MAGIC = f64(1.5 * 2**52 + 1023)
_NORMAL, _LIFT, _LIFTED = f64(2.0**-1022), f64(2.0**54), f64(54)
_ATAN = tuple(f64((-1) ** i / (2 * i + 1)) for i in range(18))
_SINH = tuple(f64(1 / factorial(2 * i + 1)) for i in range(7))
#: tan π/8; π/4; up to where asinh and the like would cancel; the largest s of twice_artanh.
_EIGHTH, _QUARTER_PI, _SMALL, _SIXTH = f64(2**0.5 - 1), f64(np.pi / 4), f64(0.25), f64(1 / 6)


def _power_of_two(k: Values) -> Values:
    return ((k + _MAGIC).view(u64) << UP).view(f64)


def exp(x: Values) -> Values:
    """e^x, in float64."""
    bounded = np.where(x > _MOST, _MOST, np.where(x < _LEAST, _LEAST, x))
    k = np.rint(bounded * _LOG2_E)
    r = (bounded - k * _LN2_HIGH) - k * _LN2_LOW
    half = np.rint(k * _HALF)
    y = (F1 + (r + r * r * polynomial(r, _EXP))) * _power_of_two(half) * _power_of_two(k - half)
    return np.where(x == x, y, x)


def log(x: Values) -> Values:
    """The natural logarithm, in float64."""
    tiny = x < _NORMAL
    bits = np.where(tiny, x * _LIFT, x).view(u64)
    biased = (bits - ROOT + BIAS) >> UP
    f = (bits - (biased << UP) + BIAS).view(f64) - F1
    k = (biased | UNITS.view(u64)).view(f64) - (UNITS + f64(1023))
    k = np.where(tiny, k - _LIFTED, k)
    s, half = f / (F2 + f), _HALF * f * f
    w = s * s
    y = k * _LN2_HIGH - ((half - (s * (half + w * polynomial(w, _LOG)) + k * _LN2_LOW)) - f)
    y = np.where(x < _INF, y, x)  # and NaN
    return np.where(x > _ZERO, y, np.where(x == _ZERO, -_INF, np.where(x < _ZERO, _NAN, x)))


def sigmoid(x: Values) -> Values:
    """1/(1 + e^-x), in float64."""
    e = exp(-np.abs(x))
    return np.where(x < _ZERO, e, F1) / (F1 + e)


def softplus(x: Values) -> Values:
    """log(1 + e^x), in float64."""
    e = exp(-np.abs(x))
    u = F1 + e
    return np.where(x < _ZERO, _ZERO, x) + (log(u) + (e - (u - F1)) / u)


# -- of float32 -------------------------------------------------------------------------------------
def _wide_atan(x: Values) -> Values:
    size = np.abs(x)
    large = size > F1
    t = np.where(large, F1 / size, size)
    middle = t > _EIGHTH
    t = np.where(middle, (t - F1) / (t + F1), t)
    y = t * polynomial(t * t, _ATAN)
    y = np.where(middle, _QUARTER_PI + y, y)
    y = np.where(large, HALF_PI - y, y)
    return np.where(x < _ZERO, -y, y)


def _zero_stays(x: Values, y: Values) -> Values:
    """y rounded to float32; where x is ±0, x itself."""
    return np.where(x == ZERO, x, y.astype(f32))


def tan(x: Values) -> Values:
    n, f = quarter_turns(x)
    r = f * HALF_PI
    w = r * r
    sine, cosine = r * polynomial(w, SINE), polynomial(w, COSINE)
    odd = (n == F1) | (n == f64(3))
    return _zero_stays(x, np.where(odd, -cosine, sine) / np.where(odd, sine, cosine))


def atan(x: Values) -> Values:
    return _zero_stays(x, _wide_atan(x.astype(f64)))


def asin(x: Values) -> Values:
    wide = x.astype(f64)
    return _zero_stays(x, _wide_atan(wide / np.sqrt((F1 - wide) * (F1 + wide))))


def acos(x: Values) -> Values:
    wide = x.astype(f64)
    return (F2 * _wide_atan(np.sqrt((F1 - wide) / (F1 + wide)))).astype(f32)


def sinh(x: Values) -> Values:
    wide = x.astype(f64)
    large = (exp(wide) - exp(-wide)) * _HALF
    return _zero_stays(x, np.where(np.abs(wide) < _HALF, wide * polynomial(wide * wide, _SINH), large))


def cosh(x: Values) -> Values:
    wide = x.astype(f64)
    return ((exp(wide) + exp(-wide)) * _HALF).astype(f32)


def _log_from_one(t: Values) -> Values:
    """log(1 + t) of t ≥ 0, to float32's places."""
    return np.where(t < _SMALL, twice_artanh(t / (F2 + t)), log(F1 + t))


def asinh(x: Values) -> Values:
    wide = x.astype(f64)
    size = np.abs(wide)
    square = size * size
    y = _log_from_one(size + square / (F1 + np.sqrt(F1 + square)))
    y = np.where(size < _INF, y, size)
    return _zero_stays(x, np.where(wide < _ZERO, -y, y))


def acosh(x: Values) -> Values:
    t = x.astype(f64) - F1
    y = _log_from_one(t + np.sqrt(t * (t + F2))).astype(f32)
    return np.where(t < _ZERO, NAN, y)


def atanh(x: Values) -> Values:
    wide = x.astype(f64)
    y: Values = np.where(np.abs(wide) < _SIXTH, twice_artanh(wide), log((F1 + wide) / (F1 - wide)))
    return _zero_stays(x, y * _HALF)
