"""Activation, residual and epilogue: fused into the tile they give the bits of the separate steps."""

import math

import numba
import numpy as np
import oracle
import problems
import pytest

import dynq_numba as dq
from dynq_numba.kernels.activations import reference as reference_activations

F32 = np.float32
SIZES = [(1, 9, 70), (3, 40, 33), (13, 9, 17), (15, 67, 70), (29, 8, 200)]
each_activation = pytest.mark.parametrize("activation", oracle.ACTIVATIONS)


def twin(name, y):
    """The numpy twin of an activation; none is the identity."""
    return y if name is None else getattr(reference_activations, name)(y)


@numba.njit
def clamp_and_scale(v):
    """A branch, and a float64 constant: numba computes v * 0.1 in float64, the result is rounded to float32."""
    if v < -1.5:
        return np.float32(-1.5)
    return np.float32(v * 0.1 + 0.3)


def compose(y, activation, residual, epilogue):
    """The steps one after the other on the plain result `y`."""
    y = twin(activation, y)
    if residual is not None:
        y = y + residual
    if epilogue is not None:
        y = np.array([epilogue(v) for v in y.ravel()], F32).reshape(y.shape)
    return y


@pytest.mark.parametrize("activation", [None, *oracle.ACTIVATIONS])
def test_fused_steps_equal_separate_steps(isa, rng, activation):
    for m, k, n in SIZES:
        x, weight, bias = problems.normal_problem(rng, m, k, n)
        w, plain = dq.pack_linear(weight, bias, granularity="per_channel"), oracle.linear(x, oracle.pack(weight, bias))
        residual = rng.standard_normal((m, n)).astype(F32)
        for add in (None, residual):
            for threads in (1, 2):
                y = dq.linear(x, w, activation=activation, residual=add, threads=threads)
                oracle.assert_same_bits(y, compose(plain, activation, add, None), f"{(m, k, n)} threads={threads}")


@pytest.mark.parametrize("scheme", oracle.SCHEMES, ids=oracle.scheme_id)
def test_every_scheme_is_fused_alike(isa, rng, scheme):
    for m in (1, 15):
        x, weight, bias = problems.normal_problem(rng, m, 67, 33)
        w, plain = dq.pack_linear(weight, bias, **scheme), oracle.linear(x, oracle.pack(weight, bias, **scheme))
        residual = rng.standard_normal((m, 33)).astype(F32)
        for activation in ("relu", "gelu"):
            y = dq.linear(x, w, activation=activation, residual=residual)
            oracle.assert_same_bits(y, compose(plain, activation, residual, None), activation)


@pytest.mark.parametrize("layout", problems.LAYOUTS)
def test_residual_in_every_layout(isa, rng, layout):
    for m, k, n in SIZES:
        x, weight, bias = problems.normal_problem(rng, m, k, n)
        residual = rng.standard_normal((m, n)).astype(F32)
        view = problems.LAYOUTS[layout](residual)
        y = dq.linear(x, dq.pack_linear(weight, bias, granularity="per_channel"), residual=view)
        oracle.assert_same_bits(y, oracle.linear(x, oracle.pack(weight, bias)) + residual, f"{(m, k, n)}")


def test_residual_with_leading_axes(isa, rng):
    x, weight, bias = problems.normal_problem(rng, 12, 9, 20)
    w, plain = dq.pack_linear(weight, bias, granularity="per_channel"), oracle.linear(x, oracle.pack(weight, bias))
    whole = rng.standard_normal((4, 3, 40)).astype(F32)
    for residual in (whole[..., :20], whole[::-1, :, ::2], whole[:, ::-1, 39:19:-1]):
        y = dq.linear(x.reshape(4, 3, 9), w, activation="silu", residual=residual)
        oracle.assert_same_bits(y, compose(plain.reshape(4, 3, 20), "silu", residual, None))
    y = dq.linear(x[0], w, residual=whole[0, 0, :20])
    oracle.assert_same_bits(y, plain[0] + whole[0, 0, :20])


def activation_inputs():
    """Values over the whole float32 range, dense where the functions bend, underflow or saturate, and the specials."""
    magnitudes = np.logspace(-45.2, 38.5, 2000)
    info = np.finfo(F32)
    special = [0.0, -0.0, np.inf, -np.inf, np.nan, info.max, info.min, info.smallest_subnormal]
    dense = [np.linspace(-12, 12, 4001), np.linspace(-106, -84, 600), np.linspace(84, 106, 200)]
    with np.errstate(over="ignore"):
        return np.concatenate([special, magnitudes, -magnitudes, *dense]).astype(F32)


@each_activation
@pytest.mark.parametrize("m", [1, 15])
def test_activations_over_the_whole_range(isa, activation, m):
    """An activation of zeros leaves the bias, so the bias is what the activation sees."""
    values = activation_inputs()
    w = dq.pack_linear(np.ones((len(values), 4), F32), values, granularity="per_channel")
    y = dq.linear(np.zeros((m, 4), F32), w, activation=activation)
    oracle.assert_same_bits(y, np.tile(twin(activation, F32(0) + values), (m, 1)), "its numpy twin")
    assert np.isnan(y[:, np.isnan(values)]).all()
    finite = np.isfinite(values)
    value, bound = oracle.activation_value(activation, values[finite])
    excess = np.abs(y[0, finite] - value) - bound
    i = excess.argmax()
    assert excess[i] <= 0, f"{activation}({values[finite][i]!r}) = {y[0, finite][i]!r}, not {value[i]!r} +- {bound[i]}"


def test_epilogue_is_applied_last(isa, rng):
    for m, k, n in SIZES[1:4]:
        x, weight, bias = problems.normal_problem(rng, m, k, n)
        w, plain = dq.pack_linear(weight, bias, granularity="per_channel"), oracle.linear(x, oracle.pack(weight, bias))
        residual = rng.standard_normal((m, n)).astype(F32)
        for activation, add in [(None, None), ("tanh", residual)]:
            expected = compose(plain, activation, add, clamp_and_scale)
            for threads in (1, 2):
                y = dq.linear(x, w, activation=activation, residual=add, epilogue=clamp_and_scale, threads=threads)
                oracle.assert_same_bits(y, expected, f"{(m, k, n)} {activation}")


def scaler(factor):
    """Epilogues of one name that differ only in what they capture."""

    @numba.njit
    def scale(v):
        return v * factor

    return scale


def test_epilogues_that_share_a_name_are_not_confused(rng):
    x, weight, bias = problems.normal_problem(rng, 5, 9, 20)
    w, plain = dq.pack_linear(weight, bias, granularity="per_channel"), oracle.linear(x, oracle.pack(weight, bias))
    double, triple = scaler(F32(2)), scaler(F32(3))
    for epilogue, factor in [(double, 2), (triple, 3), (double, 2)]:
        oracle.assert_same_bits(dq.linear(x, w, epilogue=epilogue), plain * F32(factor), f"times {factor}")


@numba.njit
def bell(v):
    return math.exp(-v * v)


def test_epilogue_may_call_library_functions(rng):
    x, weight, bias = problems.normal_problem(rng, 5, 9, 20)
    w, plain = dq.pack_linear(weight, bias, granularity="per_channel"), oracle.linear(x, oracle.pack(weight, bias))
    oracle.assert_same_bits(dq.linear(x, w, epilogue=bell), compose(plain, None, None, bell))
