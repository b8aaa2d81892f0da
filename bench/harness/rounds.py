"""Interleaved rounds: every contestant in turn, one burst each, repeated. So a busy moment affects all of them."""

from __future__ import annotations

import os
import tempfile
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

from bench.harness import machine, problem
from bench.harness.awake import rest
from bench.harness.problem import BITS, Case
from bench.harness.remote import Failed, Remote
from bench.peers import Contestant, missing

#: A contestant that takes this many times the fastest one's time takes part in every third round only.
SLOW = 2.5
#: Seconds of a call that is never too slow for every round.
PATIENT = 0.001
#: A turn this many times slower than the same contestant's best so far is repeated at the end of its round, and at
#: most so often. Virtual machines need it: for some tenths of a second after a rest both "cores" may be one.
DISTURBED, RETRIES = 1.3, 2
#: Families whose layers have a thread pool each that spins long after a call: no cold weights on several threads.
POOL_PER_LAYER = ("onnxruntime",)
LIMITS = "limits"


@dataclass
class Measurement:
    """What the rounds of one case gave: seconds (or rates) by round."""

    case: Case
    called: dict[str, dict[int, float]] = field(default_factory=dict)
    bare: dict[str, dict[int, float]] = field(default_factory=dict)
    peak: dict[int, float] = field(default_factory=dict)
    bandwidth: dict[int, float] = field(default_factory=dict)
    error: dict[str, float] = field(default_factory=dict)
    missing: dict[str, str] = field(default_factory=dict)
    #: Turns that were disturbed and so repeated.
    repeated: int = 0
    #: Of each turn, whether it began on a machine where nothing else ran.
    quiet: list[bool] = field(default_factory=list)

    def _series(self, name: str) -> list[dict[int, float]]:
        """Everything measured of a contestant, the smaller the better."""
        if name == LIMITS:
            return [{number: 1 / rate for number, rate in rates.items()} for rates in (self.peak, self.bandwidth)]
        return [times[name] for times in (self.called, self.bare) if name in times]

    def best(self, name: str) -> float:
        """A contestant's shortest call so far; the limits are never slow."""
        return 0.0 if name == LIMITS else min(self.called.get(name, {}).values(), default=float("inf"))

    def disturbed(self, name: str, number: int) -> bool:
        """Whether a contestant's turn of this round was far from its best one."""
        series = [] if name in self.missing else self._series(name)
        return any(times[number] > DISTURBED * min(times.values()) for times in series)


class Lineup:
    """The contestants of one thread count, each in its process, and the problem they share."""

    def __init__(self, chosen: Sequence[Contestant], threads: int, *, avx2: bool = False):
        self.threads = threads
        self.contestants = {c.name: c for c in chosen}
        self.absent = {c.name: reason for c in chosen if (reason := missing(c))}
        environments = {LIMITS: machine.HASWELL if avx2 else {}}
        for c in chosen:
            if c.name in self.absent:
                continue
            if avx2 and c.avx2 is None:
                self.absent[c.name] = "has no switch that limits it to AVX2"
                continue
            narrow = machine.HASWELL if c.family == "dynq" else c.avx2
            environments[c.name] = {**c.environment(threads), **(narrow if avx2 else {})}
        self.remotes = {name: Remote(name, threads, environment) for name, environment in environments.items()}
        self.folder = tempfile.TemporaryDirectory(prefix="dynq-bench-")

    def __enter__(self) -> Lineup:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """End the processes."""
        for remote in self.remotes.values():
            remote.stop()
        self.folder.cleanup()

    def why_not(self, name: str, case: Case) -> str | None:
        """Why a contestant sits a case out, or None."""
        if case.cold and case.threads > 1 and self.contestants[name].family in POOL_PER_LAYER:
            return "the copies' thread pools would spin against each other"
        return self.absent.get(name)

    def copies(self, name: str, case: Case) -> int:
        """How many layers exceed the last-level cache twice, for cold weights."""
        if not case.cold:
            return 1
        bits = 8 if name == LIMITS else BITS[self.contestants[name].weights]
        return 1 + 2 * machine.last_level_cache() * 8 // (case.shape.k * case.shape.n * bits)

    def prepare(self, case: Case, names: Sequence[str], result: Measurement) -> list[str]:
        """Build and check everyone's layer, several at a time; gives those that can run."""
        problem.make(case.shape, Path(self.folder.name))

        def one(name: str) -> bool:
            try:
                answer = self.remotes[name].ask("prepare", folder=self.folder.name, copies=self.copies(name, case))
            except Failed as reason:
                result.missing[name] = str(reason)
                return False
            result.error[name] = answer["error"]
            return True

        with ThreadPoolExecutor(os.cpu_count()) as pool:
            return [name for name, ready in zip(names, pool.map(one, names), strict=True) if ready]

    def measure(self, case: Case, names: Sequence[str], *, budget: float, most: int, fewest: int = 5) -> Measurement:
        """As many rounds as fit `budget` seconds, between `fewest` and `most`, after one that is not counted."""
        result = Measurement(case, missing={name: reason for name in names if (reason := self.why_not(name, case))})
        ready = self.prepare(case, [LIMITS, *(name for name in names if name not in result.missing)], result)
        opening = Measurement(case, missing=result.missing)
        cost = {name: self._turn(name, 0, opening) for name in ready}
        ready = [name for name in ready if name not in result.missing]

        def often(name: str) -> bool:
            fastest = min((opening.best(other) for other in ready if other != LIMITS), default=0.0)
            return min(opening.best(name), result.best(name)) <= max(SLOW * fastest, PATIENT)

        once = sum(cost[name] / (1 if often(name) else 3) for name in ready)
        for number in range(max(fewest, min(most, int(budget / max(once, 1e-3))))):
            first = number % max(1, len(ready))
            self._round([n for n in ready[first:] + ready[:first] if number % 3 == 0 or often(n)], number, result)
        for name in ready:
            if name not in result.missing:
                self.remotes[name].ask("release")
        return result

    def _round(self, turns: list[str], number: int, result: Measurement) -> None:
        """A turn for each, and again for those that were disturbed."""
        for attempt in range(1 + RETRIES):
            result.repeated += len(turns) if attempt else 0
            for name in turns:
                if name not in result.missing:
                    self._turn(name, number, result)
            turns = [name for name in turns if result.disturbed(name, number)]

    def _turn(self, name: str, number: int, result: Measurement) -> float:
        """One burst; gives the seconds it took, 0 where it failed."""
        begin = time.monotonic()
        result.quiet.append(rest())
        try:
            answer = self.remotes[name].ask("burst")
        except Failed as reason:
            result.missing[name] = str(reason)
            return 0.0
        if name == LIMITS:
            result.peak[number], result.bandwidth[number] = answer["peak"], answer["bandwidth"]
        else:
            result.called.setdefault(name, {})[number] = answer["called"]
            if answer["bare"] is not None:
                result.bare.setdefault(name, {})[number] = answer["bare"]
        return time.monotonic() - begin
