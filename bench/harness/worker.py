"""One contestant in its own process, controlled by remote.py: ``python -m bench.harness.worker NAME THREADS``.

Requests are JSON lines on standard input; each answer is a JSON line on standard output. What a framework prints goes
to standard error.

    {"do": "prepare", "folder": …, "copies": 1}   build, check against float64 -> {"error"} or {"failed"}
    {"do": "burst"}                               -> {"called": seconds, "bare": seconds or null}
    {"do": "each", "duration": …}                 -> {"times": seconds of every call}
    {"do": "release"}                             drop the layers

NAME is one of `bench.peers.CONTESTANTS`; or "limits", the machine itself, whose answers are rates (limits.py); or
MODULE:WAY, one way of the topic that a module holds as its TOPIC (bench/topics/base.py).
"""

from __future__ import annotations

import gc
import importlib
import json
import os
import sys
import time
from pathlib import Path

import numpy as np

from bench import peers
from bench.harness import timing
from bench.harness.problem import Problem
from bench.peers import Contestant, Layer

#: Seconds that building all copies of a layer may take.
PATIENCE = 10


class Linear:
    """The layers of one contestant for one problem: one, or as many copies as exceed the caches."""

    def __init__(self, contestant: Contestant, threads: int):
        self.contestant, self.threads = contestant, threads
        self.layers: list[Layer] = []
        self.warm = timing.WARM if threads > 1 else timing.WARM / 4  # one thread need not be spread

    def prepare(self, folder: str, copies: int) -> dict:
        problem = Problem.load(Path(folder))
        self.x = np.array(problem.x)

        def build() -> Layer:
            # Own arrays for every copy: a framework may keep what it is given instead of packing it.
            arrays = np.array(problem.weight), np.array(problem.bias)
            return self.contestant.build(*arrays, len(self.x), self.threads)

        self.layers = [build()]
        error = problem.error(self.layers[0](self.x))
        if error > self.contestant.tolerance:
            return {"failed": f"wrong: relative error {error:.3g} where {self.contestant.tolerance:.3g} is believable"}
        begin = time.perf_counter()  # the first one imported and compiled
        while len(self.layers) < copies:
            self.layers.append(build())
            expected = (time.perf_counter() - begin) / (len(self.layers) - 1) * copies
            if expected > PATIENCE:
                self.layers = []
                return {"failed": f"{copies} copies would take {expected:.0f} s to build"}
        return {"error": error}

    def called(self) -> None:
        for layer in self.layers:
            layer(self.x)

    def bare(self) -> None:
        for layer in self.layers:
            layer.bare()

    def burst(self) -> dict:
        count = len(self.layers)
        called = timing.burst(self.called, self.warm) / count
        if getattr(self.layers[0], "bare", None) is None:
            return {"called": called, "bare": None}
        return {"called": called, "bare": timing.burst(self.bare, warm=0) / count}

    def each(self, duration: float) -> dict:
        return {"times": timing.each(self.called, duration)}

    def release(self) -> dict:
        self.layers = []
        gc.collect()
        return {}


def subject(name: str, threads: int):
    """What this process measures."""
    if name == "limits":
        from bench.harness.limits import Limits

        return Limits(threads)
    if ":" in name:
        module, way = name.split(":", 1)
        return importlib.import_module(module).TOPIC.running(way, threads)
    return Linear({c.name: c for c in peers.CONTESTANTS}[name], threads)


def main() -> int:
    name, threads = sys.argv[1], int(sys.argv[2])
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    measured = subject(name, threads)
    gc.disable()
    for line in sys.stdin:
        request = json.loads(line)
        try:
            answer = getattr(measured, request.pop("do"))(**request)
        except Exception as error:  # whatever a framework throws is a row of the table
            answer = {"failed": f"{type(error).__name__}: {error}".splitlines()[0][:200]}
        print(json.dumps(answer), file=answers, flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
