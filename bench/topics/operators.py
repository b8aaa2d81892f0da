"""Operators beside the peers', in interleaved rounds, each contestant in a process of its own.

    python -m bench operators                              all topics, 1 thread and all threads
    python -m bench operators projections --threads 2 --quick
    python -m bench operators chain minilm --write         these topics into bench/results/operators.json, and from it
                                                           the pages' tables; each says when and where it was measured

Times are microseconds from numpy array to numpy array: the median of the rounds' bursts. "best peer / ours" is the
median over rounds of the peer's time over ours in the same round; above 1 ours is faster. A case that was disturbed is
measured again; if it was disturbed again, the table says so, and no summary has it.
"""

from __future__ import annotations

import argparse
import importlib.metadata
import json
import statistics
import sys
from dataclasses import replace
from functools import partial

from bench import topics
from bench.harness import machine, plan
from bench.harness.awake import Awake, rest
from bench.harness.disturbance import disturbed, iqr, quiet_part, spread, steady
from bench.harness.remote import Failed, Remote
from bench.harness.results import micro, paired
from bench.publish import pages, readme
from bench.publish.tables import markdown
from bench.topics import TOPICS, Topic, topic

RECORD = readme.RECORDS / "operators.json"
ROUNDS, QUICK = 9, 3


def absent(distributions: tuple[str, ...]) -> str | None:
    for name in distributions:
        try:
            importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            return f"{name} is not installed"
    return None


def measure(name: str, found: Topic, case: str, threads: int, rounds: int, remotes: dict[str, Remote]) -> dict:
    """The record of one case: a row for each way that ran, and why others did not."""
    missing = {way.name: reason for way in found.ways if (reason := absent(way.distributions))}
    times: dict[str, dict[int, float]] = {}
    errors = {}
    for way in found.ways:
        if way.name in missing:
            continue
        remote = remotes.setdefault(f"{name}:{way.name}", topics.remote(name, way, threads))
        try:
            errors[way.name] = remote.ask("prepare", case=case)["error"]
        except Failed as reason:
            missing[way.name] = str(reason)
    order, quiet = list(errors), []
    for number in range(-1, rounds):  # the first is not counted
        first = number % max(1, len(order))
        for each in order[first:] + order[:first]:
            calm = rest()
            seconds = remotes[f"{name}:{each}"].ask("burst")["called"]
            if number >= 0:
                quiet.append(calm)
                times.setdefault(each, {})[number] = seconds
    for each in order:
        remotes[f"{name}:{each}"].ask("release")
    medians = {each: statistics.median(series.values()) for each, series in times.items()}
    peer = min((each for each in medians if not each.startswith("dynq")), key=medians.get, default=None)
    rows = []
    for each, series in times.items():
        row = {"name": each, "us": micro(medians[each]), "iqr_us": micro(iqr(series.values())),
               "error": float(f"{errors[each]:.3g}")}  # fmt: skip
        if peer and each.startswith("dynq"):
            row |= {"best": peer, "ratio": round(paired(times[peer], series), 3)}
        rows.append(row)
    spreads = [spread(series.values()) for each, series in times.items() if each.startswith("dynq") or each == peer]
    record = {"case": case, "threads": threads, "rows": rows, "missing": missing, "quiet": quiet_part(quiet)}
    return record | {"disturbed": disturbed(spreads, record["quiet"])}


def table(groups: list[dict]) -> str:
    """The groups of one topic as Markdown."""
    names = list(dict.fromkeys(row["name"] for group in groups for row in group["rows"]))
    lines = [["case", "threads", *names, "best peer / ours"]]
    for group in groups:
        by_name = {row["name"]: row for row in group["rows"]}
        ratios = [f"{row['ratio']:.2f}" for row in group["rows"] if "ratio" in row]
        cells = [f"{by_name[each]['us']:.4g}" if each in by_name else "–" for each in names]
        case = group["case"] + (" disturbed" if group.get("disturbed") else "")
        lines.append([case, str(group["threads"]), *cells, ", ".join(ratios) or "–"])
    return markdown(lines)


def content(record: dict) -> str:
    """The tables of bench/RESULTS.md."""
    parts = ["`python -m bench operators`, in microseconds."]
    for each in record.values():
        parts += [f"### {each['title']}", f"{readme.provenance(each['stamp'])}.", table(each["groups"])]
    return "\n\n".join(parts)


def write(measured: dict) -> None:
    """Keep what was measured of some topics; the others stay as they are."""
    kept = (json.loads(RECORD.read_text()) if RECORD.exists() else {}) | measured
    record = {each: kept[each] for each in TOPICS if each in kept}
    RECORD.write_text(json.dumps(record, indent=1, ensure_ascii=False) + "\n")
    pages.fill(pages.RESULTS, "operators", content(record))
    readme.fill()


def main(argv: list[str]) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m bench operators", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("topics", nargs="*", default=TOPICS, metavar="TOPIC", help=f"of {', '.join(TOPICS)}")
    parser.add_argument("--threads", nargs="+", type=int, default=plan.thread_counts(), help="(default: 1 and all)")
    parser.add_argument("--smoke", action="store_true", help="ours alone on each topic's first case, one round")
    parser.add_argument("--quick", action="store_true", help="3 rounds: a look, not a result")
    parser.add_argument("--write", action="store_true", help="keep the record, and fill in RESULTS.md and README.md")
    args = parser.parse_args(argv)
    if unknown := sorted(set(args.topics) - set(TOPICS)):
        parser.error(f"no topic {', '.join(unknown)}; there are: {', '.join(TOPICS)}")
    measured: dict[str, dict] = {}
    with Awake():
        for each in args.topics:
            found, groups = topic(each), []
            distributions = sorted({name for way in found.ways for name in way.distributions})
            if args.smoke:
                ours = tuple(way for way in found.ways if way.name.startswith("dynq"))
                found = replace(found, ways=ours, cases=dict(list(found.cases.items())[:1]))
            for threads in args.threads:
                remotes: dict[str, Remote] = {}
                try:
                    for case in found.cases:
                        print(f"{each}: {case}, {threads} threads", file=sys.stderr, flush=True)
                        rounds = 1 if args.smoke else QUICK if args.quick else ROUNDS
                        groups.append(steady(partial(measure, each, found, case, threads, rounds, remotes)))
                        for name, reason in groups[-1]["missing"].items():
                            print(f"  {name} is missing: {reason}", file=sys.stderr)
                finally:
                    for remote in remotes.values():
                        remote.stop()
            print(f"{found.title}:\n\n{table(groups)}\n", flush=True)
            measured[each] = {"stamp": machine.stamp(distributions), "title": found.title, "groups": groups}
    if args.smoke and any(group["missing"] for each in measured.values() for group in each["groups"]):
        return 1
    if args.write:
        write(measured)
    return 0
