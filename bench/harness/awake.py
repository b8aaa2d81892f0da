"""Keep every core awake while benchmarks run: a loop on each core that runs only when nothing else needs the core.

A core that halts wakes slowly, and a virtual core may wake on another real one. For some tenths of a second two virtual
cores then share one real core, and everything on two threads takes twice as long. The loops run under Linux's
SCHED_IDLE: the scheduler treats their cores as free, and any thread replaces them at once. (Measured: bench/NOTES.md.)
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import ClassVar

LOOP = """
import os, sys
os.sched_setaffinity(0, {int(sys.argv[1])})
os.sched_setscheduler(0, os.SCHED_IDLE, os.sched_param(0))
parent = os.getppid()
while os.getppid() == parent:
    for _ in range(1_000_000):
        pass
"""


class Awake:
    """``with Awake():`` the cores do not sleep while `rest` waits; does nothing where the system has no SCHED_IDLE."""

    processes: ClassVar[list[subprocess.Popen]] = []

    def __enter__(self) -> Awake:
        cores = sorted(os.sched_getaffinity(0)) if hasattr(os, "SCHED_IDLE") else []
        Awake.processes = [subprocess.Popen((sys.executable, "-S", "-c", LOOP, str(core))) for core in cores]
        Awake.signal(signal.SIGSTOP)
        return self

    def __exit__(self, *_: object) -> None:
        for process in self.processes:
            process.kill()
            process.wait()
        Awake.processes = []

    @classmethod
    def signal(cls, number: int) -> None:
        for process in cls.processes:
            process.send_signal(number)


def rest(patience: float = 0.2) -> bool:
    """Wait until nothing else is running, for `patience` seconds at most; whether it came to that.

    A framework's threads spin for a while after a call (OpenBLAS's for 0.1 s), and would share the next contestant's
    cores.
    """
    deadline = time.monotonic() + patience
    Awake.signal(signal.SIGCONT)
    try:
        time.sleep(0.001)
        while running() > 1 + len(Awake.processes):
            if time.monotonic() > deadline:
                return False
            time.sleep(0.001)
        return True
    finally:
        Awake.signal(signal.SIGSTOP)


def running() -> int:
    """How many threads of the machine run or want to; 0 where it does not say."""
    try:
        return int(Path("/proc/loadavg").read_text().split()[3].partition("/")[0])
    except OSError:
        return 0
