"""Whether something else ran while figures were measured. They are measured again then; if that too was disturbed, they
are marked ("disturbed") and kept out of summaries."""

from __future__ import annotations

import statistics
import sys
from collections.abc import Callable, Iterable, Sequence

#: Figures are disturbed where something is faster than its limit by this factor, which cannot be; where the
#: interquartile range of times is over this part of their median; where something else ran at over this part of turns.
BEYOND, SPREAD, BUSY = 1.15, 0.5, 0.5


def iqr(values: Iterable[float]) -> float:
    """The interquartile range; 0 of a single value."""
    values = list(values)
    if len(values) < 2:
        return 0.0
    low, _, high = statistics.quantiles(values, n=4, method="inclusive")
    return high - low


def spread(values: Iterable[float]) -> float:
    """The interquartile range as a part of the median."""
    values = list(values)
    return iqr(values) / statistics.median(values)


def quiet_part(quiet: Sequence[bool]) -> float | None:
    """The part of turns that began on a machine where nothing else ran."""
    return round(statistics.fmean(quiet), 3) if quiet else None


def disturbed(spreads: Iterable[float], quiet: float | None, of_limits: Iterable[float | None] = ()) -> bool:
    """Whether figures say little: by spreads, by the quiet part of turns, by what was reached of a limit."""
    return (
        any(each > SPREAD for each in spreads)
        or (quiet is not None and 1 - quiet > BUSY)
        or any((each or 0) > BEYOND for each in of_limits)
    )


def steady(measure: Callable[[], dict]) -> dict:
    """The record that `measure` gives: of a second time where the first was "disturbed"."""
    record = measure()
    if record["disturbed"]:
        print("disturbed: once more", file=sys.stderr, flush=True)
        record = measure()
        if record["disturbed"]:
            print("disturbed: marked, and kept out of summaries", file=sys.stderr, flush=True)
    return record
