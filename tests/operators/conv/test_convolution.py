"""conv: the oracle's exact integers, the bits of the numpy twin, on every set, cut, thread count and geometry."""

import numpy as np
import oracle
import problems
import pytest
from hypothesis import given
from hypothesis import strategies as st
from oracle_convolution import geometry, naive, problem

import dynq_numba as dq
from dynq_numba.kernels.activations import reference as reference_activations
from dynq_numba.kernels.base.jit import kernel
from dynq_numba.kernels.base.memory import data_ptr, keep, store_u8
from dynq_numba.kernels.conv import call as convolution_call
from dynq_numba.kernels.conv import reference as reference_convolution
from dynq_numba.kernels.threads import scratch

F32 = np.float32
#: Weight [O, C / groups, kH, kW], height and width, then the options.
CASES = [
    ((4, 3, 3, 3), (5, 6), {"padding": 1}),
    ((20, 8, 3, 3), (14, 14), {"padding": 1}),
    ((33, 64, 3, 3), (9, 70), {"padding": 1}),  # rows longer than a vector
    ((15, 5, 3, 3), (9, 33), {}),
    ((20, 8, 1, 1), (14, 14), {}),  # the image itself is read
    ((20, 7, 1, 1), (3, 21), {"stride": 2}),
    ((29, 130, 3, 1), (33, 3), {}),  # rows of three pixels, also direct
    ((7, 6, 3, 1), (20, 9), {"dilation": (4, 1)}),
    ((33, 3, 7, 7), (40, 50), {"padding": 3, "stride": 2}),
    ((12, 2, 3, 5), (40, 50), {"stride": (2, 1), "padding": ((0, 1), (2, 3)), "dilation": (1, 2), "groups": 3}),
    ((12, 3, 3, 5), (40, 50), {"stride": (3, 4), "padding": ((5, 1), (2, 3)), "dilation": (2, 3), "groups": 2}),
    ((7, 5, 4, 4), (30, 31), {"stride": 4}),
    ((12, 1, 3, 3), (17, 19), {"padding": 1, "groups": 12}),
    ((24, 1, 3, 3), (17, 19), {"padding": 1, "groups": 12, "stride": 2}),
    ((3, 2, 2, 2), (1, 1), {"padding": 40, "stride": 7, "dilation": 9}),  # mostly padding
    ((1, 1, 1, 1), (1, 1), {}),
    ((2, 3, 2, 2), (4, 5), {"stride": 9}),
    ((40, 100, 3), (300,), {"padding": 1}),
    ((40, 300, 3), (700,), {"padding": 1, "stride": 2}),  # parts of one row
    ((5, 4, 9), (40,), {"padding": ((8, 0),), "dilation": 2, "groups": 1}),
]


def twin(x, w, bias, options):
    if w.qweight.ndim == 3:
        args = geometry(w.qweight, **options)
        return reference_convolution.convolve(x[:, :, None], w.qweight[:, :, None], w.scale, bias, *args)[:, :, 0]
    return reference_convolution.convolve(x, w.qweight, w.scale, bias, *geometry(w.qweight, **options))


@pytest.mark.parametrize("case", CASES, ids=str)
def test_the_oracle_on_every_set_and_thread_count(isa, rng, case):
    shape, size, options = case
    for images in (1, 3):
        x, weight, bias = problem(rng, shape, size, images, options.get("groups", 1))
        w = dq.pack_conv(weight, bias, **options)
        wanted, bound, real = naive(x, weight, bias, **options)
        assert (np.abs(wanted - real) <= bound).all()
        oracle.assert_same_bits(twin(x, w, bias, options), wanted, "twin")
        for threads in (None, 1, 2, 5):
            oracle.assert_same_bits(dq.conv(x, w, threads=threads), wanted, f"{threads} threads")
        oracle.assert_same_bits(dq.conv(x[-1], w), wanted[-1], "without images")


@given(st.data())
def test_any_geometry(data):
    draw = data.draw
    groups, own, each = draw(st.integers(1, 3)), draw(st.integers(1, 9)), draw(st.integers(1, 20))
    taps = draw(st.tuples(st.integers(1, 5), st.integers(1, 5)))
    options = {
        "stride": draw(st.tuples(st.integers(1, 5), st.integers(1, 5))),
        "dilation": draw(st.tuples(st.integers(1, 4), st.integers(1, 4))),
        "padding": draw(st.tuples(*(st.tuples(st.integers(0, 6), st.integers(0, 6)),) * 2)),
        "groups": groups,
    }
    size = []
    for axis in (0, 1):
        least = (taps[axis] - 1) * options["dilation"][axis] + 1 - sum(options["padding"][axis])
        size.append(draw(st.integers(max(1, least), max(1, least) + 70)))
    x, weight, bias = problem(np.random.default_rng(3), (groups * each, own, *taps), size, 2, groups)
    w = dq.pack_conv(weight, bias, **options)
    wanted = naive(x, weight, bias, **options)[0]
    for threads in (1, 3):
        oracle.assert_same_bits(dq.conv(x, w, threads=threads), wanted)


@pytest.mark.parametrize("k", [1, 3, 4, 5, 7, 8, 9, 15, 16, 17, 31, 32, 33, 63, 65])
@pytest.mark.parametrize("outputs", [1, 2, 4, 5, 6, 7, 13, 14, 15, 29])
def test_every_height_and_remainder(isa, rng, k, outputs):
    for pixels in (1, 15, 16, 17, 33, 64, 65):
        x, weight, bias = problem(rng, (outputs, k, 1), (pixels,))
        w = dq.pack_conv(weight, bias)
        oracle.assert_same_bits(dq.conv(x, w, threads=2), naive(x, weight, bias)[0], str(pixels))


def test_corner_values(isa):
    """0 and 255 against ±127, with zero points 0, 128 and 255, up to the largest K: nothing saturates or overflows."""
    for k in (8, 1000, 65_793):
        rng = np.random.default_rng(k)
        x, weight = problems.corner_problem(rng, k)
        x, bias = np.ascontiguousarray(x.T)[None], np.zeros(len(weight), F32)
        for image in (x, -x, x[:, :, :1], x[:, :, 1:2]):
            oracle.assert_same_bits(
                dq.conv(image, dq.pack_conv(weight[:, :, None])), naive(image, weight[:, :, None], bias)[0]
            )


def test_extreme_images(isa, rng):
    rows = problems.extreme_rows(rng, 4 * 5 * 6).reshape(-1, 4, 5, 6)
    weight = rng.standard_normal((9, 4, 3, 3)).astype(F32)
    bias = np.zeros(9, F32)
    w = dq.pack_conv(weight, padding=1)
    oracle.assert_same_bits(dq.conv(rows, w), twin(rows, w, bias, {"padding": 1}))
    zero = dq.pack_conv(np.zeros((3, 4, 3, 3), F32), np.arange(3.0))
    assert (zero.scale == 1).all()
    assert (dq.conv(rows[:1], zero) == np.arange(3, dtype=F32)[:, None, None]).all()


def test_one_bad_value_stays_in_its_image(isa, rng):
    x, weight, bias = problem(rng, (17, 6, 3, 3), (8, 9), 3)
    w = dq.pack_conv(weight, bias, padding=1)
    good = dq.conv(x, w)
    for bad in (np.nan, np.inf, -np.inf):
        x[1, 3, 2, 7] = bad
        y = dq.conv(x, w)
        assert np.isnan(y[1]).all()
        assert (y[[0, 2]] == good[[0, 2]]).all()


def test_an_image_does_not_know_its_batch(rng):
    x, weight, bias = problem(rng, (40, 16, 3, 3), (20, 20), 5)
    w = dq.pack_conv(weight, bias, padding=1)
    whole = dq.conv(x, w)
    for i in range(5):
        oracle.assert_same_bits(dq.conv(x[i : i + 1], w)[0], whole[i])


@pytest.mark.parametrize("activation", oracle.ACTIVATIONS)
def test_activations(isa, rng, activation):
    x, weight, bias = problem(rng, (20, 6, 3, 3), (30, 30), 2)
    w = dq.pack_conv(weight, bias, padding=1)
    plain = dq.conv(x, w)
    value, bound = oracle.activation_value(activation, plain)
    for threads in (1, 2, 5):
        y = dq.conv(x, w, activation=activation, threads=threads)
        oracle.assert_same_bits(y, reference_activations.ACTIVATIONS[activation](plain))
        assert (np.abs(y - value) <= bound).all()


def test_many_chunks(rng):
    """So many patches that they are laid out piece by piece, in pixels, and weights of many panels."""
    for shape, size in (((70, 256, 3, 3), (30, 30)), ((40, 2, 3, 3), (100, 1)), ((30, 1000, 1, 1), (40, 40))):
        x, weight, bias = problem(rng, shape, size)
        w = dq.pack_conv(weight, bias, padding=1)
        wanted = twin(x, w, bias, {"padding": 1})
        for threads in (1, 2, 3):
            oracle.assert_same_bits(dq.conv(x, w, threads=threads), wanted)


def test_cuts_cover_all_units():
    for images in (1, 2, 7):
        for units in (1, 3, 8, 100):
            for most in (1, 4, 30):
                for threads in (1, 2, 16):
                    chunks, parts = convolution_call.cut.py_func(images, units, most, 5, threads)
                    assert 1 <= chunks <= max(1, units)
                    assert -(-units // chunks) <= most
                    assert 1 <= parts <= 5


@kernel(cached=False)
def borrow_and_give_back(slots, counts, given):
    """Borrow all, one after another, write to their ends, and give back the first `given`; which slots they had."""
    found = np.empty(len(counts), np.int64)
    for i in range(len(counts)):
        found[i], block = scratch.borrow(data_ptr(slots), counts[i])
        store_u8(block, counts[i] - 1, np.uint8(1))
        if i < given or found[i] < 0:
            scratch.give_back(data_ptr(slots), found[i], block)
    keep(slots)
    return found


def test_scratch_is_kept_where_it_is_not_too_large():
    slots, kept = np.zeros((scratch.SLOTS, scratch.Kept.lines() // 8), np.int64), scratch.Kept
    assert list(borrow_and_give_back(slots, np.array([100, 50, 200]), 3)) == [0, 0, 0]
    assert list(slots[0, [kept.taken, kept.bytes]]) == [0, 200] and slots[0, kept.block] != 0
    assert list(borrow_and_give_back(slots, np.array([10, 20]), 0)) == [0, 1]
    assert list(borrow_and_give_back(slots, np.array([scratch.KEPT + 1]), 1)) == [2]
    assert not slots[2].any()
    many = borrow_and_give_back(slots, np.full(scratch.SLOTS, 8), 0)
    assert list(many[-2:]) == [-1, -1] and many[-3] == scratch.SLOTS - 1
