"""The cost of a call beside other libraries in the process, and beside other programs on the machine.

    python -m bench mixed                           everything, about 4 minutes
    python -m bench mixed --only ONNX --seconds 1   neighbourhoods whose names hold a word
    python -m bench mixed --smoke                   every neighbourhood, a few calls each

A neighbourhood is what runs besides: bursts of another library in turn with ours, its products on another thread of
this process every so often, or other processes. In each, ours on default threads, on one and on two, and XNNPACK (its
bare `invoke`) take turns, again and again; every call is timed on its own.

    of XNNPACK     our mean over XNNPACK's in the same neighbourhood
    of explained   our mean over what the stolen time alone would make of our mean without neighbours: the cores that
                   the neighbour takes when nobody else computes (its idle threads' spinning included) are not ours
    p99 of alone   the 99th percentile over our median without neighbours
    after          our mean from 50 to 100 ms after the neighbour stopped, over our mean without neighbours

"disturbed" marks a row during which programs that are none of the bench's took over a tenth of a core.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import numpy as np

import dynq_numba as dq
from bench.harness.awake import Awake, rest
from bench.peers import CONTESTANTS, missing
from bench.publish.tables import markdown

M, K, N = 128, 768, 3072
CORES = len(os.sched_getaffinity(0))
THREADS = min(2, CORES)
PYTORCH, RUNTIME, XNNPACK = "PyTorch x86", "ONNX Runtime int8", "XNNPACK int8"
KNOWN = {contestant.name: contestant for contestant in CONTESTANTS}
OURS = {"default": None, "threads=1": 1, "threads=2": 2}
ROUNDS = 4
#: Seconds of a neighbour on its own, for the cores that it takes.
OWN = 0.5
#: A row is disturbed when other programs took so much of a core.
DISTURBED = 0.1
#: When the calls after the neighbour's end count, in seconds.
AFTER = 0.05, 0.1
#: A process that is busy for a share of every 10 ms (in percent), until its parent is gone.
BUSY = """
import os, sys, time
share, parent = int(sys.argv[1]) / 100, os.getppid()
while os.getppid() == parent:
    begin = time.perf_counter()
    while time.perf_counter() - begin < share / 100:
        pass
    if share < 1:
        time.sleep((1 - share) / 100)
"""

Call = Callable[[], object]


class Neighbourhood(NamedTuple):
    name: str
    #: Whose call it is that others make, or "" for other processes.
    peer: str = ""
    #: The other's bursts, in turn with ours: seconds of each. One call before each of ours where it is 0.
    burst: float | None = None
    #: Seconds between two calls of the other's, on a thread of its own.
    every: float | None = None
    #: Shares of a core that other processes want, in percent.
    busy: tuple[int, ...] = ()
    subject: str = "linear"


NEIGHBOURHOODS = (
    Neighbourhood("nobody"),
    *(Neighbourhood(f"{peer} in bursts of {ms} ms", peer, burst=ms / 1e3)
      for peer in (PYTORCH, RUNTIME) for ms in (5, 20, 50)),
    *(Neighbourhood(f"{peer} every {ms} ms", peer, every=ms / 1e3)
      for peer, ms in ((PYTORCH, 20), (PYTORCH, 100), (RUNTIME, 20), ("numba parallel", 20))),
    Neighbourhood("a process at 30 %", busy=(30,)),
    Neighbourhood("a busy process", busy=(100,)),
    Neighbourhood("two busy processes", busy=(100, 100)),
    Neighbourhood("nobody", subject="conv"),
    Neighbourhood(f"{RUNTIME} before every call", RUNTIME, burst=0.0, subject="conv"),
)  # fmt: skip


def parallel_loop() -> Call:
    """Half a millisecond of a parallel loop of numba's own."""
    import numba

    @numba.njit(parallel=True)
    def sums(x, out):
        for i in numba.prange(len(x)):
            out[i] = np.exp(x[i]).sum()

    x = np.random.default_rng(0).standard_normal((64, 4096))
    out = np.empty(len(x))
    return lambda: sums(x, out)


class Calls:
    """What is called, ours and others', each built once, when it is first wanted."""

    def __init__(self) -> None:
        rng = np.random.default_rng(0)
        self.x = rng.standard_normal((M, K), dtype=np.float32)
        self.weight = rng.standard_normal((N, K), dtype=np.float32)
        self.bias = rng.standard_normal(N, dtype=np.float32)
        linear = dq.pack_linear(self.weight, self.bias)
        conv = dq.pack_conv(rng.standard_normal((64, 64, 3, 3), dtype=np.float32), padding=1)
        image = rng.standard_normal((1, 64, 56, 56), dtype=np.float32)
        self.ours = {
            "linear": lambda threads: dq.linear(self.x, linear, threads=threads),
            "conv": lambda threads: dq.conv(image, conv, threads=threads),
        }
        self.built: dict[str, Call] = {}

    def peer(self, name: str) -> Call:
        if name not in self.built:
            if name in KNOWN:
                layer = KNOWN[name].build(self.weight, self.bias, M, THREADS)
                layer(self.x)
                self.built[name] = layer.bare or (lambda: layer(self.x))
            else:
                self.built[name] = parallel_loop()
            self.built[name]()
        return self.built[name]

    def subjects(self, subject: str) -> dict[str, Call]:
        calls = {name: lambda threads=threads: self.ours[subject](threads) for name, threads in OURS.items()}
        if subject == "linear" and not missing(KNOWN[XNNPACK]):
            calls[XNNPACK] = self.peer(XNNPACK)
        for call in calls.values():
            call()  # compiled, and with its threads
        return calls


@contextmanager
def running(where: Neighbourhood, calls: Calls) -> Iterator[tuple[Callable[[], float], Callable[[], object]]]:
    """The neighbour, while it runs: the CPU seconds that its processes have taken, and what to do before a call."""
    processes = [subprocess.Popen((sys.executable, "-S", "-c", BUSY, str(share))) for share in where.busy]
    peer, stop, due = calls.peer(where.peer) if where.peer else None, threading.Event(), time.perf_counter()

    def visit() -> None:
        while not stop.wait(where.every):
            peer()

    def before() -> None:
        nonlocal due
        if where.burst == 0:
            peer()
        elif where.burst and time.perf_counter() >= due:
            end = time.perf_counter() + where.burst
            while time.perf_counter() < end:
                peer()
            due = time.perf_counter() + where.burst

    def taken() -> float:
        # The clock of another process's CPU time, as clock_getcpuclockid(3) names it.
        return sum(time.clock_gettime(~process.pid << 3 | 2) for process in processes)

    visitor = threading.Thread(target=visit, daemon=True)
    try:
        if where.every:
            visitor.start()
        if processes:
            time.sleep(0.3)  # until they are there
        yield taken, before
    finally:
        stop.set()
        if where.every:
            visitor.join()
        for process in processes:
            process.kill()
            process.wait()


def machine_seconds() -> float:
    """CPU seconds that all programs, and the host's, have taken of this machine."""
    fields = Path("/proc/stat").read_text().split("\n", 1)[0].split()[1:9]
    user, nice, system, _idle, _waiting, interrupt, soft, steal = map(int, fields)
    return (user + nice + system + interrupt + soft + steal) / os.sysconf("SC_CLK_TCK")


def timed(call: Call, seconds: float, before: Callable[[], object]) -> list[float]:
    """Seconds of each call."""
    times, end = [], time.perf_counter() + seconds
    while not times or time.perf_counter() < end:
        before()
        begin = time.perf_counter()
        call()
        times.append(time.perf_counter() - begin)
    return times


class Row(NamedTuple):
    times: list[float]
    after: list[float]
    #: Cores that the neighbour takes on its own, and that other programs took of this row.
    taken: float
    foreign: float

    @property
    def mean(self) -> float:
        return statistics.fmean(self.times)

    @property
    def median(self) -> float:
        return statistics.median(self.times)

    @property
    def p99(self) -> float:
        return sorted(self.times)[len(self.times) * 99 // 100]


def own_cores(where: Neighbourhood, calls: Calls, seconds: float) -> float:
    """How many cores the neighbour takes on its own."""
    with running(where, calls) as (taken, _):
        begin, used = time.perf_counter(), time.process_time() + taken()
        time.sleep(seconds)
        return (time.process_time() + taken() - used) / (time.perf_counter() - begin)


def measure(where: Neighbourhood, calls: Calls, seconds: float, rounds: int) -> dict[str, Row]:
    """Every subject's turns of `seconds` / `rounds`."""
    subjects = calls.subjects(where.subject)
    cores = 0.0 if where.burst is not None else own_cores(where, calls, min(OWN, seconds))
    times, after = {name: [] for name in subjects}, {name: [] for name in subjects}
    foreign = dict.fromkeys(subjects, 0.0)
    for number in range(rounds):
        first = number % len(subjects)
        for name in [*subjects][first:] + [*subjects][:first]:
            rest()
            with running(where, calls) as (taken, before):
                begin, used = time.perf_counter(), machine_seconds() - time.process_time() - taken()
                times[name] += timed(subjects[name], seconds / rounds, before)
                others = machine_seconds() - time.process_time() - taken() - used
                foreign[name] += others / (time.perf_counter() - begin) / rounds
            timed(subjects[name], AFTER[0] * min(1, seconds), lambda: None)
            after[name] += timed(subjects[name], (AFTER[1] - AFTER[0]) * min(1, seconds), lambda: None)
    return {name: Row(times[name], after[name], cores, foreign[name]) for name in subjects}


HEADING = [
    "beside", "contestant", "mean, µs", "median", "p99", "of XNNPACK", "of explained", "p99 of alone", "after", "",
]  # fmt: skip


def lines(where: Neighbourhood, rows: dict[str, Row], alone: dict[str, Row]) -> list[list[str]]:
    """The table's, of one neighbourhood."""
    out = []
    for name, row in rows.items():
        own, peer = alone.get(name), rows.get(XNNPACK)
        cells = [f"{value * 1e6:.0f}" for value in (row.mean, row.median, row.p99)]
        cells.append(f"{row.mean / peer.mean:.2f}" if peer else "")
        explained = own and where.burst is None and row.taken < CORES - 0.1
        cells.append(f"{row.mean / own.mean * (1 - row.taken / CORES):.2f}" if explained else "")
        cells += [f"{row.p99 / own.median:.1f}", f"{statistics.fmean(row.after) / own.mean:.2f}"] if own else ["", ""]
        what = f"{where.subject}: {where.name}"
        out.append([what, name, *cells, "disturbed" if row.foreign > DISTURBED else ""])
    return out


def main(argv: list[str]) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m bench mixed", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seconds", type=float, default=2, help="of calls for each row (default: 2)")
    parser.add_argument("--only", nargs="+", default=[], metavar="WORD", help="neighbourhoods whose names hold one")
    parser.add_argument("--smoke", action="store_true", help="a few calls for each row")
    args = parser.parse_args(argv)
    if not sys.platform.startswith("linux"):
        print("bench mixed reads Linux's clocks of processes; this system has none", file=sys.stderr)
        return 0
    seconds, rounds = (0.01, 1) if args.smoke else (args.seconds, ROUNDS)
    calls, alone, rows = Calls(), {}, [HEADING]
    absent = {name: missing(KNOWN[name]) for name in (PYTORCH, RUNTIME, XNNPACK)}
    for name, reason in absent.items():
        if reason:
            print(f"{name} is missing: {reason}", file=sys.stderr)
    with Awake():
        for where in NEIGHBOURHOODS:
            wanted = where.name == "nobody" or not args.only or any(word in where.name for word in args.only)
            if wanted and not absent.get(where.peer):
                print(f"{where.subject} beside {where.name}", file=sys.stderr, flush=True)
                measured = measure(where, calls, seconds, rounds)
                if where.name == "nobody":
                    alone[where.subject] = measured
                rows += lines(where, measured, alone[where.subject])
    print(markdown(rows))
    return 0
