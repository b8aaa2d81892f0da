"""Activations: the jitted functions against their numpy twins bit for bit, and against float64 under derived bounds.

`python -m bench exhaustive_activations` does the float64 comparison on all 2^32 inputs; here is a sample.
"""

import math
import re

import numpy as np
import pytest

from dynq_numba.kernels.activations import jitted as activations
from dynq_numba.kernels.activations import reference
from dynq_numba.kernels.base import jit

BASIC = ("exp", "tanh", "erf", "sigmoid")
PUBLIC = ("relu", "gelu", "gelu_tanh", "silu", "tanh", "sigmoid")
NAMES = sorted({*BASIC, *PUBLIC})

EPS = 2.0**-24  # half an ulp of 1: the relative error of one rounding
TINY = 2.0**-149  # the smallest denormal
ULPS = 4  # promised for the four basic functions
INF, NAN = np.float32(np.inf), np.float32(np.nan)


def from_bits(bits):
    return np.asarray(bits).astype(np.uint32).view(np.float32)


def exponent_edges():
    """For both signs and every exponent: the three smallest, the middle and the three largest significands."""
    top = np.arange(512, dtype=np.uint64)[:, None] << np.uint64(23)
    return from_bits((top + np.array([0, 1, 2, 1 << 22, 0x7FFFFD, 0x7FFFFE, 0x7FFFFF], np.uint64)).ravel())


def patterns(count):
    """`count` of all 2^32 bit patterns, a prime stride apart, and every exponent's edges."""
    stride = {1 << 22: 1021, 1 << 16: 65521}[count]
    return np.concatenate([from_bits(np.arange(count, dtype=np.uint64) * np.uint64(stride)), exponent_edges()])


def samples():
    """Few enough for a Python oracle: all magnitudes, and densely where the functions bend."""
    near = np.random.default_rng(7).uniform(-1, 1, (1 << 14, 4)) * [1, 12, 110, 4]
    x = np.concatenate([patterns(1 << 16), near.astype(np.float32).ravel()])
    return x[np.isfinite(x)]


def jitted(name):
    """The function as kernels use it: in a loop over an array."""
    function = getattr(activations, name)

    @jit.kernel(cached=False)
    def run(x, out):
        for i in range(x.size):
            out[i] = function(x[i])

    def call(x):
        out = np.empty_like(x)
        run(x, out)
        return out

    call.dispatcher = run
    return call


@pytest.fixture(scope="module", params=NAMES)
def pair(request):
    return request.param, jitted(request.param)


@np.errstate(over="ignore", under="ignore")
def exact(name, x):
    """The float64 value; `math` where numpy has no such function or cancels."""
    x = x.astype(np.float64)
    erf, erfc = np.vectorize(math.erf, otypes=[float]), np.vectorize(math.erfc, otypes=[float])
    match name:
        case "exp" | "tanh":
            return getattr(np, name)(x)
        case "erf":
            return erf(x)
        case "relu":
            return np.maximum(x, 0)
        case "sigmoid":
            return 1 / (1 + np.exp(-x))
        case "silu":
            return x / (1 + np.exp(-x))
        case "gelu":
            return 0.5 * x * erfc(-x * math.sqrt(0.5))
        case "gelu_tanh":
            return x / (1 + np.exp(-math.sqrt(8 / math.pi) * (x + 0.044715 * x**3)))


def ulp(y):
    """The distance between float32 neighbours at |y|; the denormals' below 2^-126."""
    return 2.0 ** (np.clip(np.frexp(y)[1] - 1, -126, 127) - 23.0)


def bound(name, x, y):
    """What the roundings can add up to, to first order; `y` is the float64 value.

    gelu       z = x/√2 has two roundings, worth |z·erf'(z)| ≤ 0.49 each; erf ≤ 1 adds 4 ulp, that is 4 eps, and
               1 + erf one more eps: 6 eps of a sum in [0, 2]. Halved, times x, rounded: (3 + 1) eps·|x|. For x ≥ 0
               the sum is at least 1, so the same is relative: 7 eps·|y|. For x < 0 the sum cancels; that is the
               formula's own property, and |x| ≤ 6 where the result is not 0.
    silu       4 ulp of the sigmoid are at most 8 eps, the product one more; in denormal sigmoids they are absolute.
    gelu_tanh  as silu, and v = 2u has at most 5 roundings; they enter as v·(1 - sigmoid(v)).
    """
    x = x.astype(np.float64)
    match name:
        case "relu":
            return 0 * y
        case "gelu":
            return np.where(x < 0, 4 * EPS * np.minimum(-x, 6), 7 * EPS * np.abs(y)) + TINY
        case "silu":
            return 9 * EPS * np.abs(y) + (4 * np.minimum(np.abs(x), 110) + 1) * TINY
        case "gelu_tanh":
            near = np.clip(x, -20, 20)  # beyond, y is 0 or x
            v = math.sqrt(8 / math.pi) * (near + 0.044715 * near**3)
            return (9 + 5 * np.abs(v) / (1 + np.exp(v))) * EPS * np.abs(y) + (4 * np.abs(near) + 1) * TINY
        case _:
            return ULPS * ulp(y)


def test_public_names():
    assert set(activations.ACTIVATIONS) == set(reference.ACTIVATIONS) == set(PUBLIC)
    for name in PUBLIC:
        assert activations.ACTIVATIONS[name] is getattr(activations, name)
        assert reference.ACTIVATIONS[name] is getattr(reference, name)


def test_same_bits_as_numpy(pair):
    name, run = pair
    x = patterns(1 << 22)
    got, want = run(x), getattr(reference, name)(x)
    assert want.dtype == np.float32
    differ = (got.view(np.uint32) != want.view(np.uint32)) & ~(np.isnan(got) & np.isnan(want))
    assert not differ.any(), (x[differ][:5], got[differ][:5], want[differ][:5])
    assert np.array_equal(np.isnan(got), np.isnan(x))  # NaN if and only if the input is


def test_error_against_float64(pair):
    name, run = pair
    x = samples()
    y = exact(name, x)
    overflow = np.abs(y) >= 2.0**128 * (1 - 2.0**-25)  # rounds to infinity
    got = run(x)
    assert (got[overflow] == np.sign(y[overflow]) * INF).all()
    x, y, got = x[~overflow], y[~overflow], got[~overflow].astype(np.float64)
    excess = np.abs(got - y) - bound(name, x, y)
    assert excess.max() <= 0, (x[excess.argmax()], got[excess.argmax()], y[excess.argmax()])


SPECIAL = {  # at      -inf, -3e38, -0, 0, 3e38, inf
    "exp": (0, 0, 1, 1, INF, INF),
    "tanh": (-1, -1, -0.0, 0, 1, 1),
    "erf": (-1, -1, -0.0, 0, 1, 1),
    "sigmoid": (0, 0, 0.5, 0.5, 1, 1),
    "relu": (0, 0, -0.0, 0, 3e38, INF),
    "gelu": (-0.0, -0.0, -0.0, 0, 3e38, INF),
    "gelu_tanh": (-0.0, -0.0, -0.0, 0, 3e38, INF),
    "silu": (-0.0, -0.0, -0.0, 0, 3e38, INF),
}


def test_special_values(pair):
    name, run = pair
    x = np.array([-INF, -3e38, -0.0, 0, 3e38, INF], np.float32)
    want = np.array(SPECIAL[name], np.float32)
    np.testing.assert_array_equal(run(x).view(np.uint32), want.view(np.uint32))
    assert np.isnan(run(np.array([NAN, -NAN]))).all()


def test_exp_over_and_underflow():
    x = np.array([88.72283, 88.72284, -87.33655, -103.27893, -103.97207, -103.97209], np.float32)
    assert np.array_equal(np.isinf(jitted("exp")(x)), [False, True, False, False, False, False])
    assert np.array_equal(jitted("exp")(x) == 0, [False, False, False, False, False, True])


@pytest.mark.parametrize("name", ["tanh", "erf"])
def test_odd_and_at_most_one(name):
    run, x = jitted(name), patterns(1 << 22)
    x = x[~np.isnan(x)]
    y = run(x)
    assert np.abs(y).max() == 1
    np.testing.assert_array_equal(run(-x), -y)


def test_loops_are_vectorised(pair):
    """Packed float32 arithmetic (a call or branch left in the loop would prevent it), no float64, no fused rounding."""
    _, run = pair
    run(np.zeros(1, np.float32))
    (text,) = run.dispatcher.inspect_llvm().values()
    assert "x float>" in text and "double" not in text
    (assembly,) = run.dispatcher.inspect_asm().values()
    assert not re.search(r"\bv?fn?m(add|sub|la|ls)", assembly)
