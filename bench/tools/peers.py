"""Which contestants run here, how exact they are, and roughly how fast.

    python -m bench peers
    python -m bench peers --shape 1,768,768 --threads 1 --only xnnpack "dynq int8"
    python -m bench peers --avx2          with each one's own switch that limits it to AVX2

Each is built and run in a process of its own and checked against float64 on normal data. The times are the best of
half a second, in microseconds: "called" as a user calls it, numpy array in and out; "bare" the framework's own run
where that is less. They are a first look; ``python -m bench linear`` measures.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass

import numpy as np

from bench.harness.machine import ROOT
from bench.peers import CONTESTANTS, Contestant, missing, versions

#: Seconds of calls of each kind, and seconds that one contestant may take in all.
SPAN = 0.5
PATIENCE = 120
COLUMNS = "{:<30}{:>10}{:>10}{:>10}  {}"


@dataclass(frozen=True)
class Look:
    """What one contestant's process finds; microseconds."""

    error: float
    called: float
    bare: float | None


def best(call: Callable[[], object]) -> float:
    """The shortest of the calls that fit in SPAN, in microseconds."""
    shortest, end = float("inf"), time.perf_counter() + SPAN
    while (begin := time.perf_counter()) < end:
        call()
        shortest = min(shortest, time.perf_counter() - begin)
    return shortest * 1e6


def look(contestant: Contestant, shape: tuple[int, int, int], threads: int) -> Look:
    m, k, n = shape
    rng = np.random.default_rng(0)
    x, weight = rng.standard_normal((m, k), dtype=np.float32), rng.standard_normal((n, k), dtype=np.float32)
    bias = rng.standard_normal(n, dtype=np.float32)
    layer = contestant.build(weight, bias, m, threads)
    exact = x.astype(np.float64) @ weight.T.astype(np.float64) + bias
    error = float(np.linalg.norm(layer(x) - exact) / np.linalg.norm(exact))
    called = best(lambda: layer(x))
    return Look(error, called, best(layer.bare) if layer.bare else None)


def apart(contestant: Contestant, shape: tuple[int, int, int], threads: int, avx2: bool) -> Look | str:
    """`look` in a process of its own, or the reason why there is nothing to see."""
    if reason := missing(contestant):
        return reason
    if avx2 and contestant.avx2 is None:
        return "no switch that limits it to AVX2"
    environment = os.environ | contestant.environment(threads) | ((contestant.avx2 or {}) if avx2 else {})
    command = [sys.executable, "-m", "bench", "peers", "--shape", ",".join(map(str, shape))]
    command += ["--threads", str(threads), "--process", contestant.name]
    try:
        done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=PATIENCE)
    except subprocess.TimeoutExpired:
        return f"not ready after {PATIENCE} s"
    if done.returncode:
        complaints = [line for line in done.stderr.splitlines() if line.strip()]
        return complaints[-1] if complaints else f"ended with status {done.returncode}"
    return Look(**json.loads(done.stdout.splitlines()[-1]))


def row(contestant: Contestant, found: Look | str) -> str:
    if isinstance(found, str):
        return COLUMNS.format(contestant.name, "-", "-", "-", found)
    wrong = "" if found.error <= contestant.tolerance else f"WRONG, {contestant.tolerance:.2%} is believable; "
    bare = "-" if found.bare is None else f"{found.bare:.1f}"
    version = ", ".join(f"{name} {number}" for name, number in versions(contestant).items())
    return COLUMNS.format(contestant.name, f"{found.error:.4%}", f"{found.called:.1f}", bare, wrong + version)


def mkn(text: str) -> tuple[int, int, int]:
    """M,K,N from the command line."""
    m, k, n = (int(word) for word in text.split(","))
    if min(m, k, n) < 1:
        raise ValueError("M, K and N must be positive")
    return m, k, n


def main(argv: list[str]) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m bench peers", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--shape", type=mkn, default="128,768,768", help="M,K,N (default: %(default)s)")
    parser.add_argument("--threads", type=int, default=2, help="threads of each (default: %(default)s)")
    parser.add_argument("--only", nargs="+", default=[], metavar="NAME", help="families or names (default: all)")
    parser.add_argument("--avx2", action="store_true", help="limit each to AVX2 where it has a switch")
    parser.add_argument("--process", help=argparse.SUPPRESS)
    args = parser.parse_args(argv)
    if args.process:
        (contestant,) = (c for c in CONTESTANTS if c.name == args.process)
        print(json.dumps(asdict(look(contestant, args.shape, args.threads))))
        return 0
    if unknown := set(args.only) - {word for c in CONTESTANTS for word in (c.family, c.name)}:
        parser.error(f"no contestant or family {', '.join(sorted(unknown))}")
    chosen = [c for c in CONTESTANTS if not args.only or {c.family, c.name} & set(args.only)]
    print(COLUMNS.format("M,K,N = {},{},{}".format(*args.shape), "error", "called us", "bare us", "versions"))
    for contestant in chosen:
        print(row(contestant, apart(contestant, args.shape, args.threads, args.avx2)), flush=True)
    return 0
