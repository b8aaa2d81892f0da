"""A topic: an operator, its cases, and the ways to run it, ours and the peers'. And one way in a process."""

from __future__ import annotations

import gc
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from bench.harness import timing
from bench.peers.base import no_environment

#: What a case is made of, by name: sizes, and options.
Case = Mapping[str, Any]
#: Seeded arrays of a case, by name.
Inputs = Mapping[str, np.ndarray]


@dataclass(frozen=True)
class Way:
    """One way to run the operator: a row of a table."""

    #: Ours are those that begin with "dynq".
    name: str
    #: Distributions whose modules must be there.
    distributions: tuple[str, ...]
    #: (case, inputs, threads) -> a call without arguments, from numpy arrays to a numpy array, or to a sequence of
    #: some, which stand side by side in `Topic.exact`. Imports the framework.
    build: Callable[[Case, Inputs, int], Callable[[], np.ndarray | Sequence[np.ndarray]]]
    #: The largest relative error (norms, against `Topic.exact`) that is still believable.
    tolerance: float
    environment: Callable[[int], dict[str, str]] = no_environment


@dataclass(frozen=True)
class Topic:
    """An operator: what to compute, and who computes it."""

    title: str
    cases: Mapping[str, Case]
    #: The arrays of a case: the same in every process.
    inputs: Callable[[Case], Inputs]
    #: The result in float64.
    exact: Callable[[Case, Inputs], np.ndarray]
    ways: tuple[Way, ...]

    def running(self, way: str, threads: int) -> Running:
        return Running(self, way, threads)


class Running:
    """One way in the process that this is: what bench/harness/worker.py drives."""

    def __init__(self, topic: Topic, name: str, threads: int):
        self.topic, self.threads = topic, threads
        self.way = {way.name: way for way in topic.ways}[name]
        self.warm = timing.WARM if threads > 1 else timing.WARM / 4
        self.call: Callable[[], np.ndarray | Sequence[np.ndarray]] | None = None

    def prepare(self, case: str) -> dict:
        """Build, and compare with float64."""
        chosen = self.topic.cases[case]
        inputs = self.topic.inputs(chosen)
        self.call = self.way.build(chosen, inputs, self.threads)
        exact = self.topic.exact(chosen, inputs)
        found = self.call()
        found = np.asarray(found if isinstance(found, np.ndarray) else np.concatenate(found, axis=-1), np.float64)
        if found.shape != exact.shape:
            return {"failed": f"wrong: shape {found.shape} where {exact.shape} is right"}
        error = float(np.linalg.norm(found - exact) / max(np.linalg.norm(exact), 1e-30))
        if not error <= self.way.tolerance:
            return {"failed": f"wrong: relative error {error:.3g} where {self.way.tolerance:.3g} is believable"}
        return {"error": error}

    def burst(self) -> dict:
        return {"called": timing.burst(self.call, self.warm)}

    def each(self, duration: float) -> dict:
        return {"times": timing.each(self.call, duration)}

    def release(self) -> dict:
        self.call = None
        gc.collect()
        return {}
