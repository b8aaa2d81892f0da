"""The public names inside a user's own @njit function: one compiled inference loop, the bits of the Python API."""

import itertools

import numba
import numpy as np
import oracle
import problems
import pytest

import dynq_numba as dq
from dynq_numba import dequantize, linear, matmul_integer, quantize

F32 = np.float32


@numba.njit
def plain(x, w):
    return linear(x, w)


@numba.njit
def by_attribute(x, w):
    return dq.linear(x, w, activation="gelu")


@numba.njit
def mlp(x, layers):
    """A loop over layers of one scheme and different sizes."""
    for layer in layers:
        x = linear(x, layer, activation="relu")
    return x


@numba.njit
def encoder(x, up, down, steps):
    """A custom inference loop: feed-forward blocks of mixed schemes, residual and normalisation written by hand."""
    for _ in range(steps):
        h = linear(x, up, activation="gelu")
        y = linear(h, down) + x
        for i in range(y.shape[0]):
            y[i] = y[i] - y[i].mean()
        x = y
    return x


@numba.njit
def recurrent(x, h, w_input, w_state):
    """An Elman network: the state of step t feeds step t + 1, one row at a time."""
    states = np.empty((len(x), h.shape[-1]), np.float32)
    for t in range(len(x)):
        h = np.tanh(linear(x[t], w_input) + linear(h, w_state))
        states[t] = h
    return states


@numba.njit
def quantize_and_back(x):
    q = quantize(x)
    return q.data, q.scale, q.zero_point, dequantize(q)


@numba.njit
def integer_product(a, b):
    return matmul_integer(a, b)


@numba.njit
def integer_product_with_zero_points(a, b, a_zero, b_zero):
    return matmul_integer(a, b, a_zero, b_zero)


@numba.njit
def quantized_scores(x, keys):
    """quantize and matmul_integer together: similarities of rows, rescaled by hand."""
    q, k = quantize(x), quantize(keys)
    acc = matmul_integer(q.data, k.data.T.copy(), q.zero_point, k.zero_point)
    scores = np.empty(acc.shape, np.float32)
    for i in range(acc.shape[0]):
        for j in range(acc.shape[1]):
            scores[i, j] = np.float32(acc[i, j]) * (q.scale[i] * k.scale[j])
    return scores


def layers_of(rng, sizes, **scheme):
    """Packed layers from the first size to the last."""
    parts = [problems.normal_problem(rng, 1, k, n)[1:] for k, n in itertools.pairwise(sizes)]
    return tuple(dq.pack_linear(weight / F32(8), bias, **scheme) for weight, bias in parts)


@pytest.mark.parametrize("scheme", oracle.SCHEMES, ids=oracle.scheme_id)
def test_linear_in_every_scheme(rng, scheme):
    x, weight, bias = problems.normal_problem(rng, 15, 67, 33)
    exact = oracle.pack(weight, bias, **scheme)
    for given_bias in (bias, None):
        w = dq.pack_linear(weight, given_bias, **scheme)
        exact = exact if given_bias is not None else oracle.pack(weight, **scheme)
        for rows in (x, x[:1], x[:4]):
            oracle.assert_same_bits(plain(rows, w), oracle.linear(rows, exact), f"{len(rows)} rows")


def test_linear_of_any_array(rng):
    x, weight, bias = problems.normal_problem(rng, 12, 67, 33)
    w, exact = dq.pack_linear(weight, bias, granularity="per_channel"), oracle.pack(weight, bias)
    poisoned = x.copy()
    poisoned[5, 3] = np.nan
    for view in (x, x[3], x.reshape(3, 4, 67), x[::-2], x.astype(np.float64), x[:0], poisoned):
        oracle.assert_same_bits(plain(view, w), oracle.linear(np.ascontiguousarray(view), exact))
    read_only = x.copy()
    read_only.flags.writeable = False
    oracle.assert_same_bits(plain(read_only, w), oracle.linear(x, exact))


def test_activation_by_name(rng):
    x, weight, bias = problems.normal_problem(rng, 12, 67, 33)
    w = dq.pack_linear(weight, bias, granularity="per_channel")
    oracle.assert_same_bits(by_attribute(x, w), dq.linear(x, w, activation="gelu"))


@pytest.mark.parametrize("rows", [1, 7, 64])
def test_loop_over_a_tuple_of_layers(rng, rows):
    layers = layers_of(rng, [67, 128, 33, 130, 16], granularity="per_channel")
    x = expected = problems.normal_problem(rng, rows, 67, 1)[0]
    for layer in layers:
        expected = dq.linear(expected, layer, activation="relu")
    oracle.assert_same_bits(mlp(x, layers), expected)


def test_inference_loop_compiled_as_a_whole(rng):
    up = layers_of(rng, [64, 200], granularity="per_channel")[0]
    down = layers_of(rng, [200, 64], bits=4, granularity="per_group", group_size=32)[0]
    x = rng.standard_normal((9, 64)).astype(F32)
    oracle.assert_same_bits(encoder(x, up, down, 3), encoder_in_python(x, up, down, 3))
    assert (encoder(x, up, down, 3) != encoder(x, up, down, 2)).any()


def encoder_in_python(x, up, down, steps):
    """`encoder` with the products from the Python API; the mean stays numba's, whose order of summation is its own."""
    for _ in range(steps):
        y = dq.linear(dq.linear(x, up, activation="gelu"), down) + x
        x = np.stack([centred(row) for row in y]).astype(F32)  # as the assignment to y[i] does
    return x


@numba.njit
def centred(row):
    return row - row.mean()


@numba.njit
def jitted_tanh(x):
    return np.tanh(x)


def test_recurrent_loop(rng):
    w_input, w_state = layers_of(rng, [20, 48], granularity="per_channel") + layers_of(rng, [48, 48])
    x, h = rng.standard_normal((11, 20)).astype(F32), np.zeros(48, F32)
    states, state = recurrent(x, h, w_input, w_state), h
    for t, row in enumerate(x):
        state = jitted_tanh(dq.linear(row, w_input) + dq.linear(state, w_state))
        oracle.assert_same_bits(states[t], state, f"step {t}")


def test_quantize_and_dequantize(rng):
    x = problems.normal_problem(rng, 9, 67, 1)[0]
    x[2], x[4, 1] = 0, np.inf
    data, scale, zero_point, back = quantize_and_back(x)
    q = dq.quantize(x)
    assert data.dtype == zero_point.dtype == np.uint8
    assert (data == q.data).all() and (zero_point == q.zero_point).all()
    oracle.assert_same_bits(scale, q.scale)
    oracle.assert_same_bits(back, dq.dequantize(q))


def matmul_integer_problem(rng, a_type, b_type):
    """Two operands, and a product with zero points of each row and column that has been looked at."""
    a = rng.integers(0, 256, (7, 67)).astype(np.uint8).view(a_type)
    b = rng.integers(0, 256, (67, 33)).astype(np.uint8).view(b_type)
    rows, columns = a[:, 0].copy(), b[0].copy()
    expected = oracle.matmul_integer(a, b, rows.astype(int)[:, None], columns.astype(int))
    c = integer_product_with_zero_points(a, b, rows, columns)
    assert c.dtype == np.int32 and (c == expected).all()
    return a, b


def test_matmul_integer(rng):
    a, b = matmul_integer_problem(rng, np.uint8, np.int8)
    assert (integer_product(a, b) == oracle.matmul_integer(a, b)).all()


def test_every_type_in_compiled_code(rng):
    a, b = matmul_integer_problem(rng, np.int8, np.uint8)
    assert (integer_product_with_zero_points(a, b, 3, 5) == oracle.matmul_integer(a, b, 3, 5)).all()
    assert (integer_product(a, b) == oracle.matmul_integer(a, b)).all()


def test_scores_from_quantized_parts(rng):
    x, keys = rng.standard_normal((5, 67)).astype(F32), rng.standard_normal((8, 67)).astype(F32)
    q, k = dq.quantize(x), dq.quantize(keys)
    acc = dq.matmul_integer(q.data, k.data.T, q.zero_point, k.zero_point)
    oracle.assert_same_bits(quantized_scores(x, keys), acc.astype(F32) * (q.scale[:, None] * k.scale))
    # Both sides are off by half a step (2**-14 more, see the oracle): |x| |ek| + |ex| |k^|, and 4 roundings.
    half = 0.5 + 2.0**-14
    bound = half * (np.abs(x).sum(axis=1)[:, None] * k.scale + q.scale[:, None] * np.abs(dq.dequantize(k)).sum(axis=1))
    scores, exact = quantized_scores(x, keys), x.astype(np.float64) @ keys.astype(np.float64).T
    assert (np.abs(scores - exact) <= bound * (1 + 2.0**-20) + 4 * oracle.U * np.abs(scores)).all()


def test_bad_shapes_inside_a_jitted_function_raise(rng):
    w = layers_of(rng, [40, 8], granularity="per_channel")[0]
    with pytest.raises(ValueError, match="x"):
        plain(np.zeros((3, 41), F32), w)


@numba.njit
def write_into(x, w, residual, out):
    return linear(x, w, residual=residual, out=out)


@numba.njit
def in_place(x, w):
    return linear(x, w, out=x)


@pytest.mark.parametrize("rows", [1, 5, 40])
def test_out_may_overlap_x_and_residual(rng, rows):
    x, weight, bias = problems.normal_problem(rng, rows, 64, 64)
    w = dq.pack_linear(weight, bias)
    room = rng.standard_normal((rows + 1, 64)).astype(F32)
    for residual, out in ((room[:-1], room[:-1]), (room[:-1], room[1:]), (room[1:], room[:-1])):
        expected = dq.linear(x, w, residual=residual.copy())
        oracle.assert_same_bits(write_into(x, w, residual, out), expected)
    expected = dq.linear(x, w)
    oracle.assert_same_bits(in_place(x, w), expected)
    oracle.assert_same_bits(x, expected)


def test_a_weight_as_a_global_is_refused_with_advice(rng):
    w = dq.pack_linear(rng.standard_normal((8, 16)).astype(F32))

    @numba.njit
    def captured(x):
        return linear(x, w)

    with pytest.raises(numba.core.errors.NumbaError, match="pass it as an argument"):
        captured(np.ones((2, 16), F32))
