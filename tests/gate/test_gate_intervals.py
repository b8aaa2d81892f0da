"""Intervals: exact ones against scipy, resampled ones by how often they hold what they should."""

import numpy as np
import pytest

from dynq_numba.gate import bootstrap
from dynq_numba.gate.config import Config, Goal
from dynq_numba.gate.judge import Facts, judge
from dynq_numba.gate.rows import Rows

pytestmark = pytest.mark.extra("gate")
#: Of an interval at 90 % so many of TRIALS hold at least: 4 standard deviations of a binomial below.
TRIALS, LEAST = 300, 300 * 0.9 - 4 * (300 * 0.9 * 0.1) ** 0.5


def looks(folder, goal, rows, **settings):
    config = Config(folder / "gate.toml", folder, folder, goals=(goal,), min_rows=1, **settings)
    return list(judge(config, rows, Facts(100, 30, 0.9)))


@pytest.mark.parametrize("count, rows", [(0, 50), (1, 50), (7, 20), (50, 50)])
def test_shares_have_the_exact_interval(count, rows):
    from scipy.stats import binomtest

    for level, looked in ((0.95, 1), (0.99, 5)):
        exact = binomtest(count, rows).proportion_ci(level, "exact")
        assert bootstrap.share(count, rows, 0.95, looked) == pytest.approx((exact.low, exact.high), rel=1e-9)


def test_counts_are_resamples_and_the_same_for_a_seed():
    first, again, other = (np.concatenate(list(bootstrap.chunks(5000, 500, seed))) for seed in (1, 1, 2))
    assert first.shape == (500, 5000) and (first.sum(1) == 5000).all() and (first >= 0).all()
    assert np.array_equal(first, again) and not np.array_equal(first, other)
    assert first.var() == pytest.approx(1 - 1 / 5000, rel=0.01)  # of a binomial


def test_resamples_reach_the_tails_of_all_looks():
    assert bootstrap.resamples_for(2000, 0.95, 1) == 2000
    assert bootstrap.resamples_for(2000, 0.95, 10) * 0.05 / 2 / 10 >= 25


def test_a_figure_that_is_not_defined_counts_at_both_ends():
    values = np.r_[np.linspace(0, 1, 97), [np.nan] * 3]
    low, high = bootstrap.percentile(values, 0.9)
    assert 0 <= low < 0.05 and 0.95 < high <= 1
    assert bootstrap.percentile(values, 0.98) == (-np.inf, np.inf)


def simulated(rng, rows, wrong, flips):
    """The float model is wrong in a part of rows; the candidate decides otherwise in a part of rows."""
    truth = rng.integers(0, 2, rows)
    reference = np.where(rng.random(rows) < wrong, 1 - truth, truth)
    candidate = np.where(rng.random(rows) < flips, 1 - reference, reference)
    return Rows(reference.astype(float), candidate.astype(float), truth)


@pytest.mark.parametrize("metric, wrong, flips", [
    ("accuracy", 0.2, 0.1), ("accuracy", 0.1, 0.01), ("accuracy", 0.5, 0.3), ("f1", 0.2, 0.1), ("f1", 0.4, 0.3),
])  # fmt: skip
def test_intervals_of_a_degradation_hold_the_true_one(rng, tmp_path, metric, wrong, flips):
    """Where classes are as frequent and mistakes as likely, F1 is in the limit what accuracy is."""
    true = (1 - wrong) - ((1 - wrong) * (1 - flips) + wrong * flips)
    goal, held = Goal("g", "max-degradation", 0.0, metric), 0
    for seed in range(TRIALS):
        (look,) = looks(tmp_path, goal, simulated(rng, 200, wrong, flips), confidence=0.9, resamples=500, seed=seed)
        held += look.low <= true <= look.high
    assert held >= LEAST


@pytest.mark.parametrize("name", ["auc", "mae", "spearman"])
def test_intervals_of_a_threshold_hold_the_true_figure(rng, tmp_path, name):
    from scipy.stats import norm

    true = {"auc": norm.cdf(0.5**0.5), "mae": 0.5 * (2 / np.pi) ** 0.5, "spearman": 6 / np.pi * np.arcsin(0.35)}[name]
    held, goal = 0, Goal("g", "threshold", 0.0, name)
    for seed in range(TRIALS):
        x, y = rng.normal(size=(2, 200))
        half = np.arange(200) % 2
        truth, given = {
            "auc": (half, y + half), "mae": (x, x + 0.5 * y), "spearman": (x, 0.7 * x + (1 - 0.49) ** 0.5 * y),
        }[name]  # fmt: skip
        (look,) = looks(tmp_path, goal, Rows(given, given, truth), confidence=0.9, resamples=500, seed=seed)
        held += look.low <= true <= look.high
    assert held >= LEAST


def test_intervals_of_many_slices_hold_together(rng, tmp_path):
    """All ten at once in 90 % of trials; as narrow as for one look, in about a third."""
    goal, together, alone, narrow = Goal("g", "max-degradation", 0.0, "mae", column="s"), 0, 0, 1.645 / 2.576
    for seed in range(100):
        x, y, z = rng.normal(size=(3, 600))
        rows = Rows(x + y, x + z, x, {"s": np.repeat(np.arange(10), 60)})
        found = looks(tmp_path, goal, rows, confidence=0.9, resamples=500, seed=seed)
        together += all(each.low <= 0 <= each.high for each in found)
        ends = [(v.value + narrow * (v.low - v.value), v.value + narrow * (v.high - v.value)) for v in found]
        alone += all(low <= 0 <= high for low, high in ends)
    assert together >= 100 * 0.9 - 4 * 3 and alone < 60


def test_pairs_are_kept_together(rng, tmp_path):
    """What both models get wrong says nothing about their difference."""
    x, noise, small = rng.normal(size=400), 5 * rng.normal(size=400), 0.01 * rng.normal(size=400)
    rows = Rows(x + noise, x + noise + small, x)
    (paired,) = looks(tmp_path, Goal("g", "max-degradation", 0.0, "mae"), rows)
    (single,) = looks(tmp_path, Goal("g", "threshold", 0.0, "mae"), rows)
    assert paired.high - paired.low < 0.01 and single.high - single.low > 0.3


def test_a_seed_gives_the_same_intervals_twice(rng, tmp_path):
    rows, goal = simulated(rng, 100, 0.2, 0.1), Goal("g", "max-degradation", 0.1, "mae")
    first, again, other = (looks(tmp_path, goal, rows, seed=seed) for seed in (3, 3, 4))
    assert first == again != other


@pytest.mark.parametrize("rows", [50, 400])
def test_rows_on_which_models_agree_do_not_say_that_they_always_do(tmp_path, rows):
    """A normal interval of two imagined rows among n + 2 has its ends at 1.96·√2 / (n + 2)."""
    same = np.ones(rows)
    (look,) = looks(tmp_path, Goal("g", "max-degradation", 0.01, "accuracy"), Rows(same, same, np.ones(rows, int)))
    assert look.value == 0 and look.high == pytest.approx(1.96 * 2**0.5 / (rows + 2), rel=0.5)
    assert look.verdict == ("pass" if rows == 400 else "inconclusive")
