"""Intervals: what a figure would be on other rows of the same kind.

    counts [resamples, rows]   how often each row occurs in a resample: rows drawn with replacement

Float model and candidate are computed on the same resamples (paired), so what both get wrong cancels in their
difference. A metric takes all resamples at once, as weights of rows. An interval is cut from the sorted results
(percentile method).

Where `looks` intervals are read together, such as one for each slice, each gets the share α / looks of the error
(Bonferroni): then all of them hold together with the stated confidence, whatever the slices have in common. Slices of
several columns share rows, so a correction that wants independent looks (Šidák) would not hold. So far in the tails
more resamples are drawn (`resamples_for`).

A share, such as the part of decisions that flipped, has the exact interval of Clopper and Pearson. A resample of rows
without a flip has none, and would say that no row ever flips.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np

from ..arguments.extras import load

#: Resamples beyond an end of an interval, at least.
_TAIL = 25
#: Numbers of a chunk of counts.
_CHUNK = 1 << 21


class Interval(NamedTuple):
    """Ends of a confidence interval."""

    low: float
    high: float


def resamples_for(resamples: int, confidence: float, looks: int) -> int:
    """How many resamples intervals of so many looks need: the given number, or more."""
    return max(resamples, math.ceil(2 * _TAIL * looks / (1 - confidence)))


def chunks(rows: int, resamples: int, seed: int) -> Iterator[np.ndarray]:
    """Counts of rows, a chunk of resamples at a time; the same for the same seed."""
    rng, step = np.random.default_rng(seed), max(1, _CHUNK // max(rows, 1))
    for first in range(0, resamples, step):
        count = min(step, resamples - first)
        drawn = rng.integers(0, rows, (count, rows)) + rows * np.arange(count)[:, None]
        yield np.bincount(drawn.ravel(), minlength=count * rows).reshape(count, rows).astype(np.float64)


def percentile(replicates: np.ndarray, confidence: float, looks: int = 1) -> Interval:
    """The interval that resamples give.

    A resample in which the figure is not defined, such as AUC without a positive row, counts at both ends.
    """
    tail = (1 - confidence) / 2 / looks
    unknown = np.isnan(replicates)
    low = np.quantile(np.where(unknown, -np.inf, replicates), tail, method="lower")
    high = np.quantile(np.where(unknown, np.inf, replicates), 1 - tail, method="higher")
    return Interval(float(low), float(high))


def share(count: int, rows: int, confidence: float, looks: int = 1) -> Interval:
    """The interval of Clopper and Pearson for a share of rows."""
    beta: Any = load("scipy.stats", "gate", "an interval of a share").beta
    tail = (1 - confidence) / 2 / looks
    low = 0.0 if count == 0 else float(beta.ppf(tail, count, rows - count + 1))
    high = 1.0 if count == rows else float(beta.ppf(1 - tail, count + 1, rows - count))
    return Interval(low, high)
