"""How long each step of a run takes: they are called one by one, in their order, so that caches are as in any run."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import numpy as np

from ..kernels.program import run as program
from .segment import Segment

#: `kernels.program.run.run`, compiled: (segment, table, records, results, threads) -> status.
Call = Callable[[np.ndarray, np.ndarray, np.ndarray, tuple[np.ndarray, ...], int], int]
#: Bytes of a step in the table of a segment: its function and the place of its record.
_STEP = 16


class Stopwatch:
    """Watches one run.

    Parameters
    ----------
    run : Call
        What calls the steps of a segment.

    Attributes
    ----------
    laps : list of (Segment, list of float)
        The segments that the run went through, and the microseconds of each step and of what Python did in the end.
    idle : float
        The least that a call took that had no step to do. A step's time has as much too much.
    """

    def __init__(self, run: Call) -> None:
        self._run = run
        self.laps: list[tuple[Segment, list[float]]] = []
        self.idle = float("inf")

    def enter(self, segment: Segment) -> None:
        self.laps.append((segment, []))

    def call(self, words: np.ndarray, *rest: Any) -> int:
        """As `run`."""
        single, steps, count = words.copy(), program.Segment.steps, program.Segment.step_count
        single[count] = 0
        self.idle = min(self.idle, timed(self._run, single, *rest)[1])
        single[count] = 1
        for i in range(int(words[count])):
            single[steps] = words[steps] + i * _STEP
            status, us = timed(self._run, single, *rest)
            self.laps[-1][1].append(us)
            if status:
                return i * program.STATUSES + status
        return 0

    def act(self, function: Callable[..., Any], *arguments: Any) -> Any:
        """What Python does at the end of a segment."""
        result, us = timed(function, *arguments)
        self.laps[-1][1].append(us)
        return result


def timed(function: Callable[..., Any], *arguments: Any) -> tuple[Any, float]:
    """What a function gives, and the microseconds that it took."""
    begun = time.perf_counter()
    result = function(*arguments)
    return result, 1e6 * (time.perf_counter() - begun)
