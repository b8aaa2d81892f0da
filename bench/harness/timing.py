"""Bursts: many calls in a row, timed in batches that are long enough for the clock."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable

#: Seconds of calls before counting, from rest: a framework's threads must wake, the scheduler must have spread them
#: over the cores (it looks every 4 ms; until then some pools run at half speed), and caches must be filled.
WARM = 0.008
#: Seconds that are counted at least, and seconds of one batch of calls between two looks at the clock.
BURST = 0.003
BATCH = 50e-6


def seconds(call: Callable[[], object], count: int = 1) -> float:
    """Seconds of each of `count` calls in a row."""
    start = time.perf_counter()
    for _ in range(count):
        call()
    return (time.perf_counter() - start) / count


def each(call: Callable[[], object], duration: float) -> list[float]:
    """Seconds of every single call that began within `duration` seconds."""
    times, end = [], time.perf_counter() + duration
    while time.perf_counter() < end:
        times.append(seconds(call))
    return times


def burst(call: Callable[[], object], warm: float = WARM) -> float:
    """The median seconds of a call over BURST, after `warm` seconds of calls (and one at least, unless that is 0)."""
    begin = time.perf_counter()
    once = seconds(call)
    while time.perf_counter() - begin < warm:
        once = seconds(call)
    count = max(1, int(BATCH / once))
    batches = [] if warm or count > 1 else [once]
    while sum(batches) * count < BURST:
        batches.append(seconds(call, count))
    return statistics.median(batches)
