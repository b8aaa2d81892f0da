"""Latency while other programs keep the cores busy: medians and 99th percentiles, ours beside the peers'.

    python -m bench neighbours                      0, 1 and 2 busy neighbours; writes bench/results/neighbours.json
    python -m bench neighbours --seconds 1 --only dynq

A neighbour is a process that computes without end, free to run on any core. Every call is timed on its own, on all
threads. "of quiet" is over the contestant's own median without neighbours.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from bench.harness import machine, plan
from bench.harness.problem import Shape, make
from bench.harness.remote import Failed, Remote
from bench.peers import CONTESTANTS, missing
from bench.publish.tables import markdown
from bench.topics import remote, topic
from bench.topics.operators import absent

RESULTS = Path(__file__).parents[1] / "results" / "neighbours.json"
SHAPE, MODEL = Shape(128, 768, 768), "1 × 128 tokens"
LINEARS = ("dynq int8", "ONNX Runtime int8", "PyTorch x86")
NEIGHBOURS = (0, 1, 2)
LOOP = "import os\nparent = os.getppid()\nwhile os.getppid() == parent:\n    for _ in range(100_000): pass"
#: Seconds for the scheduler to find places for new neighbours.
SETTLE = 0.5


def subjects(only: list[str]) -> list[tuple[str, str, dict, Remote]]:
    """(what is computed, contestant, how to prepare it, its process) of all that can run here."""
    threads, rows = plan.thread_counts()[-1], []
    for contestant in CONTESTANTS:
        if contestant.name in LINEARS and not missing(contestant):
            process = Remote(contestant.name, threads, contestant.environment(threads))
            rows.append((f"linear {SHAPE}", contestant.name, {}, process))
    for way in topic("minilm").ways:
        if not absent(way.distributions) and "float32" not in way.name:
            rows.append((f"MiniLM {MODEL}", f"minilm:{way.name}", {"case": MODEL}, remote("minilm", way, threads)))
    return [row for row in rows if not only or any(word in row[1] for word in only)]


def measure(process: Remote, seconds: float) -> list[dict]:
    """A record for each number of neighbours."""
    records: list[dict] = []
    busy: list[subprocess.Popen] = []
    try:
        for count in NEIGHBOURS:
            while len(busy) < count:
                busy.append(subprocess.Popen((sys.executable, "-S", "-c", LOOP)))
            time.sleep(SETTLE)
            times = sorted(process.ask("each", duration=seconds)["times"])
            median, p99 = statistics.median(times), times[min(len(times) - 1, len(times) * 99 // 100)]
            quiet = records[0]["median"] if records else median
            records.append({"neighbours": count, "calls": len(times), "median": median, "p99": p99,
                            "median_of_quiet": median / quiet, "p99_of_quiet": p99 / quiet})  # fmt: skip
    finally:
        for neighbour in busy:
            neighbour.kill()
            neighbour.wait()
    return records


def table(groups: list[dict]) -> str:
    rows = [["", "contestant", "neighbours", "median, µs", "p99, µs", "median of quiet", "p99 of quiet"]]
    for group in groups:
        for r in group["records"]:
            figures = f"{r['median'] * 1e6:.0f}", f"{r['p99'] * 1e6:.0f}"
            ratios = f"{r['median_of_quiet']:.2f}", f"{r['p99_of_quiet']:.1f}"
            rows.append([group["what"], group["name"], str(r["neighbours"]), *figures, *ratios])
    return markdown(rows)


def main(argv: list[str]) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m bench neighbours", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seconds", type=float, default=8, help="of calls for each row (default: 8)")
    parser.add_argument("--only", nargs="+", default=[], metavar="WORD", help="names hold one of these")
    args = parser.parse_args(argv)
    groups = []
    with tempfile.TemporaryDirectory() as folder:
        make(SHAPE, Path(folder))
        for what, name, prepare, process in subjects(args.only):
            print(f"{what}: {name}, {len(NEIGHBOURS) * args.seconds:.0f} s", file=sys.stderr, flush=True)
            try:
                process.ask("prepare", **(prepare or {"folder": folder, "copies": 1}))
                groups.append({"what": what, "name": name, "records": measure(process, args.seconds)})
            except Failed as reason:
                print(f"  is missing: {reason}", file=sys.stderr)
            finally:
                process.stop()
    print(table(groups))
    if not args.only:
        record = {"stamp": machine.stamp([]), "seconds": args.seconds, "groups": groups}
        RESULTS.write_text(json.dumps(record, indent=1, ensure_ascii=False) + "\n")
    return 0
