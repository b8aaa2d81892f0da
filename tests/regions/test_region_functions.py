"""Functions of reference_more.py beside numpy in float64 and longdouble: their bounds, their bits."""

from __future__ import annotations

import hashlib

import numpy as np
import pytest
from regions import of, run, same, special
from test_region_operators import patterns, ulps

import dynq_numba as dq
from dynq_numba.kernels.region.reference import evaluate

F, D = "float32", "float64"
ROUNDED = {
    "Tan": np.tan, "Asin": np.arcsin, "Acos": np.arccos, "Atan": np.arctan, "Sinh": np.sinh, "Cosh": np.cosh,
    "Asinh": np.arcsinh, "Acosh": np.arccosh, "Atanh": np.arctanh,
}  # fmt: skip


def inputs():
    """All exponents; the neighbourhoods of 0, of 1 and of what lies between."""
    rng = np.random.default_rng(5)
    near = [
        rng.uniform(-1, 1, 20000),
        1 + 1e-3 * rng.standard_normal(20000),
        3 * rng.standard_normal(20000),
        special(F),
    ]
    return np.concatenate([patterns(), *near]).astype(F)


@pytest.mark.parametrize("name", ROUNDED)
def test_functions_of_float32_are_rounded_once(name):
    x = inputs()
    with np.errstate(all="ignore"):
        want = ROUNDED[name](x.astype(D))
    assert ulps(evaluate(of(name, F), (x,))[0], want) <= 0.501


def wide():
    rng = np.random.default_rng(6)
    edges = [-745.2, -745.1, -744, -710, -37, 36, 709.7, 709.79, 710, 1e-310, 5e-324, 2.3e-308]
    return np.concatenate([
        30 * rng.standard_normal(40000), 300 * rng.standard_normal(40000), np.exp(100 * rng.standard_normal(40000)),
        1 + 1e-3 * rng.standard_normal(20000), 1e-5 * rng.standard_normal(10000), special(D), edges,
    ])  # fmt: skip


def softplus(x):
    return np.where(x != x, x, np.where(x > 0, x, 0) + np.log1p(np.exp(-np.abs(x))))


@pytest.mark.parametrize(
    "name, oracle",
    [("Exp", np.exp), ("Log", np.log), ("Sigmoid", lambda x: 1 / (1 + np.exp(-x))), ("Softplus", softplus)],
)
def test_functions_of_float64_are_within_four_of_its_last_places(name, oracle):
    x = wide()
    (got,) = evaluate(of(name, D), (x,))
    with np.errstate(all="ignore"):
        want = oracle(x.astype(np.longdouble)).astype(D)
    finite = np.isfinite(want)
    assert np.array_equal(got[~finite], want[~finite], equal_nan=True)
    assert (np.abs(got[finite] - want[finite]) / np.spacing(np.abs(want[finite]))).max() <= 4


#: sha256 of results on `inputs()` and `wide()`: the same on every machine, in every version.
DIGESTS = {
    "Tan": "c4608b7e5209530c", "Asin": "1588dfb974530de8", "Acos": "2984eeb6a8e8d9ba",
    "Atan": "798d7da62e2d2cb8", "Sinh": "fafa3689e05b7c5e", "Cosh": "0b26f119f6b6ab67",
    "Asinh": "b662fe340fab18ab", "Acosh": "9518a867769cad2a", "Atanh": "1a18b670fd43ef99",
    "Exp": "4961fcd768ba3cb2", "Log": "2e7aae155a53b588", "Sigmoid": "84090f24af23c6ac",
    "Softplus": "4fafe61c3192a9f0",
}  # fmt: skip


def digest(name):
    x = inputs() if name in ROUNDED else wide()
    (got,) = evaluate(of(name, x.dtype.name), (x,))
    return hashlib.sha256(np.where(np.isnan(got), np.nan, got).tobytes()).hexdigest()[:16]


@pytest.mark.parametrize("name", [*ROUNDED, "Exp", "Log", "Sigmoid", "Softplus"])
def test_their_bits_never_change(name):
    assert digest(name) == DIGESTS[name]


@pytest.mark.parametrize("kind", (F, D))
@pytest.mark.parametrize("name, oracle", [("Mod", np.mod), ("Fmod", np.fmod)])
def test_remainders_of_floats_are_those_of_numpy(name, oracle, kind):
    rng = np.random.default_rng(7)
    values = np.concatenate([special(kind), rng.standard_normal(200) * np.exp(20 * rng.standard_normal(200))]).astype(
        kind
    )
    a, b = np.repeat(values, values.size), np.tile(values, values.size)
    with np.errstate(all="ignore"):
        want = oracle(a, b)
    for isa in dq.available_isas():
        assert same(run(of(name, kind, kind), (a, b), isa)[0], want)


@pytest.mark.parametrize("kind", ("int8", "uint8", "int32", "uint32", "int64", "uint64"))
def test_shifts_are_those_of_whole_numbers(kind):
    bits = 8 * np.dtype(kind).itemsize
    a, b = (
        np.repeat(special(kind), 8),
        np.tile(np.array([0, 1, 3, bits - 1, bits, bits + 1, 100, -1]).astype(kind), special(kind).size),
    )
    left = [0 if not 0 <= y < bits else x << y for x, y in zip(a.tolist(), b.tolist(), strict=True)]
    right = [x >> y if 0 <= y < bits else -1 if x < 0 else 0 for x, y in zip(a.tolist(), b.tolist(), strict=True)]
    for name, want in (("BitShiftLeft", left), ("BitShiftRight", right)):
        whole = np.array([n % 2**bits for n in want], f"u{bits // 8}").view(kind)
        for isa in dq.available_isas():
            assert same(run(of(name, kind, kind), (a, b), isa)[0], whole)
