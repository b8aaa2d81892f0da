"""The block of bench/RESULTS.md about whole ONNX models, from bench/results/models.json, and its chart.

    python -m bench models --write
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator

from bench.harness.results import geometric_mean
from bench.publish import charts, pages, readme
from bench.publish.tables import markdown, ratio

NAME = "models"
CHART = readme.RECORDS / "models.svg"
#: Ours, and the peer whose loss it is compared with: the same weights as integers, a scale per channel.
OURS = {"dynq int8": "ONNX Runtime int8 per channel", "dynq int8 conv": "ONNX Runtime int8 per channel conv"}
FLOATS = "dynq float32"
#: The columns of peers: the fastest of those whose name begins so.
PEERS = ("ONNX Runtime float32", "ONNX Runtime int8", "OpenVINO float32", "OpenVINO int8")


def rows_of(group: dict) -> dict[str, dict]:
    return {row["name"]: row for row in group["rows"]}


def ratios(groups: Iterable[dict], ours: str) -> list[tuple[float, str]]:
    """The best peer's time over ours, and where; disturbed cases are left out."""
    found = ((rows_of(group).get(ours), group) for group in groups if not group["disturbed"])
    return [(row["ratio"], group["case"]) for row, group in found if row and "ratio" in row]


def float_ratios(groups: Iterable[dict]) -> list[tuple[float, str]]:
    """The best time of the peers' float32 over that of ours, and where; disturbed cases are left out."""
    found = []
    for group in groups:
        times = {name: row["us"] for name, row in rows_of(group).items() if "float32" in name}
        ours = times.pop(FLOATS, None)
        if ours and times and not group["disturbed"]:
            found.append((min(times.values()) / ours, group["case"]))
    return found


def told(name: str, found: list[tuple[float, str]]) -> str:
    """A geometric mean, of how many, and the worst."""
    worst, where = min(found)
    mean = ratio(geometric_mean(each for each, _ in found))
    return f"{name} **{mean}** of {len(found)} (worst {ratio(worst)}: {where})"


def losses(groups: Iterable[dict], ours: str) -> Iterator[float]:
    """Our loss over ONNX Runtime's, where as many layers are integers."""
    for group in groups:
        mine, theirs = (rows_of(group).get(name) for name in (ours, OURS[ours]))
        if mine and theirs and mine["layers"] == theirs["layers"] and min(mine["loss"], theirs["loss"]) > 0:
            yield mine["loss"] / theirs["loss"]


def summary(groups: list[dict]) -> str:
    """The geometric means, in a line."""
    parts = [told(ours, found) for ours in (*OURS, FLOATS) if (found := ratios(groups, ours))]
    if found := float_ratios(groups):
        parts.append(told("float32 over the peers' float32", found))
    lost = [each for ours in OURS for each in losses(groups, ours)]
    if lost:
        parts.append(f"its loss over ONNX Runtime's per channel **{ratio(geometric_mean(lost))}** of {len(lost)}")
    return "Best peer's time over ours, geometric means: " + "; ".join(parts) + "."


def table(groups: list[dict]) -> str:
    names = [*OURS, FLOATS, "dynq by hand"]
    heading = ["microseconds", *names, *PEERS, "best peer / ours: int8", "conv", "float32", "loss int8", "conv",
               "ONNX Runtime per channel", "conv"]  # fmt: skip
    lines = [heading]
    for group in groups:
        rows = rows_of(group)
        cells = [f"{rows[each]['us']:.4g}" if each in rows else "–" for each in names]
        for peer in PEERS:
            times = [row["us"] for each, row in rows.items() if each.startswith(peer)]
            cells.append(f"{min(times):.4g}" if times else "–")
        cells += [ratio(rows.get(each, {}).get("ratio")) or "–" for each in (*OURS, FLOATS)]
        for each in (*OURS, *OURS.values()):
            cells.append(f"{rows[each]['loss']:.1e}" if each in rows else "–")
        lines.append([group["case"] + (" disturbed" if group["disturbed"] else ""), *cells])
    return markdown(lines)


def missing(groups: list[dict]) -> str:
    """Who could not run, and why."""
    reasons: dict[str, list[str]] = {}
    for group in groups:
        for name, reason in group["missing"].items():
            reasons.setdefault(f"{name}: {reason}", []).append(group["case"])
    return "\n".join(f"* {reason} ({', '.join(cases)})" for reason, cases in reasons.items())


def content(record: dict) -> str:
    """The summary and the table."""
    groups = record["groups"]
    stamps = list(dict.fromkeys(readme.provenance(group["stamp"]) for group in groups))
    parts = [f"{groups[0]['threads']} threads. {summary(groups)}", table(groups), missing(groups)]
    return "\n\n".join([*parts, f"Measured: {'; '.join(stamps)}."])


def block(record: dict) -> str:
    """What stands in bench/RESULTS.md."""
    return f"{content(record)}\n\n![Every contestant's time over ours](results/models.svg)"


def write(measured: dict[str, dict], order: list[str]) -> None:
    """Keep what was measured, by case; others stay as they are."""
    kept = {group["case"]: group for group in (readme.load(NAME) or {"groups": []})["groups"]} | measured
    record = {"groups": [kept[case] for case in order if case in kept]}
    (readme.RECORDS / f"{NAME}.json").write_text(json.dumps(record, indent=1, ensure_ascii=False) + "\n")
    charts.draw_models(record, CHART)
    pages.fill(pages.RESULTS, NAME, block(record))
    readme.fill()
