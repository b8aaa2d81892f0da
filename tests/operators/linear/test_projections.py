"""linear_many: the bits of linear, for every kind of weight, cut and thread count, in Python and in compiled code."""

import numba
import numpy as np
import oracle
import pytest

import dynq_numba as dq

F32 = np.float32
KINDS = [
    {}, {"bits": 4, "granularity": "per_channel"}, {"bits": 4, "granularity": "per_group", "group_size": 32},
    {"x_granularity": "per_tensor"},
]  # fmt: skip


def layers(rng, k, sizes, **kind):
    return [
        dq.pack_linear(rng.standard_normal((n, k)).astype(F32), rng.standard_normal(n).astype(F32), **kind)
        for n in sizes
    ]


def assert_each(results, x, ws, **options):
    assert len(results) == len(ws)
    for y, w in zip(results, ws, strict=True):
        assert y.flags.c_contiguous
        assert y.shape == (*x.shape[:-1], w.shape[0])
        oracle.assert_same_bits(y, dq.linear(x, w, **options))


@pytest.mark.parametrize("kind", KINDS, ids=str)
@pytest.mark.parametrize("m", [1, 2, 4, 5, 17, 150, 600])
def test_the_bits_of_linear(isa, rng, m, kind):
    ws = layers(rng, 70, (33, 1, 96, 40), **kind)
    x = rng.standard_normal((m, 70)).astype(F32)
    x[m // 2, 3] = np.nan if m == 17 else 1
    for threads in (None, 1, 2, 5):
        assert_each(dq.linear_many(x, ws, threads=threads), x, ws)


def test_wide_weights_of_many_strips(rng):
    ws = layers(rng, 1500, (700, 1100, 20))
    for m in (3, 40):
        x = rng.standard_normal((m, 1500)).astype(F32)
        for threads in (1, 2, 3):
            assert_each(dq.linear_many(x, ws, threads=threads), x, ws)


@pytest.mark.parametrize("activation", [None, "gelu"])
def test_any_array_and_activation(rng, activation):
    ws = layers(rng, 24, (16, 16, 5))
    for x in (
        rng.standard_normal((2, 3, 24)), rng.standard_normal(24).astype(F32),
        np.asfortranarray(rng.standard_normal((6, 24))).astype(np.float16), np.empty((0, 24), F32),
        rng.standard_normal((4, 48)).astype(F32)[::-1, ::2],
    ):  # fmt: skip
        assert_each(dq.linear_many(x, ws, activation=activation), x, ws, activation=activation)


def test_weights_that_do_not_go_together(rng):
    ws = [w for kind in KINDS for w in layers(rng, 64, (20,), **kind)]
    x = rng.standard_normal((9, 64)).astype(F32)
    assert_each(dq.linear_many(x, ws), x, ws)
    assert dq.linear_many(x, []) == ()
    none = dq.pack_linear(np.zeros((0, 64), F32), granularity="per_channel")
    assert_each(dq.linear_many(x, [none, ws[0], none]), x, [none, ws[0], none])
    assert_each(dq.linear_many(x, [none]), x, [none])
    assert_each(dq.linear_many(x, (ws[0], ws[0])), x, [ws[0], ws[0]])


def test_long_rows_share_too(rng):
    ws = layers(rng, 70_000, (3, 40))
    x = rng.standard_normal((3, 70_000)).astype(F32)
    assert_each(dq.linear_many(x, ws), x, ws)


def test_errors_name_the_argument(rng):
    (w,) = layers(rng, 8, (4,))
    (other,) = layers(rng, 9, (4,))
    x = rng.standard_normal((2, 8)).astype(F32)
    for bad in (w, None, [w, 3], {w}):
        with pytest.raises(TypeError, match="weights must be a sequence of PackedLinear"):
            dq.linear_many(x, bad)
    with pytest.raises(ValueError, match=r"x must have shape \[..., 9\]"):
        dq.linear_many(x, [w, other])
    with pytest.raises(ValueError, match="x must have shape"):
        dq.linear_many(np.ones((), F32), [w])
    with pytest.raises(TypeError, match="x must"):
        dq.linear_many(x.astype(int), [w])
    with pytest.raises(ValueError, match="activation"):
        dq.linear_many(x, [w], activation="swish")
    with pytest.raises(ValueError, match="threads"):
        dq.linear_many(x, [w], threads=0)


@numba.njit
def three(x, weights):
    return dq.linear_many(x, weights, activation="relu")


@numba.njit
def one(x, w, threads):
    return dq.linear_many(x, (w,), threads=threads)[0]


def test_in_compiled_code(rng):
    ws = tuple(layers(rng, 40, (33, 7, 40)))
    for x in (np.empty((0, 40), F32), rng.standard_normal((6, 40)).astype(F32)):
        assert_each(three(x, ws), x, ws, activation="relu")
    oracle.assert_same_bits(one(x, ws[1], 2), dq.linear(x, ws[1]))
    with pytest.raises(ValueError, match="columns"):
        one(x[:, 1:], ws[0], 1)
    with pytest.raises(ValueError, match="threads"):
        one(x, ws[0], 0)
    with pytest.raises(numba.TypingError, match="weights must be a tuple"):
        three(x, ws[0])


def test_every_type_in_compiled_code(rng):
    ws = tuple(layers(rng, 40, (33, 7, 40)))
    assert_each(three(x := rng.standard_normal((2, 3, 40)), ws), x, ws, activation="relu")
    mixed = (ws[0], *layers(rng, 40, (9,), bits=4, granularity="per_group"), ws[2])
    assert_each(three(x := rng.standard_normal((6, 40)).astype(F32), mixed), x, mixed, activation="relu")
