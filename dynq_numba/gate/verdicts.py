"""What a gate has found: a result for each look, and the verdict on the build."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from typing import Any

from ..files.plain import plain
from ..tables import escaped, markdown
from .bootstrap import Interval

PASS, FAIL, INCONCLUSIVE = "pass", "fail", "inconclusive"
#: Units of limits that are no plain numbers.
_PERCENT = ("percent-max-degradation",)


def verdict_of(value: float, interval: Interval | None, limit: float, least: bool) -> str:
    """pass where all of the interval is on the good side of the limit, which belongs to it; fail where none is."""
    low, high = interval or (value, value)
    worst, best = (low, high) if least else (-high, -low)
    limit = limit if least else -limit
    return PASS if worst >= limit else FAIL if best < limit else INCONCLUSIVE


@dataclass(frozen=True)
class Result:
    """One look at a goal.

    Attributes
    ----------
    goal, where : str
        The goal's name, and the slice or group, such as "length = short"; empty for all rows.
    metric, fairness : str or None
    bound : str
        Such as "max-degradation".
    limit : float
    least : bool
        Whether the value must be at least the limit; else at most.
    value : float
        Of a degradation, how much worse the candidate is.
    low, high : float or None
        The interval; None for what has none, such as bytes.
    reference, candidate : float or None
        The two that a degradation is the difference of.
    rows : int or None
    verdict : str
        pass, fail or inconclusive.
    critical : bool
        Whether the build stops where it is no pass.
    note : str
        Why it is inconclusive whatever the interval.
    """

    goal: str
    where: str
    metric: str | None
    fairness: str | None
    bound: str
    limit: float
    least: bool
    value: float
    low: float | None
    high: float | None
    reference: float | None
    candidate: float | None
    rows: int | None
    verdict: str
    critical: bool
    note: str = ""

    @property
    def title(self) -> str:
        return f"{self.goal} [{self.where}]" if self.where else self.goal

    @property
    def stops(self) -> bool:
        """Whether the build stops here."""
        return self.critical and self.verdict != PASS

    def figure(self) -> str:
        """The value, and its interval."""
        if self.low is None or self.high is None:
            return self._shown(self.value)
        return f"{self._shown(self.value)} ({self._shown(self.low)} to {self._shown(self.high)})"

    def wanted(self) -> str:
        """The bound."""
        return f"{'≥' if self.least else '≤'} {self._shown(self.limit)}"

    def _shown(self, value: float) -> str:
        if self.bound == "max-size":
            return f"{value / 1e6:.2f} MB" if value >= 1e5 else f"{value:.0f} B"
        text = f"{value:.4g}"
        return f"{text} %" if self.bound in _PERCENT else text

    def word(self) -> str:
        """The verdict, and whether it only warns."""
        return self.verdict if self.critical or self.verdict == PASS else f"{self.verdict} (warning)"

    def sentence(self) -> str:
        """One line: name, value, interval, bound, verdict."""
        what = "" if self.bound in self.goal else f" {self.bound}"
        note = f"; {self.note}" if self.note else ""
        return f"{self.title}:{what} {self.figure()}, wanted {self.wanted()}: {self.word()}{note}"


@dataclass
class GateReport:
    """All results, and what they are about. It has no row of the data.

    Attributes
    ----------
    results : list of Result
    models : dict
        For reference and candidate: file name, bytes, sha256; of the candidate its receipt's summary and coverage.
    data : dict
        Description, rows, label, slices.
    statistics : dict
        confidence, resamples, seed, min_rows, and the correction.
    machine : dict of str to str
        Processor, instruction set, threads, versions.
    command : str
    seconds : float
    """

    results: list[Result]
    models: dict[str, dict[str, Any]] = field(default_factory=dict)
    data: dict[str, Any] = field(default_factory=dict)
    statistics: dict[str, Any] = field(default_factory=dict)
    machine: dict[str, str] = field(default_factory=dict)
    command: str = ""
    seconds: float = 0.0

    @property
    def verdict(self) -> str:
        """fail where a critical goal fails; inconclusive where one is; else pass."""
        stopping = {result.verdict for result in self.results if result.stops}
        return next((verdict for verdict in (FAIL, INCONCLUSIVE) if verdict in stopping), PASS)

    @property
    def status(self) -> int:
        """Exit status: 0 pass, 1 fail, 4 inconclusive."""
        return {PASS: 0, FAIL: 1, INCONCLUSIVE: 4}[self.verdict]

    def summary(self) -> str:
        """The verdict in one line."""
        count = len(self.results)
        looks = f"{count} look{'s' if count != 1 else ''}"
        warnings = sum(not result.critical and result.verdict != PASS for result in self.results)
        more = f", {warnings} warning{'s' if warnings != 1 else ''}" if warnings else ""
        stopping = [result for result in self.results if result.stops and result.verdict == self.verdict]
        if not stopping:
            return f"PASS: {looks}{more}"
        first = stopping[0].sentence()
        others = f"; and {len(stopping) - 1} more" if len(stopping) > 1 else ""
        return f"{self.verdict.upper()}: {len(stopping)} of {looks}{more}: {first}{others}"

    def as_dict(self) -> dict[str, Any]:
        """All of it as plain values; numbers that are not finite are None."""
        verdict: dict[str, Any] = {"verdict": self.verdict, "status": self.status, "summary": self.summary()}
        results = [asdict(each) | {"sentence": each.sentence()} for each in self.results]
        found: dict[str, Any] = plain(verdict | asdict(self) | {"results": results})
        return found

    def to_json(self) -> str:
        """All of it."""
        return json.dumps(self.as_dict(), indent=1, ensure_ascii=False, allow_nan=False)

    def to_markdown(self) -> str:
        """For the summary of a CI run: the verdict, a table, what was compared."""
        marks = {PASS: "✅", FAIL: "❌", INCONCLUSIVE: "❔"}
        lines = [f"## {marks[self.verdict]} {escaped(self.summary())}", "", _table(self.results, marks), ""]
        for side, model in self.models.items():
            size, digest = f"{model['bytes'] / 1e6:.2f} MB", model["sha256"][:16]
            lines.append(f"- {side}: `{model['file']}`, {size}, sha256 `{digest}…`")
        if self.data:
            lines.append(f"- data: {escaped(str(self.data['description']))}, {self.data['rows']} rows")
        if self.statistics:
            lines.append(f"- intervals: {self.statistics['words']}")
        return "\n".join(lines) + "\n"

    def __str__(self) -> str:
        return "\n".join([*(result.sentence() for result in self.results), self.summary()])


def _table(results: list[Result], marks: dict[str, str]) -> str:
    rows = []
    for each in results:
        interval = "" if each.low is None or each.high is None else f"{each.low:.4g} to {each.high:.4g}"
        sides = ["" if side is None else f"{side:.4f}" for side in (each.reference, each.candidate)]
        value = each.figure().partition(" (")[0]
        mark = marks[each.verdict] + ("" if each.critical else " (warns)")
        count = "" if each.rows is None else str(each.rows)
        rows.append((mark, each.goal, each.where, *sides, value, interval, each.wanted(), count))
    head = ("", "goal", "where", "float", "candidate", "value", "interval", "wanted", "rows")
    return markdown(head, rows, "l" * len(head))
