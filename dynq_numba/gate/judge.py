"""From goals and predictions to verdicts.

A goal is looked at once, or once for each slice or group. A look has a value, what it would be on resampled rows, and
so an interval; where all of that is on the good side of the limit the verdict is pass, where all is on the bad side it
is fail, and between it is inconclusive: this data cannot tell.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from . import bootstrap, fairness, metrics
from .bootstrap import Interval
from .config import BOUNDS, Config, ConfigError, Goal
from .rows import Rows, function_of
from .verdicts import Result, verdict_of

#: (counts, imagined) -> values on resamples.
Figures = Callable[[np.ndarray, np.ndarray], np.ndarray]
#: A column of more values is none of groups; nor are its values for a report.
MOST_VALUES = 50


@dataclass
class Facts:
    """What is known of the models without running them.

    Attributes
    ----------
    reference_bytes, candidate_bytes : int
    coverage : float
        Which part of the bytes of weights the candidate's receipt has as quantized.
    """

    reference_bytes: int
    candidate_bytes: int
    coverage: float


@dataclass
class Look:
    """One value of a goal.

    Attributes
    ----------
    where : str
        Such as "length = short".
    rows : int or None
    value : float
    figures : callable or None
        (counts, imagined) -> values on resamples.
    interval : Interval or None
        Where it comes from elsewhere.
    reference, candidate : float or None
        The two values that a difference is of.
    """

    where: str
    rows: int | None
    value: float
    figures: Figures | None = None
    interval: Interval | None = None
    reference: float | None = None
    candidate: float | None = None


def judge(config: Config, rows: Rows | None, facts: Facts) -> Iterator[Result]:
    """The results of all goals, in order.

    Raises
    ------
    ConfigError
        Where a goal names what the data does not have.
    MetricError
        Where labels or predictions are not what a metric takes.
    """
    for goal in config.goals:
        try:
            yield from _judged(config, goal, rows, facts)
        except metrics.MetricError as error:
            raise metrics.MetricError(f"{goal.name}: {error}") from error


def _judged(config: Config, goal: Goal, rows: Rows | None, facts: Facts) -> Iterator[Result]:
    if goal.bound in ("max-size", "max-size-ratio", "min-coverage", "max-latency-ratio"):
        looks, least = [_of_models(config, goal, rows, facts)], BOUNDS[goal.bound] == "least"
    else:
        assert rows is not None
        looks, least = _of_rows(config, goal, rows)
        _intervals(config, looks, len(rows))
    for look in looks:
        note = ""
        if look.rows is not None and look.rows < config.min_rows:
            note = f"{look.rows} rows are fewer than min-rows = {config.min_rows}"
        elif np.isnan(look.value):
            note = "not defined for these rows"
        verdict = "inconclusive" if note else verdict_of(look.value, look.interval, goal.limit, least)
        low, high = look.interval or (None, None)
        yield Result(
            goal.name, look.where, goal.metric, goal.fairness, goal.bound, goal.limit, least, look.value, low, high,
            look.reference, look.candidate, look.rows, verdict, goal.critical, note,
        )  # fmt: skip


def _of_models(config: Config, goal: Goal, rows: Rows | None, facts: Facts) -> Look:
    if goal.bound == "max-size":
        return Look("", None, float(facts.candidate_bytes))
    if goal.bound == "max-size-ratio":
        return Look("", None, facts.candidate_bytes / facts.reference_bytes)
    if goal.bound == "min-coverage":
        return Look("", None, facts.coverage)
    assert rows is not None and rows.latency_ratios is not None
    ratios = rows.latency_ratios
    drawn = np.random.default_rng(config.seed).integers(0, len(ratios), (config.resamples, len(ratios)))
    interval = bootstrap.percentile(np.median(ratios[drawn], axis=1), config.confidence)
    return Look("", None, float(np.median(ratios)), interval=interval)


def _intervals(config: Config, looks: list[Look], rows: int) -> None:
    """Of all looks at one goal: they hold together."""
    open_looks = [look for look in looks if look.figures]
    if not open_looks:
        return
    resamples = bootstrap.resamples_for(config.resamples, config.confidence, len(looks))
    rng, found = np.random.default_rng([config.seed, 1]), [list[np.ndarray]() for _ in open_looks]
    for counts in bootstrap.chunks(rows, resamples, config.seed):
        imagined = rng.poisson(1, (2, len(counts))).astype(np.float64)
        for look, parts in zip(open_looks, found, strict=True):
            assert look.figures
            parts.append(look.figures(counts, imagined))
    for look, parts in zip(open_looks, found, strict=True):
        look.interval = bootstrap.percentile(np.concatenate(parts), config.confidence, len(looks))


def _places(config: Config, goal: Goal, rows: Rows) -> list[tuple[str, np.ndarray]]:
    """The rows of each look, and what they are called."""
    column = goal.column or (goal.group if goal.fairness == "by_group" or "group" in goal.bound else None)
    if column is None:
        return [("", np.arange(len(rows)))]
    assert rows.columns is not None
    groups = fairness.Groups(rows.columns[column])
    _check_groups(config, column, groups)
    places = {name: np.flatnonzero(groups.index == i) for i, name in enumerate(groups.names)}
    for value in goal.values:
        if value not in places:
            some = ", ".join(map(str, places))
            raise ConfigError([f"{config.path.name}: {goal.name}: column {column!r} has no {value!r}; it has {some}"])
    return [(f"{column} = {value}", places[value]) for value in goal.values or places]


def _check_groups(config: Config, column: str, groups: fairness.Groups) -> None:
    if len(groups.names) > MOST_VALUES:
        what = f"has {len(groups.names)} values; slices have {MOST_VALUES} at most"
        raise ConfigError([f"{config.path.name}: column {column!r} {what}"])


def _of_rows(config: Config, goal: Goal, rows: Rows) -> tuple[list[Look], bool]:
    """The looks at a goal, and whether it wants at least its limit."""
    options = metrics.Options(config.classes, config.positive, config.decision_threshold, goal.k)
    places = _places(config, goal, rows)
    if "flips" in goal.bound:
        return [_flips(config, where, rows, index, options, len(places)) for where, index in places], False
    metric = _metric(config, goal)
    better = metric.greater_is_better if metric and not goal.fairness else True
    if goal.fairness:
        better = fairness.greater_is_better(goal.fairness, metric)
    looks = [_look(config, goal, metric, where, rows, index, options, better) for where, index in places]
    return looks, goal.bound == "threshold" and better


def _metric(config: Config, goal: Goal) -> metrics.Metric | None:
    if goal.metric is None or goal.metric in metrics.METRICS:
        return metrics.METRICS[goal.metric] if goal.metric else None
    return metrics.users(function_of(config, f"{goal.name}: metric", goal.metric), bool(goal.greater_is_better))


def _flips(
    config: Config, where: str, rows: Rows, index: np.ndarray, options: metrics.Options, looks: int
) -> Look:
    before, after = (metrics.taken(each, index) for each in (rows.reference, rows.candidate))
    flips, count = int(metrics.flipped(before, after, options).sum()), len(index)
    interval = bootstrap.share(flips, count, config.confidence, looks)
    return Look(where, count, flips / count, interval=interval)


def _look(
    config: Config, goal: Goal, metric: metrics.Metric | None, where: str, rows: Rows, index: np.ndarray,
    options: metrics.Options, better: bool,
) -> Look:  # fmt: skip
    """A metric or a measure of fairness, of both models."""
    labels = rows.truth if goal.fairness in fairness.RATES or (metric and metric.labelled) else rows.reference
    truth, sides = metrics.taken(labels, index), list[tuple[float, Figures]]()
    for given in (rows.reference, rows.candidate):
        predictions = metrics.taken(given, index)
        if goal.fairness and goal.fairness != "by_group":
            assert rows.columns is not None and goal.group
            groups = fairness.Groups(rows.columns[goal.group][index])
            _check_groups(config, goal.group, groups)
            value = fairness.fairlearn_figure(goal.fairness, metric, truth, predictions, groups, options)
            if metric is None:
                figures = _ignoring(fairness.rate_figures(goal.fairness, truth, predictions, groups, options))
            else:
                made = fairness.metric_figures(goal.fairness, metric, truth, predictions, groups, options)
                figures = _ignoring(made)
        else:
            assert metric is not None
            state = metric.prepare(truth, predictions, options)
            value = float(metric.figures(state, np.ones((1, len(index))))[0])
            figures = _figures(metric, state, candidate=bool(sides))
        sides.append((value, figures))
    (before, of_reference), (after, of_candidate) = sides
    change = _CHANGES[goal.bound](better)

    def on_resamples(counts: np.ndarray, imagined: np.ndarray) -> np.ndarray:
        part = counts[:, index]
        return change(of_reference(part, imagined), of_candidate(part, imagined))

    value = float(change(np.array(before), np.array(after)))
    return Look(where, len(index), value, on_resamples, None, before, after)


def _ignoring(figures: Callable[[np.ndarray], np.ndarray]) -> Figures:
    return lambda counts, imagined: figures(counts)


def _figures(metric: metrics.Metric, state: Any, *, candidate: bool) -> Figures:
    """Where rows are right or wrong, one more row is imagined that only the float model gets right, and one that only
    the candidate does (as in Bonett and Price's interval for paired shares): resamples of rows on which the two agree
    would say that they always do.
    """
    if not metric.binary:
        return _ignoring(lambda counts: metric.figures(state, counts))

    def figures(counts: np.ndarray, imagined: np.ndarray) -> np.ndarray:
        return (counts @ state[0] + imagined[int(candidate)]) / (counts.sum(1) + imagined.sum(0))

    return figures


def _degradation(better: bool) -> Callable[[np.ndarray, np.ndarray], np.ndarray]:
    return lambda before, after: before - after if better else after - before


def _percent(better: bool) -> Callable[[np.ndarray, np.ndarray], np.ndarray]:
    def change(before: np.ndarray, after: np.ndarray) -> np.ndarray:
        with np.errstate(invalid="ignore", divide="ignore"):
            return 100 * _degradation(better)(before, after) / np.abs(before)

    return change


_CHANGES: dict[str, Callable[[bool], Callable[[np.ndarray, np.ndarray], np.ndarray]]] = {
    "threshold": lambda better: lambda before, after: after,
    "max-degradation": _degradation,
    "percent-max-degradation": _percent,
}
