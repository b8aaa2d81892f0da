"""Fairness: how far a model treats groups of people alike, in fairlearn's terms.

| of rates, by group | largest minus smallest, or smallest over largest, of |
|---|---|
| `demographic_parity_difference`, `…_ratio` | selection rate |
| `equal_opportunity_difference`, `…_ratio` | true positive rate |
| `equalized_odds_difference`, `…_ratio` | true and false positive rate: the worse of the two |

| of a metric, by group | |
|---|---|
| `difference`, `ratio`, `group_min`, `group_max` | of its values in the groups |
| `by_group` | each group is a goal of its own |

What is reported is fairlearn's own figure; the same in numpy, for all resamples at once, makes its interval
(tests/gate/test_fairness.py compares the two).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from ..arguments.extras import load
from .metrics import Metric, Options, checked, is_positive, selected, taken

Spread = Callable[[np.ndarray], np.ndarray]


def _difference(values: np.ndarray) -> np.ndarray:
    return values.max(1) - values.min(1)


def _ratio(values: np.ndarray) -> np.ndarray:
    """Where all are 0, all are the same; fairlearn gives NaN for 0 / 0."""
    with np.errstate(invalid="ignore", divide="ignore"):
        return values.min(1) / values.max(1)


SPREADS: dict[str, Spread] = {
    "difference": _difference, "ratio": _ratio,
    "group_min": lambda values: values.min(1), "group_max": lambda values: values.max(1),
}  # fmt: skip
#: Rates, as numerator and denominator among the columns of `_rates`.
_SELECTION, _TRUE, _FALSE = (0, 1), (2, 3), (4, 5)
RATES: dict[str, tuple[tuple[tuple[int, int], ...], str]] = {
    f"{name}_{kind}": (rates, kind)
    for name, rates in (
        ("demographic_parity", (_SELECTION,)), ("equal_opportunity", (_TRUE,)), ("equalized_odds", (_TRUE, _FALSE)),
    )
    for kind in ("difference", "ratio")
}  # fmt: skip
#: What the group of rows without a value is called.
MISSING = "(missing)"
NAMES = ("by_group", *SPREADS, *RATES)


def greater_is_better(name: str, metric: Metric | None) -> bool:
    """Whether more of it is better: of ratios, and of the worst group's value where that is so of the metric."""
    if name in ("group_min", "group_max", "by_group"):
        return metric is None or metric.greater_is_better
    return name.endswith("ratio")


class Groups:
    """Which group each row is in.

    Parameters
    ----------
    labels : sequence
        A value for each row. Rows without one (None, NaN) are a group, too.
    """

    def __init__(self, labels: Sequence[Any] | np.ndarray) -> None:
        given = np.asarray(labels)
        missing = np.array([each is None or each != each for each in given.tolist()], bool)
        names, index = np.unique(given[~missing], return_inverse=True)
        self.names = [*names.tolist(), *([MISSING] if missing.any() else [])]
        self.index = np.full(len(given), len(names))
        self.index[~missing] = index
        self.rows = [np.flatnonzero(self.index == i) for i in range(len(self.names))]


def rate_figures(
    name: str, truth: Any, predictions: Any, groups: Groups, options: Options
) -> Callable[[np.ndarray], np.ndarray]:
    """counts -> figures of a fairness measure of rates."""
    of, said = is_positive(checked(truth, options), options), selected(predictions, options)
    columns = np.stack([said, np.ones(len(of)), said & of, of, said & ~of, ~of], -1).astype(np.float64)
    member = groups.index[:, None] == np.arange(len(groups.names))
    state = (member[:, :, None] * columns[:, None, :]).reshape(len(of), -1)
    rates, kind = RATES[name]

    def figures(counts: np.ndarray) -> np.ndarray:
        sums = (counts @ state).reshape(len(counts), len(groups.names), 6)
        with np.errstate(invalid="ignore", divide="ignore"):
            each = [SPREADS[kind](sums[:, :, a] / sums[:, :, b]) for a, b in rates]
        return np.max(each, axis=0) if kind == "difference" else np.min(each, axis=0)

    return figures


def metric_figures(
    name: str, metric: Metric, truth: Any, predictions: Any, groups: Groups, options: Options
) -> Callable[[np.ndarray], np.ndarray]:
    """counts -> figures of the spread of a metric between groups."""
    states = [metric.prepare(taken(truth, rows), taken(predictions, rows), options) for rows in groups.rows]

    def figures(counts: np.ndarray) -> np.ndarray:
        pairs = zip(states, groups.rows, strict=True)
        return SPREADS[name](np.stack([metric.figures(state, counts[:, rows]) for state, rows in pairs], 1))

    return figures


def fairlearn_figure(
    name: str, metric: Metric | None, truth: Any, predictions: Any, groups: Groups, options: Options
) -> float:
    """The figure as fairlearn computes it."""
    library = load("fairlearn.metrics", "gate", f"fairness = {name!r}")
    if name in RATES:
        of, said = is_positive(checked(truth, options), options), selected(predictions, options)
        return float(getattr(library, name)(of, said, sensitive_features=groups.index))
    assert metric is not None

    def of_rows(_: Any, rows: Any) -> float:
        rows = np.asarray(rows)
        state = metric.prepare(taken(truth, rows), taken(predictions, rows), options)
        return float(metric.figures(state, np.ones((1, len(rows))))[0])

    rows = np.arange(len(groups.index))
    frame = library.MetricFrame(metrics=of_rows, y_true=rows, y_pred=rows, sensitive_features=groups.index)
    return float(getattr(frame, name)())
