"""The activations of recurrent layers: jitted and numpy the same bits, and near the float64 value."""

import numba
import numpy as np
import oracle
import oracle_recurrent
import pytest

from dynq_numba.kernels.base.jit import JIT_ENABLED
from dynq_numba.kernels.recurrent import activations as recurrent_activations
from dynq_numba.kernels.recurrent import reference_activations as reference_recurrent_activations

F32 = np.float32
NAMES = sorted(reference_recurrent_activations.ACTIVATIONS)
#: Worst error in ulp of the result, with the parameters below; sums of two terms are held to the larger one's.
ULP = {"softplus": 6, "elu": 10, "softsign": 2, "tanh": 4, "sigmoid": 4, "scaledtanh": 6}


def inputs(rng):
    bits = rng.integers(0, 2**32, 200_000, dtype=np.uint64).astype(np.uint32).view(F32)
    near = (rng.standard_normal(200_000) * 2.0 ** rng.integers(-12, 6, 200_000)).astype(F32)
    special = np.array([0, -0.0, np.inf, -np.inf, np.nan, 1, -1, 88, 89, -103, -104, -105, 1e-45, -1e-45, 3e38], F32)
    return np.concatenate([bits, near, special])


def test_both_have_the_same_names():
    assert set(NAMES) == set(recurrent_activations.ACTIVATIONS) == set(oracle_recurrent.ACTIVATIONS)


@pytest.mark.skipif(not JIT_ENABLED, reason="nothing is compiled")
@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("pair", [(0.3, 0.7), (1.0, 0.0), (-2.0, 1.5)], ids=str)
@np.errstate(all="ignore")
def test_jitted_and_numpy_have_the_same_bits(rng, name, pair):
    function, (alpha, beta) = recurrent_activations.ACTIVATIONS[name], map(F32, pair)

    @numba.njit(error_model="numpy")
    def all_of(x, alpha, beta):
        out = np.empty_like(x)
        for i in range(len(x)):
            out[i] = function(x[i], alpha, beta)
        return out

    x = inputs(rng)
    expected = reference_recurrent_activations.ACTIVATIONS[name][0](x, alpha, beta)
    oracle.assert_same_bits(all_of(x, alpha, beta), expected.astype(F32), name)


@pytest.mark.parametrize("name", NAMES)
@np.errstate(all="ignore")
def test_near_the_float64_value(rng, name):
    alpha, beta = F32(0.3), F32(0.7)
    x = inputs(rng)
    x = x[np.isfinite(x) & (np.abs(x) < 1e30)]
    got = reference_recurrent_activations.ACTIVATIONS[name][0](x, alpha, beta).astype(np.float64)
    wanted = oracle_recurrent.ACTIVATIONS[name](x.astype(np.float64), np.float64(alpha), np.float64(beta))
    size = np.abs(alpha * x.astype(np.float64)) + beta if name in ("affine", "hardsigmoid") else np.abs(wanted)
    step = np.spacing(np.maximum(size, 2.0**-120).astype(F32)).astype(np.float64)
    assert (np.abs(got - wanted) / step).max() <= ULP.get(name, 2)
