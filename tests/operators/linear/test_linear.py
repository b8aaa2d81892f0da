"""dq.linear against the oracle: the same bits on every instruction set, shape, thread count and batch."""

import hypothesis.extra.numpy as hnp
import hypothesis.strategies as st
import numpy as np
import oracle
import problems
import pytest
from hypothesis import given

import dynq_numba as dq

F32 = np.float32
EVERY_M = range(1, 31)
EVERY_N = range(1, 71)
EVERY_K = (*range(1, 41), *range(61, 68), 97, 127, 128, 129, 131, 257)
EDGE_N = (1, 15, 16, 17, 31, 32, 33, 47, 48, 49, 63, 64, 65, 70)
CORNER_K = (4, 63, 64, 1000, 65_536, 65_793, 65_794, 70_000, 140_000)
# Schemes whose kernels differ: exact accumulation, groups of 8 bits, of 4 bits, of 4 bits with zero points.
KERNELS = [oracle.SCHEMES[1], oracle.SCHEMES[2], oracle.SCHEMES[7], oracle.SCHEMES[10]]
each_kernel = pytest.mark.parametrize("scheme", KERNELS, ids=oracle.scheme_id)


def both(weight, bias=None, **scheme):
    """The same weight packed by the package and by the oracle (8 bits per channel unless told)."""
    scheme = scheme or oracle.SCHEMES[1]
    return dq.pack_linear(weight, bias, **scheme), oracle.pack(weight, bias, **scheme)


def wrong_sizes(rng, k, ns, ms=EVERY_M):
    """The (m, k, n) whose result is not the oracle's; each row stands in every position of its batch once."""
    x, weight, bias = problems.normal_problem(rng, max(ms), k, max(ns))
    expected = oracle.linear(x, oracle.pack(weight, bias))
    wrong = []
    for n in ns:
        w = dq.pack_linear(weight[:n], bias[:n], granularity="per_channel")
        wrong += [(m, k, n) for m in ms if not oracle.same_bits(dq.linear(x[-m:], w), expected[-m:, :n])]
    return wrong


@pytest.mark.parametrize("k", [1, 3, 4, 5, 8, 17, 33, 64, 67])
def test_every_row_and_column_remainder(isa, rng, k):
    assert wrong_sizes(rng, k, EVERY_N) == []


def test_every_depth_remainder(isa, rng):
    wrong = [size for k in EVERY_K for size in wrong_sizes(rng, k, EDGE_N, (1, 2, 3, 4, 5, 6, 7, 12, 13, 14, 15, 29))]
    assert wrong == []


@pytest.mark.parametrize("m", [41, 42, 43, 55, 56, 57, 71, 97, 127, 128, 129, 257])
def test_more_rows_than_one_block(isa, rng, m):
    assert wrong_sizes(rng, 37, (33, 65, 200), (m,)) == []


@pytest.mark.parametrize("k", CORNER_K)
def test_corner_values_are_exact(isa, rng, k):
    x, weight = problems.corner_problem(rng, k)
    q, scale, _ = oracle.quantize_rows(x)
    assert q.min() == 0 and q.max() == 255 and (scale == 1).all()
    w, expected = both(weight)
    assert (w.scale == 1).all() and (w.qweight == weight).all()
    exact = oracle.accumulator(x, expected)
    assert np.abs(exact).max() == 255 * 127 * k
    for threads in (1, 2):
        oracle.assert_same_bits(dq.linear(x, w, threads=threads), exact.astype(F32), f"threads={threads}")


def test_activations_round_half_to_even(isa, rng):
    """A one-hot weight shows every quantized activation: wrong ties, or a reciprocal for the division, would show."""
    x = problems.halfway_rows(rng, 30)
    w, exact = both(np.eye(x.shape[1], dtype=F32))
    expected = oracle.linear(x, exact)
    for start in (0, 1, 27, 29):
        oracle.assert_same_bits(dq.linear(x[start:], w), expected[start:], f"rows from {start}")


@pytest.mark.parametrize(
    ("m", "k", "n"), [(1, 1024, 4096), (3, 256, 2500), (37, 129, 257), (150, 512, 384), (600, 64, 40)]
)
def test_thread_count_changes_no_bit(isa, rng, m, k, n):
    x, weight, bias = problems.normal_problem(rng, m, k, n)
    w, exact = both(weight, bias)
    expected = oracle.linear(x, exact)
    for threads in (1, 2, None):
        oracle.assert_same_bits(dq.linear(x, w, threads=threads), expected, f"threads={threads}")


@each_kernel
def test_a_row_is_the_same_in_every_batch(isa, rng, scheme):
    x, weight, bias = problems.normal_problem(rng, 61, 131, 70)
    w, exact = both(weight, bias, **scheme)
    expected = oracle.linear(x, exact)
    order = rng.permutation(61)
    oracle.assert_same_bits(dq.linear(x, w), expected, "in order")
    oracle.assert_same_bits(dq.linear(x[order], w), expected[order], "shuffled")
    for size in (1, 2, 4, 6, 14):
        parts = [dq.linear(x[i : i + size], w) for i in range(0, 61, size)]
        oracle.assert_same_bits(np.concatenate(parts), expected, f"in batches of {size}")
    for i in range(61):
        others = np.concatenate([0 * x[:i], x[i : i + 1], 1e6 * x[i:]])
        oracle.assert_same_bits(dq.linear(others, w)[i], expected[i], f"row {i} among other rows")


@each_kernel
def test_a_layout_of_one_instruction_set_runs_on_all(isa, sets, rng, scheme):
    x, weight, bias = problems.normal_problem(rng, 17, 131, 70)
    w, exact = both(weight, bias, **scheme)
    expected = oracle.linear(x, exact)
    for other in sets:
        with dq.force_isa(other):
            oracle.assert_same_bits(dq.linear(x, w), expected, f"packed on {isa}, run on {other}")
            oracle.assert_same_bits(dq.linear(x[:1], w), expected[:1], f"packed on {isa}, one row on {other}")


@pytest.mark.parametrize("activation", [None, *oracle.ACTIVATIONS])
def test_nan_and_infinity_poison_only_their_row(isa, rng, activation):
    x, weight, bias = problems.normal_problem(rng, 33, 67, 35)
    clean, bad = x.copy(), np.zeros(33, bool)
    for row, (place, value) in enumerate((p, v) for p in (0, 33, 66) for v in (np.nan, np.inf, -np.inf)):
        x[3 * row, place] = value
        bad[3 * row] = True
    x[27], x[29], bad[[27, 29]] = np.inf, np.nan, True
    for scheme in KERNELS:
        w = dq.pack_linear(weight, bias, **scheme)
        for threads in (1, 2):
            y = dq.linear(x, w, activation=activation, threads=threads)
            assert np.isnan(y[bad]).all(), f"{scheme}: a poisoned row must be NaN throughout"
            expected = dq.linear(clean, w, activation=activation, threads=threads)
            oracle.assert_same_bits(y[~bad], expected[~bad], f"clean rows, {scheme}")
        assert np.isnan(dq.linear(x[:1], w, activation=activation)).all()


@pytest.mark.parametrize("k", [1, 5, 64, 131])
def test_zeros_subnormals_and_huge_values(isa, rng, k):
    x = problems.extreme_rows(rng, k)
    scale = oracle.quantize_rows(x)[1]
    with np.errstate(over="ignore"):
        assert np.isfinite(scale).all() and (k < 64 or np.isinf(np.ptp(x, axis=1)).any())
    for weight in (rng.standard_normal((35, k)).astype(F32), problems.extreme_rows(rng, k)):
        w, exact = both(weight)
        oracle.assert_same_bits(w.scale, exact.scale, "weight scale")
        for threads in (1, 2):
            oracle.assert_same_bits(dq.linear(x, w, threads=threads), oracle.linear(x, exact))
        for row in range(len(x)):
            oracle.assert_same_bits(dq.linear(x[row], w), oracle.linear(x[row], exact), f"row {row} alone")


@pytest.mark.parametrize("scheme", oracle.SCHEMES[2:], ids=oracle.scheme_id)
def test_extreme_rows_in_the_other_schemes(isa, rng, scheme):
    x, weight = problems.extreme_rows(rng, 131), rng.standard_normal((35, 131)).astype(F32)
    w, exact = both(weight, **scheme)
    bits_differ = scheme["bits"] == 4 and scheme["granularity"] != "per_group"  # where sx * sw/16 is subnormal
    smallest = oracle.quantize_rows(x)[1] * exact.scale.min()
    subnormal = bits_differ & (smallest < 16 * np.finfo(F32).smallest_normal)
    y, expected = dq.linear(x, w), oracle.linear(x, exact)
    oracle.assert_same_bits(y[~subnormal], expected[~subnormal])
    assert_within_underflow(x[subnormal], w, exact)


@pytest.mark.parametrize("scheme", oracle.SCHEMES[5:7], ids=oracle.scheme_id)
def test_subnormal_4_bit_scales(isa, rng, scheme):
    x, weight, _ = problems.normal_problem(rng, 20, 131, 35)
    w, exact = both(weight * F32(2.0**-140), **scheme)
    oracle.assert_same_bits(w.scale, exact.scale, "weight scale")
    assert (w.qweight == exact.q).all() and w.scale.max() < np.finfo(F32).smallest_normal
    assert_within_underflow(x, w, exact)


@pytest.mark.parametrize("scheme", [*oracle.SCHEMES[2:5], *oracle.SCHEMES[7:]], ids=oracle.scheme_id)
@pytest.mark.parametrize("exponent", [-146, -140, -132, -129, -126, -121, 125])
def test_groups_at_the_ends_of_the_float_range(isa, rng, scheme, exponent):
    """Scales that are subnormal, or of products that are, or that overflow: bits of the oracle all the same."""
    x, weight, bias = problems.normal_problem(rng, 20, 131, 35)
    weight = np.clip(weight, -3.9, 3.9) * F32(2.0**exponent)
    w, exact = both(weight, bias, **scheme)
    oracle.assert_same_bits(w.scale, exact.scale, "weight scale")
    assert (w.qweight == exact.q).all() and (exponent < -129 or (w.qweight != 0).any())
    oracle.assert_same_bits(dq.linear(x, w), oracle.linear(x, exact))


def assert_within_underflow(x, w, exact):
    """4-bit kernels work with sw/16: a subnormal may round differently, within its bound, alike on every machine."""
    y = dq.linear(x, w)
    value, bound = oracle.linear_value(x, exact, step=16)
    assert (np.abs(y - value) <= bound).all()
    with dq.force_isa("portable"):
        oracle.assert_same_bits(y, dq.linear(x, w), "the portable kernel")


@pytest.mark.parametrize(("m", "n"), [(1, 33), (5, 16), (40, 70)])
def test_per_tensor_activations(isa, rng, m, n):
    x, weight, bias = problems.normal_problem(rng, m, 131, n)
    for scheme in oracle.SCHEMES:
        w = dq.pack_linear(weight, bias, x_granularity="per_tensor", **scheme)
        exact = oracle.pack(weight, bias, **scheme)
        for threads in (1, 2):
            y = dq.linear(x, w, threads=threads)
            oracle.assert_same_bits(y, oracle.linear(x, exact, "per_tensor"), f"{scheme}")
        poisoned = x.copy()
        poisoned[m // 2, 130] = np.inf
        assert np.isnan(dq.linear(poisoned, w)).all()
    lead = dq.linear(x.reshape(m, 1, 131), w)
    oracle.assert_same_bits(lead, oracle.linear(x, exact, "per_tensor").reshape(m, 1, n), "leading axes are one tensor")


@pytest.mark.parametrize("k", [64, 769, 3072])
def test_error_stays_below_the_derived_bounds(isa, rng, k):
    x, weight, bias = problems.normal_problem(rng, 19, k, 70)
    for scheme in oracle.SCHEMES:
        w, exact = both(weight, bias, **scheme)
        y = dq.linear(x, w).astype(np.float64)
        for what, (value, bound) in {
            "its own integers": oracle.linear_value(x, exact),
            "the float product": oracle.float_value(x, weight, exact),
        }.items():
            excess = np.abs(y - value) - bound
            assert (excess <= 0).all(), f"{scheme}: {excess.max()} over the bound against {what}"


any_float = st.floats(width=32)
finite_float = st.floats(width=32, allow_nan=False, allow_infinity=False)


@given(st.data())
def test_any_floats_give_the_bits_of_the_oracle(isa, data):
    m, k, n = (data.draw(st.integers(1, top), label) for label, top in (("m", 9), ("k", 40), ("n", 20)))
    x = data.draw(hnp.arrays(F32, (m, k), elements=any_float), "x")
    weight = data.draw(hnp.arrays(F32, (n, k), elements=finite_float), "weight")
    bias = data.draw(hnp.arrays(F32, n, elements=any_float), "bias")
    w, exact = both(weight, bias)
    oracle.assert_same_bits(dq.linear(x, w), oracle.linear(x, exact))
