"""Durations measured elsewhere, told to pytest-benchmark through its `timer`: a clock that a recording moves on."""

from __future__ import annotations

from collections.abc import Callable, Sequence


class Replay:
    """A clock for ``@pytest.mark.benchmark(timer=replay.now)``.

    pytest-benchmark reads the clock, calls what it measures, and reads the clock again. What it calls here only moves
    the clock by the next recorded duration, so its statistics, comparisons and files are those of the recording.
    """

    def __init__(self) -> None:
        self._seconds = 0.0

    def now(self) -> float:
        """The timer."""
        return self._seconds

    def of(self, durations: Sequence[float]) -> Callable[[], None]:
        """What to hand to ``benchmark.pedantic(..., rounds=len(durations))``."""
        left = iter(durations)

        def step() -> None:
            self._seconds += next(left)

        return step
