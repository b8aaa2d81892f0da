"""Which cases and contestants a run of the bench has."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from bench.harness import problem
from bench.harness.problem import Case
from bench.peers import CONTESTANTS, Contestant

#: Up to this many rows a shape of a file in COLD is measured with cold weights, too.
COLD = {"transformer": 4, "int4": 1}
#: The file that 4-bit weights are measured on, beside our 8-bit row.
NARROW = "int4"
#: Seconds to make and check everyone's layer of a case.
BUILD = 3.0
#: The files of a full run.
FILES = ("transformer", "recommendation", "remainders", "tiny", "int4")


@dataclass(frozen=True)
class Job:
    """One case of one file, and the names of who takes part."""

    file: str
    case: Case
    names: tuple[str, ...]

    @property
    def label(self) -> str:
        """A word for the case."""
        cold = "-cold" if self.case.cold else ""
        return f"{self.file}-{'x'.join(map(str, self.case.shape))}-{self.case.threads}t{cold}"


def takes_part(contestant: Contestant, file: str) -> bool:
    if file == NARROW:
        return contestant.weights == "int4" or contestant.name == "dynq int8"
    return file == "smoke" or contestant.weights != "int4"


def thread_counts() -> list[int]:
    """What a full run measures: one thread, and all."""
    return sorted({1, len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1})


def chosen(only: Sequence[str] = ()) -> list[Contestant]:
    """Contestants whose family or name is in `only`; all for none."""
    known = {c.family for c in CONTESTANTS} | {c.name for c in CONTESTANTS}
    if unknown := sorted(set(only) - known):
        raise ValueError(f"no contestant or family {', '.join(unknown)}; there are: {', '.join(sorted(known))}")
    return [c for c in CONTESTANTS if not only or c.family in only or c.name in only]


def jobs(files: Iterable[str], threads: int, contestants: Sequence[Contestant]) -> list[Job]:
    """In an order in which a weight is made once for all its shapes."""
    found = []
    for file in files:
        names = tuple(c.name for c in contestants if takes_part(c, file))
        for shape in problem.read_shapes(file):
            found += [Job(file, Case(shape, threads, cold), names) for cold in (False, True)
                      if names and (not cold or shape.m <= COLD.get(file, 0))]  # fmt: skip
    return sorted(found, key=_order)


def _order(job: Job) -> tuple:
    m, k, n = job.case.shape
    return k * n, k, job.case.cold, m
