"""Fidelity against plain formulas in float64; parts in any order against all at once."""

from __future__ import annotations

import math
from dataclasses import asdict

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dynq_numba.evaluate.fidelity import TOP, Tally


def fidelity(a, b, **options):
    tally = Tally("y", **options)
    tally.update(a, b)
    return tally.result()


@pytest.fixture
def pair(rng):
    a = rng.standard_normal((40, 7)).astype(np.float32)
    return a, (a + 0.3 * rng.standard_normal(a.shape)).astype(np.float32)


def test_distances_are_those_of_the_formulas(pair):
    a, b = (each.astype(np.float64) for each in pair)
    found = fidelity(*pair)
    assert found.sqnr_db == pytest.approx(10 * math.log10(np.sum(a**2) / np.sum((a - b) ** 2)), rel=1e-12)
    cosines = [x @ y / (np.linalg.norm(x) * np.linalg.norm(y)) for x, y in zip(a, b, strict=True)]
    assert found.cosine_mean == pytest.approx(np.mean(cosines), rel=1e-12)
    assert (found.cosine_worst, found.worst_row) == (pytest.approx(min(cosines)), int(np.argmin(cosines)))
    error = np.sort(np.abs(a - b).ravel())
    assert found.max_abs_error == error[-1]
    p99 = error[math.ceil(0.99 * error.size) - 1]
    assert p99 * (1 - 2**-22) <= found.p99_abs_error <= p99 * (1 + 2**-6)
    assert (found.values, found.rows, found.mismatches, found.identical) == (280, 40, 280, False)
    assert found.loss == 1 - found.cosine_mean


def test_decisions_are_counted_one_by_one(pair):
    a, b = pair
    flips = sum(np.argmax(x) != np.argmax(y) for x, y in zip(a, b, strict=True))
    orders = sum(
        list(np.argsort(-x)[:TOP]) != list(np.argsort(-y)[:TOP]) for x, y in zip(a, b, strict=True)
    )  # no values are equal
    found = fidelity(a, b, threshold=0.25)
    assert 0 < flips < orders < 40
    assert (found.decisions, found.argmax_flips, found.ranking_flips) == (40, flips / 40, orders / 40)
    assert found.threshold_flips == np.mean((a >= 0.25) != (b >= 0.25)) > 0
    assert found.threshold == 0.25 and found.kl_mean is None


@pytest.mark.parametrize("logits", [False, True])
def test_divergence_of_probabilities_and_of_logits(pair, logits):
    p, q = (np.exp(each.astype(np.float64)) for each in pair)
    p, q = p / p.sum(1, keepdims=True), q / q.sum(1, keepdims=True)
    each = (p * np.log(p / q)).sum(1)
    found = fidelity(*pair, logits=True) if logits else fidelity(p, q)
    assert (found.kl_mean, found.kl_max) == (pytest.approx(each.mean()), pytest.approx(each.max()))
    assert found.threshold == (None if logits else 0.5)


def test_one_row_that_is_no_probability_takes_the_divergence_away():
    p = np.full((3, 4), 0.25)
    tally = Tally("y")
    tally.update(p, p)
    assert tally.result().kl_mean == 0
    tally.update(p, p * 1.5)
    assert tally.result().kl_mean is None


def test_a_probability_of_zero_adds_nothing_and_one_that_is_lost_is_bounded():
    p, q = np.array([[0.0, 1.0], [0.5, 0.5]]), np.array([[0.5, 0.5], [0.0, 1.0]])
    found = fidelity(p, q)
    assert found.kl_max == pytest.approx(0.5 * math.log(0.5 / 1e-12) + 0.5 * math.log(0.5))
    assert found.kl_mean == pytest.approx((math.log(2) + found.kl_max) / 2)


def test_identical_values_have_no_distance(pair):
    found = fidelity(pair[0], pair[0])
    assert found.identical and found.sqnr_db == math.inf and found.max_abs_error == found.p99_abs_error == 0
    assert found.cosine_mean == pytest.approx(1, abs=1e-15) and found.argmax_flips == found.ranking_flips == 0


def test_what_is_not_finite_in_one_only_breaks_and_in_both_does_not():
    a = np.array([[1, np.nan, 2], [1, 2, np.inf]], np.float32)
    found = fidelity(a, a)
    assert found.identical and found.not_finite == 2 and found.cosine_worst == 1 and found.max_abs_error == 0
    b = a.copy()
    b[0, 0] = np.nan
    found = fidelity(a, b)
    assert (found.sqnr_db, found.max_abs_error) == (-math.inf, math.inf)
    assert (found.mismatches, found.cosine_worst, found.worst_row) == (1, 0, 0)


def test_a_row_of_one_value_has_the_cosine_of_all():
    a, b = np.array([1.0, -2.0, 3.0]), np.array([1.0, 2.0, 3.0])
    assert fidelity(a, b).cosine_mean == fidelity(a[:, None], b[:, None]).cosine_worst == pytest.approx(6 / 14)


def test_ties_are_no_other_order():
    a = np.array([[3.0, 2.0, 2.0, 1.0, 0.0, -1.0, -1.0]])
    assert fidelity(a, a).ranking_flips == 0
    assert fidelity(a, a[:, [0, 2, 1, 3, 4, 6, 5]]).ranking_flips == 0
    assert fidelity(a, a[:, [1, 0, 2, 3, 4, 5, 6]]).ranking_flips == 1
    assert fidelity(a, a + np.array([0, 0, 0, 0, 0, 0, 2])).ranking_flips == 1


def test_texts_and_integers_are_compared_too():
    assert fidelity(np.array(["a", "b"], object), np.array(["a", "c"], object)).mismatches == 1
    assert fidelity(np.array([1, 2]), np.array([1, 2])).identical


def test_integers_beyond_those_of_float64_are_told_apart():
    found = fidelity(np.array([2**53 + 1, 5]), np.array([2**53, 5]))
    assert found.mismatches == 1 and not found.identical


def test_columns_that_are_not_finite_lose_all():
    a = np.arange(1.0, 9.0)
    b = np.where(a > 4, np.nan, a)
    assert fidelity(a, b).loss == fidelity(a[:, None], b[:, None]).loss == 1


def test_empty_results_are_identical_and_add_nothing():
    assert fidelity(np.zeros((0, 3)), np.zeros((0, 3))).identical
    tally = Tally("y")
    for rows in (0, 2, 0):
        tally.update(np.ones((rows, 3)), np.ones((rows, 3)))
    assert tally.result() == fidelity(np.ones((2, 3)), np.ones((2, 3)))


def test_other_shapes_are_refused():
    with pytest.raises(ValueError, match=r"y: the reference gives shape \(2,\), the candidate \(3,\)"):
        Tally("y").update(np.zeros(2), np.zeros(3))
    with pytest.raises(ValueError, match="no values"):
        Tally("y").result()


ROWS = st.lists(
    st.tuples(*[st.tuples(*[st.floats(width=32, allow_nan=True)] * 3)] * 2), min_size=1, max_size=12
)  # any value that there is


@given(ROWS, st.data())
def test_parts_give_what_all_at_once_gives(rows, data):
    a, b = (np.array([row[i] for row in rows], np.float32) for i in (0, 1))
    whole, tally, i = fidelity(a, b, threshold=0.5), Tally("y", threshold=0.5), 0
    while i < len(a):
        n = data.draw(st.integers(1, len(a) - i))
        tally.update(a[i : i + n], b[i : i + n])
        i += n
    parts = tally.result()
    for name, value in asdict(whole).items():
        found = getattr(parts, name)
        if name in ("sqnr_db", "cosine_mean"):  # sums of at most 36 terms, in another order
            assert found == value or abs(found - value) <= 1e-12 * max(1, abs(value)), name
        else:
            assert found == value, name
