"""smooth: the factors, what they leave as it was, and what is refused."""

import ml_dtypes
import numpy as np
import pytest

import dynq_numba as dq

F32 = np.float32


@pytest.mark.parametrize("alpha", [0, 0.25, 0.5, 0.9, 1])
def test_factors_are_the_formula_and_the_product_stays(rng, alpha):
    weight, amax = rng.standard_normal((7, 33)).astype(F32), np.exp(3 * rng.standard_normal(33)).astype(F32)
    smoothed = dq.smooth(weight, amax, alpha)
    wanted = [float(a) ** alpha / max(abs(float(w)) for w in column) ** (1 - alpha)
              for a, column in zip(amax, weight.T, strict=True)]  # fmt: skip
    np.testing.assert_allclose(smoothed.factors, wanted, rtol=1e-6)
    np.testing.assert_array_equal(smoothed.weight, weight * smoothed.factors)
    assert smoothed.weight.dtype == smoothed.factors.dtype == F32
    x = rng.standard_normal((5, 33)) * amax
    exact = x @ weight.T.astype(float)
    given = (x / smoothed.factors) @ smoothed.weight.T.astype(float)
    assert (abs(given - exact) <= 2.0**-23 * (abs(x) @ abs(weight.T.astype(float)))).all()


def test_columns_of_zeros_stay(rng):
    weight, amax = rng.standard_normal((4, 6)).astype(F32), np.ones(6, F32)
    weight[:, 2], amax[4] = 0, 0
    for alpha in (0, 0.5, 1):
        smoothed = dq.smooth(weight, amax, alpha)
        assert smoothed.factors[2] == smoothed.factors[4] == 1
        np.testing.assert_array_equal(smoothed.weight[:, [2, 4]], weight[:, [2, 4]])
    assert dq.smooth(weight[:0], amax).weight.shape == (0, 6)
    assert dq.smooth(weight[:, :0], amax[:0]).factors.shape == (0,)


def test_a_loud_column_costs_less_after_smoothing(rng):
    """What it is for: one column of x a hundred times as loud as the others."""
    x, weight = rng.standard_normal((64, 128)).astype(F32), rng.standard_normal((32, 128)).astype(F32)
    x[:, 5] *= 100
    weight[:, 5] /= 100
    exact = x.astype(float) @ weight.T.astype(float)
    smoothed = dq.smooth(weight, abs(x).max(axis=0))
    plain = dq.linear(x, dq.pack_linear(weight))
    better = dq.linear((x / smoothed.factors).astype(F32), dq.pack_linear(smoothed.weight))
    errors = [np.linalg.norm(y - exact) for y in (plain, better)]
    assert errors[1] < 0.2 * errors[0], errors


def test_other_floats_and_strides(rng):
    weight, amax = rng.standard_normal((4, 6)), np.ones(6)
    wanted = dq.smooth(weight.astype(F32), amax.astype(F32))
    for given in (weight, np.asfortranarray(weight), np.repeat(weight, 2, axis=1)[:, ::2]):
        np.testing.assert_array_equal(dq.smooth(given, amax).weight, wanted.weight)
    half = weight.astype(ml_dtypes.bfloat16)
    np.testing.assert_array_equal(dq.smooth(half, amax).factors, dq.smooth(half.astype(F32), amax).factors)


def test_errors_name_the_argument():
    weight, amax = np.ones((2, 3), F32), np.ones(3, F32)
    for error, message, arguments in (
        (TypeError, "weight must be a numpy array", ([[1.0]], amax)),
        (ValueError, "weight must be finite", (weight * np.nan, amax)),
        (ValueError, "weight must have 2 dimensions", (amax, amax)),
        (TypeError, "activation_amax must be a numpy array", (weight, [1.0])),
        (ValueError, r"activation_amax must have shape \(3,\)", (weight, amax[:2])),
        (ValueError, "activation_amax must be finite", (weight, amax * np.inf)),
        (ValueError, "activation_amax must be finite and not negative", (weight, -amax)),
        (TypeError, "alpha must be a number", (weight, amax, "0.5")),
        (TypeError, "alpha must be a number", (weight, amax, True)),
        (ValueError, "alpha must be from 0 to 1", (weight, amax, 1.5)),
        (ValueError, "alpha must be from 0 to 1", (weight, amax, np.nan)),
        (ValueError, "too far apart", (weight * F32(10), amax * F32(3e38), 1)),
    ):
        with pytest.raises(error, match=message):
            dq.smooth(*arguments)
