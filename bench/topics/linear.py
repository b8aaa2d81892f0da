"""The linear layer: every contestant on every shape, in interleaved rounds, as tables and JSON.

    python -m bench linear                                     all files, 1 thread and all threads
    python -m bench linear --files transformer --threads 2 --only dynq xnnpack
    python -m bench linear --shapes 1,768,768 128,768,3072     these shapes instead of files
    python -m bench linear --readme                            and write the pages' tables and the charts
    python -m bench linear --avx2                              ours and the peers limited to AVX2

Times are microseconds, from numpy array to numpy array ("called"), or of the framework's own run alone ("bare").
"best peer / ours" above 1 is a win; it compares our call with the best peer's call, and with its bare run. The limit is
the int8 peak of the same rounds, up to 4 rows the read bandwidth from where the weights are.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
from pathlib import Path

from bench.harness import disturbance, machine, plan, problem, results
from bench.harness.awake import Awake
from bench.harness.problem import Case, Shape
from bench.harness.rounds import Lineup
from bench.peers import CONTESTANTS
from bench.publish import readme, tables

RESULTS = Path(__file__).parents[1] / "results"
#: Rounds at most and at least; seconds of rounds for a case; seconds that building and a first round usually take.
ROUNDS, FEWEST, BUDGET = 15, 5, 1.5

#: Shapes whose time is broken down.
BREAKDOWN = ("8,4096,4096", "32,768,3072", "128,768,768", "128,3072,768", "512,1024,4096", "1024,4096,4096")


def log(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def run(jobs: list[plan.Job], contestants: list, args: argparse.Namespace) -> list[dict]:
    """The records of all jobs; progress on standard error, each table on standard output as soon as it is there."""
    groups: list[dict] = []
    expected, begin = len(jobs) * (args.budget + plan.BUILD), time.monotonic()
    for threads in sorted({job.case.threads for job in jobs}):
        with Lineup(contestants, threads, avx2=args.avx2) as lineup:
            for job in (job for job in jobs if job.case.threads == threads):
                done = len(groups) / len(jobs)
                left = (time.monotonic() - begin) * (1 - done) / done if done > 0.05 else expected * (1 - done)
                log(f"[{len(groups) + 1}/{len(jobs)}, {left / 60:.0f} min left] {job.file}: {job.case}")
                limits = {"budget": args.budget, "most": args.rounds, "fewest": min(FEWEST, args.rounds)}
                groups.append(measured(lineup, job, limits))
                print(tables.text(groups[-1]), flush=True)
    return groups


def measured(lineup: Lineup, job: plan.Job, limits: dict) -> dict:
    """The record of a case."""
    return disturbance.steady(lambda: results.group(lineup.measure(job.case, job.names, **limits), job.file))


def child(name: str, *arguments: object, threads: int = 0, avx2: bool = False) -> object:
    """What another benchmark prints as JSON, in a process of its own."""
    environment = {**os.environ, **(machine.HASWELL if avx2 else {})}
    if threads:
        environment["NUMBA_NUM_THREADS"] = str(threads)
    log(f"{name} {' '.join(map(str, arguments))}{f'{threads} threads' if threads else ''}")
    command = [sys.executable, "-m", "bench", name, *map(str, arguments)]
    done = subprocess.run(command, cwd=machine.ROOT, env=environment, stdout=subprocess.PIPE, text=True, check=True)
    return json.loads(done.stdout)


def extras(threads: list[int], avx2: bool) -> dict:
    """Everything beside the shapes: what calls and starts cost, and the conversions."""
    return {
        "calls": {str(count): child("calls", threads=count, avx2=avx2) for count in threads},
        "breakdown": {str(count): child("breakdown", count, *BREAKDOWN, avx2=avx2) for count in threads},
        "startup": child("startup", avx2=avx2),
        "conversions": [record for count in threads for record in child("conversion", count, avx2=avx2)],
    }


def mkn(text: str) -> Shape:
    """M,K,N from the command line."""
    shape = Shape(*map(int, text.split(",")))
    if min(shape) < 1:
        raise ValueError("M, K and N must be positive")
    return shape


def parse(argv: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m bench linear", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("--files", nargs="+", choices=problem.files(), default=list(plan.FILES), help="shape files (default: all)")
    add("--shapes", nargs="+", type=mkn, help="M,K,N ... instead of files")
    add("--cold", action="store_true", help="with --shapes: with cold weights")
    add("--threads", nargs="+", type=int, default=plan.thread_counts(), help="(default: 1 and all)")
    add("--only", nargs="+", default=[], metavar="NAME", help="families or names of contestants (default: all)")
    add("--rounds", type=int, default=ROUNDS, help="rounds at most (default: %(default)s)")
    add("--budget", type=float, default=BUDGET, help="seconds of rounds for a case (default: %(default)s)")
    add("--quick", action="store_true", help="3 rounds: a look, not a result")
    add("--avx2", action="store_true", help="limit ours and the peers to AVX2")
    add("--extras", action="store_true", help="also what calls and starts cost, and quantize on its own")
    add("--name", help="write bench/results/NAME.json (default: latest, or avx2; none with --shapes)")
    add("--readme", action="store_true", help="with all the above, and the pages' tables and charts from it")
    args = parser.parse_args(argv)
    args.rounds = min(args.rounds, 3) if args.quick else args.rounds
    args.name = args.name or (None if args.shapes else "avx2" if args.avx2 else "latest")
    try:
        args.contestants = plan.chosen(args.only)
    except ValueError as error:
        parser.error(str(error))
    return args


def main(argv: list[str]) -> int:
    args = parse(argv)
    jobs = []
    for threads in args.threads:
        if args.shapes:
            names = tuple(c.name for c in args.contestants)
            jobs += [plan.Job("given", Case(shape, threads, args.cold), names) for shape in args.shapes]
        else:
            jobs += plan.jobs(args.files, threads, args.contestants)
    log(f"{len(jobs)} cases, about {len(jobs) * (args.budget + plan.BUILD) / 60:.0f} minutes")
    stamp = machine.stamp(sorted({name for c in CONTESTANTS for name in c.distributions}))
    with Awake():
        record = {"stamp": stamp, "avx2": args.avx2, "groups": run(jobs, args.contestants, args)}
        if args.extras or args.readme:
            record |= extras(args.threads, args.avx2)
    if args.name:
        RESULTS.mkdir(exist_ok=True)
        (RESULTS / f"{args.name}.json").write_text(json.dumps(record, indent=1, ensure_ascii=False) + "\n")
        log(f"wrote bench/results/{args.name}.json")
    if args.readme:
        readme.write("latest" if args.avx2 else args.name)
    return 0
