"""Winograd's ways: bit for bit the oracle's tiles, within its bound, on every set, cut, thread count and batch."""

import numpy as np
import oracle
import pytest
from hypothesis import given
from hypothesis import strategies as st
from oracle_convolution import geometry, naive_float, problem, winograd_float

from dynq_numba.arguments.geometry import Geometry
from dynq_numba.kernels.activations import reference as activations
from dynq_numba.kernels.sconv.context import DEPTHWISE, PATCHES, WINOGRAD_2, WINOGRAD_4
from dynq_numba.kernels.sconv.reference_winograd import winograd
from dynq_numba.operators.sconv import backend
from dynq_numba.operators.sconv.pack import TILES, FloatConvWeight, way_of
from dynq_numba.runtime import isa as sets

F32 = np.float32
#: Weight [O, C], height and width, padding.
CASES = [
    ((4, 3), (5, 6), 1),
    ((1, 1), (3, 3), 0),
    ((1, 1), (1, 1), 1),
    ((20, 8), (14, 15), 1),
    ((14, 16), (9, 70), 1),  # rows of tiles longer than a panel
    ((29, 40), (33, 4), 0),  # and much shorter
    ((33, 17), (2, 131), 1),
    ((15, 5), (7, 9), ((3, 0), (0, 5))),
    ((3, 2), (1, 1), 9),  # mostly padding
    ((16, 600), (6, 6), 1),
]


@pytest.fixture(params=TILES, ids=["2×2", "4×4"])
def way(request):
    return request.param


def packed(weight, bias, padding, way):
    return FloatConvWeight(weight, bias, Geometry(*geometry(weight, padding=padding)), sets.active(), way)


@pytest.mark.parametrize("case", CASES, ids=str)
def test_the_oracle_on_every_set_and_thread_count(isa, rng, case, way):
    shape, size, padding = case
    for images in (1, 3):
        x, weight, bias = problem(rng, (*shape, 3, 3), size, images)
        expected, bound, real = winograd_float(x, weight, bias, padding, TILES[way].size)
        assert (np.abs(expected - real) <= bound).all()
        found = winograd(TILES[way], x, weight, bias, geometry(weight, padding=padding)[1])
        oracle.assert_same_bits(found, expected, "the reference")
        w = packed(weight, bias, padding, way)
        for threads in (1, 2, 5):
            oracle.assert_same_bits(backend.convolve(x, w, threads=threads), expected, f"{threads} threads")
        oracle.assert_same_bits(backend.convolve(x[-1:].copy(), w), expected[-1:], "an image alone")


@given(st.data())
def test_any_shape(data):
    draw = data.draw
    outputs, own, images = draw(st.integers(1, 30)), draw(st.integers(1, 12)), draw(st.integers(1, 4))
    padding = draw(st.tuples(*(st.tuples(st.integers(0, 4), st.integers(0, 4)),) * 2))
    size = [draw(st.integers(max(1, 3 - sum(around)), 50)) for around in padding]
    x, weight, bias = problem(np.random.default_rng(3), (outputs, own, 3, 3), size, images)
    for way in TILES:
        expected = winograd(TILES[way], x, weight, bias, padding)
        for threads in (1, 3):
            found = backend.convolve(x, packed(weight, bias, padding, way), threads=threads)
            oracle.assert_same_bits(found, expected, f"{way}, {threads} threads")


def test_tasks_with_many_panels_and_large_images(isa, rng, way):
    x, weight, bias = problem(rng, (30, 20, 3, 3), (90, 101), 2)
    expected = winograd(TILES[way], x, weight, bias, ((1, 1), (1, 1)))
    for threads in (1, 2):
        oracle.assert_same_bits(backend.convolve(x, packed(weight, bias, 1, way), threads=threads), expected)


@pytest.mark.parametrize("with_residual", [False, True])
@pytest.mark.parametrize("activation", [None, "relu", "silu"])
def test_post_ops(isa, rng, with_residual, activation, way):
    x, weight, bias = problem(rng, (17, 6, 3, 3), (11, 41), 2)
    expected = winograd(TILES[way], x, weight, bias, ((1, 1), (1, 1)))
    residual = rng.standard_normal(expected.shape, F32) if with_residual else None
    expected = expected if activation is None else activations.ACTIVATIONS[activation](expected)
    expected = expected if residual is None else expected + residual
    w = packed(weight, bias, 1, way)
    for threads in (1, 2):
        found = backend.convolve(x, w, residual=residual, activation=activation, threads=threads)
        oracle.assert_same_bits(found, expected, f"{threads} threads")


def test_without_a_bias_and_without_images(isa, rng, way):
    x, weight, bias = problem(rng, (9, 4, 3, 3), (5, 6), 2)
    zeros = winograd_float(x, weight, 0 * bias, side=TILES[way].size)[0]
    oracle.assert_same_bits(backend.convolve(x, packed(weight, None, 0, way)), zeros)
    assert backend.convolve(x[:0], packed(weight, None, 0, way)).shape == (0, 9, 3, 4)


def test_infinities_and_nan_stay_where_their_patches_or_tiles_are(isa, rng, way):
    x, weight, bias = problem(rng, (4, 4, 3, 3), (10, 40), 2)
    w = packed(weight, bias, 1, way)
    clean = backend.convolve(x, w)
    for bad in (np.nan, np.inf, -np.inf):
        spoilt = x.copy()
        spoilt[0, 2, 4, 7] = bad
        found = backend.convolve(spoilt, w)
        near, tiles = np.zeros((2, *found.shape), bool)
        near[0, :, 3:6, 6:9] = tiles[0, :, :8, 4:12] = True
        reached = near if way == WINOGRAD_2 else tiles
        assert not np.isfinite(found[near]).any()
        oracle.assert_same_bits(found[~reached], clean[~reached])


def test_exact_where_the_numbers_are_small_integers(isa, rng):
    """Then nothing is rounded by tiles of 2×2: they give what the plain way does."""
    x, weight = (rng.integers(-8, 9, shape).astype(F32) for shape in ((2, 12, 19, 23), (21, 12, 3, 3)))
    bias = rng.integers(-9, 9, 21).astype(F32)
    found = backend.convolve(x, packed(4 * weight, bias, 1, WINOGRAD_2))
    expected = naive_float(x, 4 * weight, bias, padding=1)[0]
    assert np.array_equal(found, expected)


def test_the_way_depends_on_shapes_alone():
    def way(shape, size=(56, 56), padding=(1, 1), stride=(1, 1), dilation=(1, 1), groups=1):
        return way_of(shape, Geometry(stride, (padding, padding), dilation, groups), size)

    assert way((64, 64, 3, 3)) == WINOGRAD_4 == way((64, 64, 3, 3), padding=(0, 0))
    assert way((8, 8, 3, 3), (7, 7)) == WINOGRAD_2
    for shape, options in (
        ((64, 64, 3, 3), {"stride": (1, 2)}), ((64, 64, 3, 3), {"dilation": (2, 1)}), ((64, 32, 3, 3), {"groups": 2}),
        ((64, 64, 3, 1), {}), ((64, 64, 5, 5), {}), ((64, 3, 3, 3), {}), ((3, 64, 3, 3), {}),
    ):  # fmt: skip
        assert way(shape, **options) == PATCHES
    assert way((64, 64, 3, 3), (6, 6)) == way((64, 64, 3, 3), (1, 999)) == way((64, 64, 3, 3), None) == PATCHES
    assert way((64, 1, 3, 3), groups=64) == DEPTHWISE


def test_large_tiles_where_they_save_products():
    def way(outputs, own, *size):
        return way_of((outputs, own, 3, 3), Geometry((1, 1), ((1, 1), (1, 1)), (1, 1), 1), size)

    assert way(192, 48, 16, 44) == way(24, 24, 32, 87) == way(64, 64, 56, 56) == way(16, 16, 20, 32) == WINOGRAD_4
    for few in ((24, 15, 32, 87), (15, 24, 32, 87), (256, 64, 8, 22), (96, 96, 26, 26), (64, 64, 1, 300)):
        assert way(*few) != WINOGRAD_4


def test_the_error_of_large_tiles_is_little_more_than_that_of_the_chain(rng):
    """As root mean square; with points 0, ±1, ±2 and infinity it is four times as large."""
    x, weight, bias = rng.standard_normal((2, 48, 16, 20)), rng.standard_normal((8, 48, 3, 3)), rng.standard_normal(8)
    x, weight, bias = x.astype(F32), weight.astype(F32), bias.astype(F32)
    chain, _, real = naive_float(x, weight, bias, padding=1)
    found = winograd(TILES[WINOGRAD_4], x, weight, bias, ((1, 1), (1, 1)))
    error, of_chain = (np.sqrt(np.mean((each - real) ** 2)) for each in (found, chain))
    assert error < 2.5 * of_chain
