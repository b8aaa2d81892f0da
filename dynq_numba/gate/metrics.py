"""Metrics: a figure of merit from labels and predictions, for many resamples of the rows at once.

    state = metric.prepare(truth, predictions, options)      numbers of rows
    figures [resamples] = metric.figures(state, counts)      counts [resamples, rows] of bootstrap.py

A `Metric` of sums has two numbers for each row: the figure is the sum of the one over the sum of the other. Others say
how they are computed. With counts of one, the figure is that of scikit-learn, scipy or the definition
(tests/gate/test_metrics.py compares).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from ..arguments.errors import UsageError


class MetricError(UsageError):
    """Labels or predictions are not what a metric takes."""


@dataclass(frozen=True)
class Options:
    """What the file says about labels and decisions.

    Attributes
    ----------
    classes : tuple
        Labels in the order of the outputs.
    positive : object
        The label that F1, AUC and rates are about; None is the last class.
    cut : float
        From where on a single score is a yes.
    k : int
        Of recall@k.
    """

    classes: tuple[Any, ...] = ()
    positive: Any = None
    cut: float = 0.5
    k: int = 10


@dataclass(frozen=True)
class Metric:
    """How a figure is computed.

    Attributes
    ----------
    prepare : callable
        (truth, predictions, options) -> state.
    figures : callable
        (state, counts) -> array of figures.
    greater_is_better : bool
    labelled : bool
        Whether it needs labels; if not, truth is what the float model gives.
    binary : bool
        Whether each row is right or wrong.
    """

    prepare: Callable[[Any, Any, Options], Any]
    figures: Callable[[Any, np.ndarray], np.ndarray]
    greater_is_better: bool = True
    labelled: bool = True
    binary: bool = False


def ratio_of_sums(state: tuple[np.ndarray, np.ndarray], counts: np.ndarray) -> np.ndarray:
    with np.errstate(invalid="ignore", divide="ignore"):
        return (counts @ state[0]) / (counts @ state[1])


def decisions(predictions: Any, options: Options) -> np.ndarray:
    """What is decided for each row: the class of the largest score, or whether a single score reaches the cut."""
    found = np.asarray(predictions) if not _ragged(predictions) else None
    if found is None or found.ndim > 2:
        raise MetricError("a decision needs a score, a row of scores or a label for each row; postprocess can make it")
    if found.ndim == 2 and found.shape[1] == 1:
        found = found[:, 0]
    if found.dtype.kind == "f":
        indices = (found >= options.cut).astype(np.int64) if found.ndim == 1 else found.argmax(1)
        return _named(indices, options)
    if found.ndim == 2:
        raise MetricError(f"a decision needs scores of floats; got {found.dtype}")
    return found


def undecided(predictions: Any) -> np.ndarray:
    """Rows with a NaN: nothing is decided there, so they are wrong, and no group is selected by them."""
    found = np.asarray(predictions)
    return np.isnan(found).reshape(len(found), -1).any(1) if found.dtype.kind == "f" else np.zeros(len(found), bool)


def selected(predictions: Any, options: Options) -> np.ndarray:
    """For which rows the positive label is decided."""
    return is_positive(decisions(predictions, options), options) & ~undecided(predictions)


def flipped(before: Any, after: Any, options: Options) -> np.ndarray:
    """For which rows the two decide otherwise; that one decides and the other does not is a flip."""
    none, others = undecided(before), undecided(after)
    return np.where(none | others, none != others, decisions(before, options) != decisions(after, options))


def checked(truth: Any, options: Options) -> np.ndarray:
    """Labels, none of them missing or unknown: a row that no model can have right would hide what it costs."""
    labels = np.asarray(truth)
    values = labels.tolist() if labels.ndim == 1 else []
    if missing := sum(each is None or each != each for each in values):
        raise MetricError(f"{missing} of {len(values)} labels are missing")
    if options.classes and (unknown := sum(each not in options.classes for each in values)):
        raise MetricError(f"{unknown} of {len(values)} labels are none of data.classes {list(options.classes)}")
    return labels


def scores(predictions: Any, options: Options) -> np.ndarray:
    """The score of the positive class for each row."""
    found = np.asarray(predictions) if not _ragged(predictions) else None
    if found is None or found.dtype.kind != "f" or found.ndim > 2:
        raise MetricError("scores must be one float, or one for each class, for each row; postprocess can make them")
    if found.ndim == 1:
        return found.astype(np.float64)
    return found[:, positive_index(options, found.shape[1])].astype(np.float64)


def positive_index(options: Options, width: int) -> int:
    names = list(options.classes) or list(range(max(width, 2)))
    positive = names[-1] if options.positive is None else options.positive
    if positive not in names:
        raise MetricError(f"positive must be one of the classes {names}; got {positive!r}")
    return min(names.index(positive), width - 1)


def is_positive(labels: Any, options: Options) -> np.ndarray:
    """Which labels are the positive one, of two."""
    found = np.asarray(labels)
    if options.positive is not None or options.classes:
        return found == (options.classes[-1] if options.positive is None else options.positive)
    if found.dtype.kind not in "iubf" or not np.isin(found, (0, 1)).all():
        raise MetricError("labels are not 0 and 1: data.classes must name the two in the order of the outputs")
    return found == 1


def _named(indices: np.ndarray, options: Options) -> np.ndarray:
    if not options.classes:
        return indices
    if indices.size and indices.max() >= len(options.classes):
        count = len(options.classes)
        raise MetricError(f"data.classes has {count} names, and the model decides for class {indices.max()}")
    return np.asarray(options.classes)[indices]


def _ragged(rows: Any) -> bool:
    return not isinstance(rows, np.ndarray) and len({np.shape(row) for row in rows}) > 1


def _hits(truth: Any, predictions: Any, options: Options) -> Any:
    labels, decided = np.asarray(truth), decisions(predictions, options)
    if labels.dtype.kind in "OUS" and decided.dtype.kind in "iub":
        raise MetricError("labels are text and decisions are numbers: data.classes must name them in order")
    if labels.dtype.kind in "iubf" and decided.dtype.kind in "OUS":
        raise MetricError("labels are numbers and decisions are names: data.classes must have the labels")
    checked(labels, options)
    return ((labels == decided) & ~undecided(predictions)).astype(np.float64), np.ones(len(labels))


def _f1(truth: Any, predictions: Any, options: Options) -> np.ndarray:
    """[rows, classes, 3]: true positive, predicted, true. Two classes: of the positive one; more: mean of all."""
    labels, decided = np.asarray(truth), decisions(predictions, options)
    _hits(truth, predictions, options)
    names = options.classes or tuple(sorted({*labels.tolist(), *decided.tolist()}))
    if not options.classes and np.ndim(predictions) == 2 and np.shape(predictions)[1] > 2:
        names = tuple(range(np.shape(predictions)[1]))  # both models and all slices have the same ones
    if len(names) <= 2:
        of, said = is_positive(labels, options)[:, None], is_positive(decided, options)[:, None]
    else:
        of, said = (each[:, None] == np.asarray(names) for each in (labels, decided))
    said = said & ~undecided(predictions)[:, None]
    return np.stack([of & said, said, of], -1).astype(np.float64)


def _f1_figures(state: np.ndarray, counts: np.ndarray) -> np.ndarray:
    both, said, of = np.moveaxis((counts @ state.reshape(len(state), -1)).reshape(len(counts), -1, 3), -1, 0)
    with np.errstate(invalid="ignore"):
        each = np.where(said + of > 0, 2 * both / (said + of), 0.0)
    return each.mean(1)


def _auc(truth: Any, predictions: Any, options: Options) -> tuple[np.ndarray, ...] | None:
    given, positive = scores(predictions, options), is_positive(checked(truth, options), options)
    if np.isnan(given).any():
        return None
    order = np.argsort(given, kind="stable")
    starts = np.flatnonzero(np.r_[True, np.diff(given[order]) != 0])
    return order, starts, positive[order].astype(np.float64)


def _auc_figures(state: tuple[np.ndarray, ...] | None, counts: np.ndarray) -> np.ndarray:
    """Mann and Whitney: the part of pairs in the right order, ties half. NaN has no place in an order."""
    if state is None:
        return np.full(len(counts), np.nan)
    order, starts, positive = state
    ordered = counts[:, order]
    above = np.add.reduceat(ordered * positive, starts, axis=1)
    below = np.add.reduceat(ordered * (1 - positive), starts, axis=1)
    before = np.cumsum(below, axis=1) - below
    with np.errstate(invalid="ignore", divide="ignore"):
        return (above * (before + below / 2)).sum(1) / (above.sum(1) * below.sum(1))


def _numbers(rows: Any, what: str) -> np.ndarray:
    if _ragged(rows):
        raise MetricError(f"{what} must have the same shape in every row")
    found = np.asarray(rows)
    if found.dtype.kind not in "iubf":
        raise MetricError(f"{what} must be numbers; got {found.dtype}")
    return found.reshape(len(found), -1).astype(np.float64)


def _errors(power: int) -> Callable[[Any, Any, Options], Any]:
    def prepare(truth: Any, predictions: Any, options: Options) -> Any:
        label, given = _numbers(truth, "labels"), _numbers(predictions, "predictions")
        if label.shape != given.shape:
            sizes = f"{label.shape[1]} and {given.shape[1]}"
            raise MetricError(f"labels and predictions must have as many numbers a row; got {sizes}")
        return (np.abs(given - label) ** power).mean(1), np.ones(len(label))

    return prepare


def _cosines(truth: Any, predictions: Any, options: Options) -> Any:
    found = np.empty(len(truth))
    for i, pair in enumerate(zip(truth, predictions, strict=True)):
        a, b = (np.asarray(each, np.float64).ravel() for each in pair)
        if a.shape != b.shape:
            raise MetricError(f"cosine takes rows of the same length; row {i} has {a.size} and {b.size}")
        length = np.sqrt((a @ a) * (b @ b))
        found[i] = a @ b / length if length else float(not (a.any() or b.any()))
    return found, np.ones(len(found))


def _ranks(truth: Any, predictions: Any, options: Options) -> Any:
    sides = []
    for rows, what in ((truth, "labels"), (predictions, "predictions")):
        found = _numbers(rows, what)
        if found.shape[1] != 1:
            raise MetricError(f"spearman takes one number a row; {what} have {found.shape[1]}")
        if np.isnan(found).any():
            return None
        order = np.argsort(found[:, 0], kind="stable")
        starts = np.flatnonzero(np.r_[True, np.diff(found[order, 0]) != 0])
        sides.append((order, starts, np.repeat(np.arange(len(starts)), np.diff(np.r_[starts, len(order)]))))
    return sides


def _spearman_figures(state: Any, counts: np.ndarray) -> np.ndarray:
    """Pearson's correlation of the ranks that rows have in a resample; ties have the mean of theirs."""
    if state is None:
        return np.full(len(counts), np.nan)
    ranks = []
    for order, starts, group in state:
        inside = np.add.reduceat(counts[:, order], starts, axis=1)
        middle = np.cumsum(inside, axis=1) - inside / 2
        back = np.empty_like(counts)
        back[:, order] = middle[:, group]
        ranks.append(back - (counts * back).sum(1, keepdims=True) / counts.sum(1, keepdims=True))
    x, y = ranks
    with np.errstate(invalid="ignore", divide="ignore"):
        return (counts * x * y).sum(1) / np.sqrt((counts * x * x).sum(1) * (counts * y * y).sum(1))


def _word_errors(truth: Any, predictions: Any, options: Options) -> Any:
    errors, words = np.empty(len(truth)), np.empty(len(truth))
    for i, (label, given) in enumerate(zip(truth, predictions, strict=True)):
        if not isinstance(label, str) or not isinstance(given, str):
            raise MetricError("wer takes texts; postprocess makes them of outputs")
        wanted, got = label.split(), given.split()
        errors[i], words[i] = _distance(wanted, got), len(wanted)
    return errors, words


def _distance(wanted: Sequence[str], got: Sequence[str]) -> int:
    """Insertions, deletions and substitutions (Levenshtein)."""
    line = list(range(len(got) + 1))
    for i, word in enumerate(wanted, 1):
        corner, line[0] = line[0], i
        for j, other in enumerate(got, 1):
            corner, line[j] = line[j], min(line[j] + 1, line[j - 1] + 1, corner + (word != other))
    return line[-1]


def _surprise(truth: Any, predictions: Any, options: Options) -> Any:
    """Of each row -Σ ln p(label), and the number of labels. Predictions are logits; labels below 0 are padding."""
    total, number = np.empty(len(truth)), np.empty(len(truth))
    for i, (label, given) in enumerate(zip(truth, predictions, strict=True)):
        logits, wanted = np.asarray(given, np.float64), np.asarray(label)
        if wanted.dtype.kind not in "iu" or logits.shape[:-1] != wanted.shape:
            shapes = f"{list(logits.shape)} and {list(wanted.shape)}"
            raise MetricError(f"perplexity takes logits [..., words] and integer labels [...]; got {shapes}")
        logits, wanted = logits.reshape(-1, logits.shape[-1]), wanted.ravel()
        logits, wanted = logits[wanted >= 0], wanted[wanted >= 0]
        if (wanted >= logits.shape[-1]).any():
            raise MetricError(f"perplexity takes labels below {logits.shape[-1]}, the words; got {wanted.max()}")
        top = logits.max(-1, initial=-np.inf)
        norm = top + np.log(np.exp(logits - top[:, None]).sum(-1))
        total[i], number[i] = (norm - logits[np.arange(len(wanted)), wanted]).sum(), len(wanted)
    return total, number


def _recall(truth: Any, predictions: Any, options: Options) -> Any:
    """Whether fewer than k scores are at least the label's; a tie counts against it."""
    found = _numbers(predictions, "scores")
    wanted = np.asarray(truth)
    if options.classes:
        places = {name: i for i, name in enumerate(options.classes)}
        wanted = np.asarray([places.get(each, -1) for each in wanted.tolist()])
    if wanted.dtype.kind not in "iu" or wanted.ndim != 1 or not ((0 <= wanted) & (wanted < found.shape[1])).all():
        raise MetricError(f"recall@k takes labels from 0 to {found.shape[1] - 1}, or those of data.classes")
    own = np.take_along_axis(found, wanted[:, None], 1)
    hits = ((found >= own).sum(1) <= options.k) & ~undecided(predictions)
    return hits.astype(np.float64), np.ones(len(found))


def _exp_ratio(state: Any, counts: np.ndarray) -> np.ndarray:
    return np.exp(ratio_of_sums(state, counts))


METRICS: dict[str, Metric] = {
    "accuracy": Metric(_hits, ratio_of_sums, binary=True),
    "f1": Metric(_f1, _f1_figures),
    "auc": Metric(_auc, _auc_figures),
    "mse": Metric(_errors(2), ratio_of_sums, greater_is_better=False),
    "mae": Metric(_errors(1), ratio_of_sums, greater_is_better=False),
    "cosine": Metric(_cosines, ratio_of_sums, labelled=False),
    "spearman": Metric(_ranks, _spearman_figures),
    "wer": Metric(_word_errors, ratio_of_sums, greater_is_better=False),
    "perplexity": Metric(_surprise, _exp_ratio, greater_is_better=False),
    "recall@k": Metric(_recall, ratio_of_sums, binary=True),
}


class _Rows(NamedTuple):
    """A number for each row."""

    values: np.ndarray


class _Whole(NamedTuple):
    """What a function of all rows is called with."""

    truth: Any
    predictions: Any


def users(function: Callable[[Any, Any], Any], greater_is_better: bool) -> Metric:
    """A metric of a user's function (truth, predictions) -> a number, or one for each row, which are averaged."""

    def prepare(truth: Any, predictions: Any, options: Options) -> _Rows | _Whole:
        found = np.asarray(function(truth, predictions), np.float64)
        if found.shape == (len(truth),):
            return _Rows(found)
        if found.ndim:
            raise MetricError(f"a metric gives a number, or one for each row; got shape {list(found.shape)}")
        return _Whole(truth, predictions)

    def figures(state: _Rows | _Whole, counts: np.ndarray) -> np.ndarray:
        if isinstance(state, _Rows):
            return ratio_of_sums((state.values, np.ones(len(state.values))), counts)
        return np.array([_once(function, state, row) for row in counts])

    return Metric(prepare, figures, greater_is_better)


def _once(function: Callable[[Any, Any], Any], state: _Whole, counts: np.ndarray) -> float:
    rows = np.repeat(np.arange(len(counts)), counts.astype(np.int64))
    try:
        return float(function(taken(state.truth, rows), taken(state.predictions, rows)))
    except (ValueError, ZeroDivisionError):
        return float("nan")  # not defined for these rows; for all of them it is, as `prepare` has seen


def taken(values: Any, rows: np.ndarray) -> Any:
    """Some rows of an array or of a list."""
    return values[rows] if isinstance(values, np.ndarray) else [values[i] for i in rows]
