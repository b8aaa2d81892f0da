"""The machine's limits, measured like a contestant in the same rounds: the dots' peak and the read bandwidth."""

from __future__ import annotations

from pathlib import Path

import numpy as np

import dynq_numba as dq
from bench.harness import timing
from bench.harness.bandwidth import STEP, read_loop
from bench.harness.machine import last_level_cache
from bench.harness.peak import register_loop
from bench.harness.problem import Problem
from dynq_numba.runtime import isa as isas

#: Multiply-adds and bytes of a thread in one measurement: some milliseconds.
MACS, BYTES = 1_000_000_000, 200_000_000
#: Of so many measurements in a turn the best counts: an interruption is no limit.
TRIES = 3


class Limits:
    """Operations a second on registers, and bytes a second from wherever weights of this size are."""

    def __init__(self, threads: int):
        self.threads = threads
        sets = {isa.name: isa for isa in isas.INSTRUCTION_SETS}
        self.dots, self.macs = register_loop(sets[dq.current_isa()])
        self.read = read_loop()
        self.data = np.ones(STEP * threads, np.uint8)

    def prepare(self, folder: str, copies: int) -> dict:
        """`copies` > 1 means cold: read much more than the last cache holds."""
        size = 4 * last_level_cache() if copies > 1 else Problem.load(Path(folder)).weight.size
        whole = STEP * self.threads
        self.data = np.ones(max(1, size // whole) * whole, np.uint8)
        return {"error": 0.0}

    def burst(self) -> dict:
        """The rates."""
        steps = max(1, MACS // self.macs)
        passes = max(1, BYTES * self.threads // self.data.size)
        dots = [timing.seconds(lambda: self.dots(steps, self.threads)) for _ in range(TRIES)]
        read = [timing.seconds(lambda: self.read(self.data, passes, self.threads)) for _ in range(TRIES)]
        return {
            "peak": 2 * self.macs * steps * self.threads / min(dots),
            "bandwidth": self.data.size * passes / min(read),
        }

    def release(self) -> dict:
        """Give the memory back."""
        self.data = self.data[: STEP * self.threads].copy()
        return {}
