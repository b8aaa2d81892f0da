"""Which arrays dq.linear takes and gives: float types, strides, empty axes, `out` and what it may overlap."""

import ml_dtypes
import numpy as np
import oracle
import problems
import pytest

import dynq_numba as dq

F32 = np.float32
DTYPES = (np.float16, np.float32, np.float64, ml_dtypes.bfloat16)
THREADS = (1, 2)
each_dtype = pytest.mark.parametrize("dtype", DTYPES, ids=lambda dtype: np.dtype(dtype).name)


def packed(rng, k, n):
    """A weight packed by the package and by the oracle."""
    _, weight, bias = problems.normal_problem(rng, 1, k, n)
    return dq.pack_linear(weight, bias, granularity="per_channel"), oracle.pack(weight, bias)


# ------------------------------------------------------------------------------------------------ x


@each_dtype
@pytest.mark.parametrize("layout", problems.LAYOUTS)
def test_every_float_type_in_every_layout(isa, rng, dtype, layout):
    for m, k, n in [(1, 1, 1), (2, 67, 33), (31, 64, 70)]:
        x = rng.standard_normal((m, k)).astype(dtype)
        w, exact = packed(rng, k, n)
        view = problems.LAYOUTS[layout](x)
        before = view.tobytes()
        for threads in THREADS:
            oracle.assert_same_bits(dq.linear(view, w, threads=threads), oracle.linear(x, exact), f"{(m, k, n)}")
        assert view.tobytes() == before, "x was written"


@each_dtype
def test_extreme_values_of_every_float_type(isa, rng, dtype):
    """Subnormals, the largest values and NaN of each type; a float64 beyond float32 is an infinity, so a NaN row."""
    info = ml_dtypes.finfo(dtype)
    with np.errstate(over="ignore"):
        x = rng.standard_normal((9, 40)).astype(dtype)
        x[1] *= info.smallest_subnormal * dtype(64)
        x[2, 7] = info.max
        x[3] = rng.choice([info.max, info.min], 40)
        x[4, 39], x[5, 0], x[6, 11] = np.nan, np.inf, -np.inf
        x[7] = info.smallest_subnormal
    w, exact = packed(rng, 40, 19)
    expected = oracle.linear(x, exact)
    assert np.isnan(expected[4:7]).all() and np.isnan(expected[2:4]).all() == (dtype is np.float64)
    oracle.assert_same_bits(dq.linear(x, w), expected)


@pytest.mark.parametrize("lead", [(), (1,), (5,), (2, 3), (3, 1, 4), (1, 1, 1, 2)])
def test_leading_axes(isa, rng, lead):
    w, exact = packed(rng, 37, 21)
    x = rng.standard_normal((*lead, 37)).astype(F32)
    oracle.assert_same_bits(dq.linear(x, w), oracle.linear(x, exact))


def test_leading_axes_with_strides_that_do_not_merge(isa, rng):
    w, exact = packed(rng, 37, 21)
    whole = rng.standard_normal((6, 5, 80)).astype(F32)
    views = [
        whole[::2, ::-1, 1:75:2],
        whole[:, 1:4, :37],
        whole.transpose(1, 0, 2)[..., 43:],
        whole[:, :, :37].transpose(1, 0, 2),
        whole[::-1, :, 36::-1],
        np.broadcast_to(whole[0, 0, :37], (3, 4, 37)),
        np.broadcast_to(whole[0, :, :1], (5, 37)),
        np.asfortranarray(whole[:, :, :37]),
    ]
    for number, view in enumerate(views):
        expected = oracle.linear(np.ascontiguousarray(view), exact)
        for threads in THREADS:
            oracle.assert_same_bits(dq.linear(view, w, threads=threads), expected, f"view {number}")


EMPTY_SIZES = [(0, 5, 3), (4, 0, 3), (4, 5, 0), (0, 0, 3), (4, 0, 0), (0, 5, 0)]


@pytest.mark.parametrize("scheme", oracle.SCHEMES, ids=oracle.scheme_id)
def test_empty_and_single_axes(isa, rng, scheme):
    for m, k, n in [*EMPTY_SIZES, (1, 1, 1), (3, 1, 17), (3, 40, 1)]:
        x, weight, bias = problems.normal_problem(rng, m, k, n)
        w = dq.pack_linear(weight, bias, **scheme)
        assert w.shape == (n, k)
        expected = oracle.linear(x, oracle.pack(weight, bias, **scheme))
        for threads in THREADS:
            oracle.assert_same_bits(dq.linear(x, w, threads=threads), expected, f"{(m, k, n)}")
        out = problems.poisoned((m, n))
        dq.linear(x, w, out=out)
        oracle.assert_same_bits(out, expected, f"{(m, k, n)} into out")
        if k == 0 and m:
            oracle.assert_same_bits(expected, np.tile(bias, (m, 1)), "nothing but the bias")
    for lead in [(0, 3), (3, 0), (2, 0, 4)]:
        w = dq.pack_linear(np.ones((6, 5), F32), **scheme)
        assert dq.linear(np.zeros((*lead, 5), F32), w).shape == (*lead, 6)


def test_no_bias_is_a_bias_of_zeros(isa, rng):
    """Products that underflow to -0.0 plus a bias of 0.0 are 0.0."""
    x, weight, _ = problems.normal_problem(rng, 5, 40, 19)
    for size in (1, 1e-25):
        w = dq.pack_linear(weight * F32(size), granularity="per_channel")
        y = dq.linear(x * F32(size), w)
        oracle.assert_same_bits(y, oracle.linear(x * F32(size), oracle.pack(weight * F32(size))))
        zeros = dq.pack_linear(weight * F32(size), np.zeros(19, F32), granularity="per_channel")
        oracle.assert_same_bits(y, dq.linear(x * F32(size), zeros))
        assert w.bias is None and (y != 0).any() == (size == 1)


# ------------------------------------------------------------------------------------------------ out

OUT_VIEWS = {
    "inside a wider array": lambda m, n: (np.s_[2 : 2 + m, 5 : 5 + n]),
    "every other row": lambda m, n: (np.s_[3 : 3 + 2 * m : 2, 1 : 1 + n]),
    "rows reversed": lambda m, n: (np.s_[2 + m : 2 : -1, 3 : 3 + n]),
    "every third row reversed": lambda m, n: (np.s_[3 * m : 0 : -3, 7 : 7 + n]),
    "whole rows": lambda m, n: (np.s_[1 : 1 + m, :n]),
}


@pytest.mark.parametrize("place", OUT_VIEWS)
@pytest.mark.parametrize("threads", THREADS)
def test_nothing_outside_out_is_written(isa, rng, place, threads):
    for m, n in [(1, 1), (1, 70), (2, 33), (3, 15), (4, 64), (13, 33), (15, 31), (29, 16), (41, 129), (130, 2100)]:
        w, exact = packed(rng, 9, n)
        x = rng.standard_normal((m, 9)).astype(F32)
        buffer = problems.poisoned((3 * m + 5, n if place == "whole rows" else n + 11))
        where = OUT_VIEWS[place](m, n)
        out, inside = buffer[where], np.zeros(buffer.shape, bool)
        inside[where] = True
        assert out.shape == (m, n)
        y = dq.linear(x, w, out=out, threads=threads)
        assert y.shape == out.shape and np.shares_memory(y, out)
        oracle.assert_same_bits(out, oracle.linear(x, exact), f"{(m, n)}")
        assert problems.untouched(buffer, inside), f"{(m, n)}: written outside out"


def test_out_with_leading_axes(isa, rng):
    w, exact = packed(rng, 9, 21)
    x = rng.standard_normal((4, 3, 9)).astype(F32)
    buffer = problems.poisoned((8, 5, 30))
    for where in [np.s_[::2, 1:4, 4:25], np.s_[4:, 2::-1, :21], np.s_[3::-1, ::2, 9:]]:
        buffer.view(np.uint32)[:] = problems.POISON
        inside = np.zeros(buffer.shape, bool)
        inside[where] = True
        dq.linear(x, w, out=buffer[where])
        oracle.assert_same_bits(buffer[where], oracle.linear(x, exact))
        assert problems.untouched(buffer, inside)
    row = problems.poisoned(27)
    dq.linear(x[0, 0], w, out=row[3:24])
    oracle.assert_same_bits(row[3:24], oracle.linear(x[0, 0], exact))
    assert problems.untouched(row, np.isin(np.arange(27), range(3, 24)))


def flat_views(m, k, n, x_start, x_step, out_start, out_step):
    """x [m, k] and out [m, n] inside one flat buffer, rows `step` elements apart."""
    size = max(x_start + (m - 1) * x_step + k, out_start + (m - 1) * out_step + n)
    flat = np.zeros(size, F32)
    views = ((m, k, x_start, x_step), (m, n, out_start, out_step))
    return [
        np.lib.stride_tricks.as_strided(flat[start:], (rows, cols), (4 * step, 4)) for rows, cols, start, step in views
    ]


# Where x (48 columns) and out (n columns) lie in one buffer: n, start and row step of x, start and row step of out.
OVERLAPS = {
    "the same array": (48, 0, 48, 0, 48),
    "one row later": (48, 0, 48, 48, 48),
    "one row earlier": (48, 48, 48, 0, 48),
    "five columns later": (48, 0, 48, 5, 48),
    "five columns earlier": (48, 5, 60, 0, 60),
    "narrower": (17, 0, 48, 0, 17),
    "wider": (96, 0, 48, 0, 96),
    "spaced rows": (48, 0, 96, 24, 96),
    "meets x late": (33, 1000, 48, 0, 33),
    "met by x late": (20, 0, 48, 1000, 48),
}


@pytest.mark.parametrize("threads", THREADS)
@pytest.mark.parametrize("overlap", OVERLAPS)
def test_out_may_overlap_x(isa, rng, threads, overlap):
    n, *places = OVERLAPS[overlap]
    w, exact = packed(rng, 48, n)
    for m in (1, 2, 14, 200):
        x, out = flat_views(m, 48, n, *places)
        x[:] = rng.standard_normal(x.shape)
        expected = oracle.linear(x.copy(), exact)
        dq.linear(x, w, out=out, threads=threads)
        oracle.assert_same_bits(out, expected, f"{m} rows")


@pytest.mark.parametrize("threads", THREADS)
@pytest.mark.parametrize("shift", [-40, -5, -1, 0, 1, 5, 40, 400])
def test_out_may_overlap_the_residual(isa, rng, threads, shift):
    w, exact = packed(rng, 9, 40)
    for m in (1, 3, 14, 200):
        x = rng.standard_normal((m, 9)).astype(F32)
        start = max(-shift, 0)
        residual, out = flat_views(m, 40, 40, start, 40, start + shift, 40)
        residual[:] = rng.standard_normal(residual.shape)
        expected = oracle.linear(x, exact) + residual
        dq.linear(x, w, residual=residual, out=out, threads=threads)
        oracle.assert_same_bits(out, expected, f"{m} rows")
    square, exact = packed(rng, 40, 40)
    both = rng.standard_normal((30, 40)).astype(F32)
    expected = oracle.linear(both, exact) + both
    dq.linear(both, square, residual=both, out=both, threads=threads)
    oracle.assert_same_bits(both, expected, "x, residual and out are one array")
