"""What a plan does: its steps, what computes each, and whether its bits depend on more than its inputs."""

from __future__ import annotations

from typing import NamedTuple

from .interpreted import Interpreted
from .plan import Plan
from .trace import Read, Run, sources

#: Operators of onnx.reference that only move values, or compare and count: their bits cannot depend on anything.
_EXACT = {
    "NonZero", "Unique", "TopK", "ScatterND", "ScatterElements", "GatherND", "GatherElements", "Compress", "OneHot",
    "Where",
    "Tile", "Trilu", "Loop", "Scan", "ReverseSequence", "DepthToSpace", "SpaceToDepth", "EyeLike", "Transpose", "Pad",
    "Slice",
}  # fmt: skip


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
        Of a step in Python, why there is no kernel for it.
    """

    kernel: str
    nodes: tuple[str, ...]
    invariant: bool
    why: str


class Report(list[ReportStep]):
    """Steps in the order of a run, of every segment that has been planned; prints as a table."""

    def __str__(self) -> str:
        if not self:
            return "nothing has run yet: the model is planned when it first runs"
        width = max(len(step.kernel) for step in self)
        lines = [f"{'step':<{width}}  invariant  nodes"]
        for step in self:
            name = ", ".join(step.nodes) + (f" ({step.why})" if step.why else "")
            lines.append(f"{step.kernel:<{width}}  {'yes' if step.invariant else 'no':<9}  {name}")
        python = sum(step.kernel.startswith("python") for step in self)
        lines.append(f"{len(self) - python} steps by kernels, {python} in Python")
        return "\n".join(lines)

    __repr__ = __str__


def report_of(plan: Plan | Interpreted) -> Report:
    """The steps of a plan's segments."""
    report = Report()
    for segment in plan.segments():
        report += [ReportStep(step.kernel, step.nodes, step.invariant, "") for step in segment.steps]
        tail = segment.tail
        if isinstance(tail, Run):
            names = sources(tail.node)
            report.append(ReportStep(f"python {tail.node.op_type}", names, tail.node.op_type in _EXACT, tail.reason))
        elif isinstance(tail, Read):
            report.append(ReportStep("python", (), True, "shapes or branches depend on numbers that were computed"))
    return report
