"""float32 exp, tanh, erf and sigmoid, and the activations composed of them: the same bits on every CPU.

It uses only + - * /, compare, select and bit casts, each rounded to float32: no libm, no fused multiply-add, no branch.
So LLVM vectorises the loops around them at any width, and `reference.py` repeats them in numpy
operation for operation. Polynomials are in Horner form, which has the fewest operations.

    exp       x = n·ln2 + r, |r| ≤ ln2/2: n by adding 1.5·2^23 (rounds to nearest), ln2 in two parts whose first
              times n is exact (Cody & Waite 1980); e^r = 1 + r + r²·p(r), deg p = 3. 2^n is multiplied in two
              steps, because 2^128 and 2^-150 are not normal float32: so inf, denormals and 0 are right.
    sigmoid   e = exp(-|x|);  (1 if x ≥ 0 else e) / (1 + e). Nothing cancels or overflows.
    tanh      2nq/(n² + q²), the double-angle formula on n/q = x·P(x²)/Q(x²) ≈ tanh(x/2). P(0) = Q(0)/2. Any Q(0)
              works; 1.86 keeps sums just below a power of two, where the relative rounding error is smallest.
    erf       g(t) = t·(c1 - c3·t² + t⁴) on t = x·P(x²), deg P = 6, and no division.
Both outer functions are flat where they reach 1 (g' = 0, for erf g" = 0 too: a smoothstep), so for large |x| neither
the fit nor the rounding errors of the inner function matter. Low degrees are enough, the result never exceeds 1
(checked for every input), and beyond the clamps it is exactly ±1.

Coefficients: minimax by Lawson's iteratively reweighted least squares in float64 on the inner function, weighted
with the slope of the outer one; then a random search over float32 neighbours, and over the clamp, for the smallest
error of this very code. Background: Cody & Waite, Software Manual for the Elementary Functions (1980); Muller,
Elementary Functions (3rd ed., 2016).

Worst error in ulp of the float64 value, over all finite inputs, by `python -m bench exhaustive_activations`:
    exp 2.55    sigmoid 3.59    tanh 3.70    erf 3.46
gelu, gelu_tanh, silu have bounds: tests/operators/rowwise/test_activations.py.
"""

from __future__ import annotations

from typing import Any

from ..base.jit import kernel
from .reference import (
    ERF_C1,
    ERF_C3,
    ERF_MAX,
    ERF_P,
    EXP_MAX,
    EXP_MIN,
    EXP_P,
    GELU_MIN,
    GELU_TANH_1,
    GELU_TANH_3,
    GELU_TANH_MIN,
    HALF,
    LN2_HIGH,
    LN2_LOW,
    LOG2_E,
    MAGIC_EXP,
    MAGIC_SIGMOID,
    ONE,
    SILU_MIN,
    SQRT_HALF,
    TANH_MAX,
    TANH_P,
    TANH_Q,
    TWO_M24,
    ZERO,
    f32,
    u32,
)


@kernel
def at_least(x, low):
    """max(x, low), but NaN where x is NaN: one instruction. Python's max leaves open which one a NaN yields."""
    below = x < low
    return low if below else x


@kernel
def at_most(x, high):
    above = x > high
    return high if above else x


@kernel
def _exp_parts(x, magic):
    """(e^r, bits of n + magic) for x in [EXP_MIN, EXP_MAX]; a NaN x makes e^r NaN."""
    shifted = x * LOG2_E + magic
    n = shifted - magic
    r = (x - n * LN2_HIGH) - n * LN2_LOW
    p = ((EXP_P[3] * r + EXP_P[2]) * r + EXP_P[1]) * r + EXP_P[0]
    return (r * r * p + r) + ONE, f32(shifted).view(u32)


@kernel
def power_of_two(biased):
    """The float32 whose exponent field is the low byte of `biased`."""
    return u32(biased << u32(23)).view(f32)


@kernel
def exp(x):
    x = at_least(x, EXP_MIN)
    x = at_most(x, EXP_MAX)
    p, bits = _exp_parts(x, MAGIC_EXP)
    half = u32(bits >> u32(1))
    return p * power_of_two(half) * power_of_two(u32(bits - half))


@kernel
def sigmoid(x):
    y = -abs(x)
    y = at_least(y, EXP_MIN)
    p, bits = _exp_parts(y, MAGIC_SIGMOID)
    e = p * power_of_two(bits) * TWO_M24
    return (e if x < ZERO else ONE) / (ONE + e)


@kernel
def tanh(x):
    x = at_least(x, -TANH_MAX)
    x = at_most(x, TANH_MAX)
    s = x * x
    n = x * ((TANH_P[2] * s + TANH_P[1]) * s + TANH_P[0])
    q = ((TANH_Q[3] * s + TANH_Q[2]) * s + TANH_Q[1]) * s + TANH_Q[0]
    return (n + n) * q / (n * n + q * q)


@kernel
def erf(x):
    x = at_least(x, -ERF_MAX)
    x = at_most(x, ERF_MAX)
    s = x * x
    p = ((ERF_P[6] * s + ERF_P[5]) * s + ERF_P[4]) * s + ERF_P[3]
    t = x * (((p * s + ERF_P[2]) * s + ERF_P[1]) * s + ERF_P[0])
    u = t * t
    return t * ((u - ERF_C3) * u + ERF_C1)


@kernel
def relu(x):
    """max(x, 0); NaN stays NaN and -0 stays -0."""
    return at_least(x, ZERO)


@kernel
def gelu(x):
    """x·(1 + erf(x/√2))/2."""
    x = at_least(x, GELU_MIN)
    return x * (HALF * (ONE + erf(x * SQRT_HALF)))


@kernel
def gelu_tanh(x):
    """x·(1 + tanh(u))/2, u = √(2/π)·(x + 0.044715·x³), as x·sigmoid(2u): the same, and nothing cancels."""
    x = at_least(x, GELU_TANH_MIN)
    return x * sigmoid(x * (GELU_TANH_3 * (x * x) + GELU_TANH_1))


@kernel
def silu(x):
    """x·sigmoid(x)."""
    x = at_least(x, SILU_MIN)
    return x * sigmoid(x)


#: The public activations by name.
ACTIVATIONS: dict[str, Any] = {
    "relu": relu, "gelu": gelu, "gelu_tanh": gelu_tanh, "silu": silu, "tanh": tanh, "sigmoid": sigmoid,
}
