"""What a plan does: its steps, what computes each, whether its bits depend on more than its inputs, and its time."""

from __future__ import annotations

import textwrap
import time
from collections import Counter
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from ..tables import bold, shortened, width
from .interpreted import Interpreted
from .iterated import Iterated
from .plan import Plan
from .segment import Segment
from .state import Read, Run
from .stopwatch import timed
from .trace import sources

#: Operators of onnx.reference that only move values, or compare and count: their bits cannot depend on anything.
_EXACT = {
    "NonZero", "Unique", "TopK", "ScatterND", "ScatterElements", "GatherND", "GatherElements", "Compress", "OneHot",
    "Where", "Tile", "Trilu", "ReverseSequence", "DepthToSpace", "SpaceToDepth", "EyeLike", "Transpose", "Pad", "Slice",
    "SequenceConstruct", "SequenceAt", "SequenceEmpty", "SequenceInsert", "SequenceErase", "SequenceLength",
    "SplitToSequence", "ConcatFromSequence", "Optional", "OptionalGetElement", "OptionalHasElement", "Identity",
    "StringConcat", "StringSplit", "StringNormalizer", "RegexFullMatch", "LabelEncoder",
}  # fmt: skip
#: Runs that are timed: at least so many, and then as many as take so many seconds, up to so many. The first are not.
_LEAST, _SECONDS, _MOST, _WARM = 5, 0.5, 50, 2


#: Characters of a line of a printed report, and the fewest that names of nodes are folded to.
_WIDTH, _NARROW = 100, 24


class ReportStep(NamedTuple):
    """One step.

    Attributes
    ----------
    kernel : str
        What computes it: a kernel of ours, or "python" with the operator.
    nodes : tuple of str
        Of the graph.
    invariant : bool
        Whether its bits are the same for every batch, padding, number of threads and instruction set.
    why : str
        Of a step in Python, why there is no kernel for it; of a kernel, what it computes otherwise than the file says.
    us : float or None
        Microseconds, where times were asked for.
    """

    kernel: str
    nodes: tuple[str, ...]
    invariant: bool
    why: str
    us: float | None = None

    @property
    def kind(self) -> str:
        """One of "python", "fused" (a kernel for several nodes) and "kernel"."""
        if self.kernel.partition(" ")[0] == "python":
            return "python"
        return "fused" if len(self.nodes) > 1 else "kernel"


class Report(list[ReportStep]):
    """Steps in the order of a run, of every segment that has been planned; prints as a table.

    Behind a loop come the steps of its body.

    Attributes
    ----------
    run_us : float or None
        Microseconds of a whole run, where times were asked for: steps, and what it takes to call them.
    """

    run_us: float | None = None

    @property
    def kinds(self) -> dict[str, int]:
        """How many steps there are of each kind."""
        return {"kernel": 0, "fused": 0, "python": 0} | Counter(step.kind for step in self)

    def __str__(self) -> str:
        if not self:
            return "nothing has run yet: the model is planned when it first runs"
        timed, most = any(step.us is not None for step in self), width() or _WIDTH
        time_of = (lambda us: f"{us:>9}  ") if timed else (lambda us: "")
        kernels = [shortened(step.kernel, most // 3) for step in self] if width() else [step.kernel for step in self]
        column = max(map(len, kernels))
        lines = [bold(f"{time_of('µs')}{'step':<{column}}  invariant  nodes")]
        for step, kernel in zip(self, kernels, strict=True):
            us = "" if step.us is None else f"{step.us:.1f}"
            start = f"{time_of(us)}{kernel:<{column}}  {'yes' if step.invariant else 'no':<9}  "
            lines += [f"{start if i == 0 else ' ' * len(start)}{line}".rstrip()
                      for i, line in enumerate(_folded(step, most - len(start)))]  # fmt: skip
        kinds = self.kinds
        fused = f" ({kinds['fused']} of several nodes)" if kinds["fused"] else ""
        lines.append(f"{kinds['kernel'] + kinds['fused']} steps by kernels{fused}, {kinds['python']} in Python")
        if timed:
            lines[-1] += f", {sum(step.us or 0.0 for step in self):.0f} µs"
            lines[-1] += "" if self.run_us is None else f"; a whole run takes {self.run_us:.0f} µs"
        return "\n".join(lines)

    __repr__ = __str__


def _folded(step: ReportStep, width: int) -> list[str]:
    """Lines of the nodes of a step, and why it is what it is, which is a line of its own where it does not fit."""
    lines = textwrap.wrap(", ".join(step.nodes), max(width, _NARROW), break_long_words=False, break_on_hyphens=False)
    lines = lines or [""]
    if step.why and len(lines[-1]) + len(step.why) + 3 <= width:
        lines[-1] += f" ({step.why})"
    elif step.why:
        lines.append(f"({step.why})")
    return lines


def report_of(plan: Plan | Interpreted) -> Report:
    """The steps of a plan's segments."""
    return Report(step for segment in plan.segments() for step in _steps(segment))


def timed_report(plan: Plan | Interpreted, feeds: tuple[np.ndarray, ...]) -> Report:
    """The steps of a run on these feeds, and the time of each: the least of some runs."""
    if isinstance(plan, Interpreted):
        return report_of(plan)
    best: list[float] = []
    idle = whole = float("inf")
    for _ in range(_WARM):
        plan.run(feeds, {})
    begun, runs = time.perf_counter(), 0
    while runs < _LEAST or (runs < _MOST and time.perf_counter() - begun < _SECONDS):
        watch, runs = plan.watched(feeds), runs + 1
        idle, whole = min(idle, watch.idle), min(whole, timed(plan.run, feeds, {})[1])
        found = [us for _, laps in watch.laps for us in laps]
        best = list(map(min, best, found)) if best else found
    times = iter(best)
    report = Report(step for segment, _ in watch.laps for step in _steps(segment, times, idle))
    report.run_us = whole
    return report


def _steps(segment: Segment, times: Iterator[float] | None = None, idle: float = 0.0) -> Iterator[ReportStep]:
    """What a segment does, and Python in its end, with their times; behind a loop what its body does.

    Each time of a step has `idle` too much: what calling a step takes.
    """
    for step in segment.steps:
        first, *body = (ReportStep(each.kernel, each.nodes, each.invariant, each.differs) for each in step.nested())
        yield first._replace(us=max(next(times) - idle, 0.0) if times else None)
        yield from body
    tail = segment.tail
    us = next(times) if times and tail is not None else None
    if isinstance(tail, Run):
        exact = isinstance(tail.evaluate, Iterated) or tail.node.op_type in _EXACT
        yield ReportStep(f"python {tail.node.op_type}", sources(tail.node), exact, tail.reason, us)
        if isinstance(tail.evaluate, Iterated):
            yield from report_of(tail.evaluate.plan)
    elif isinstance(tail, Read):
        yield ReportStep("python", (), True, "shapes or branches depend on numbers that were computed", us)
