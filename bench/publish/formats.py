"""The block of docs/howto/formats.md about times and distances, from bench/results/formats.json.

    python -m bench formats --write
"""

from __future__ import annotations

import json
from collections.abc import Mapping

from bench.publish import pages, readme
from bench.publish.tables import markdown, number

NAME = "formats"
#: What stands in the heading of a table, by the name in the record.
RUNTIMES = {"ONNX Runtime": "ONNX Runtime", "OpenVINO": "OpenVINO", "dynq": "our session"}


def table(group: dict) -> str:
    """One case: a row for each format."""
    heading = [f"{group['case']}", "MB"]
    for told in RUNTIMES.values():
        heading += [f"{told} µs", "loss", "from ours"]
    lines = [heading]
    for row in group["rows"]:
        cells = [row["form"], f"{row['bytes'] / 1e6:.1f}"]
        for runtime in RUNTIMES:
            cells += _figures(row.get(runtime, {}))
        lines.append(cells)
    return markdown(lines)


def _figures(cell: Mapping[str, float]) -> list[str]:
    time = number(cell["us"], 4) if "us" in cell else "–"
    return [time, *(f"{cell[each]:.1e}" if each in cell else "" for each in ("loss", "apart"))]


def content(record: dict) -> str:
    """A table for each case, and who could not run."""
    groups = record["groups"]
    stamps = list(dict.fromkeys(readme.provenance(group["stamp"]) for group in groups))
    reasons: dict[str, list[str]] = {}
    for group in groups:
        for name, reason in group["missing"].items():
            reasons.setdefault(f"{name}: {reason}", []).append(group["case"])
    parts = [f"{groups[0]['threads']} threads.", *map(table, groups)]
    parts += ["\n".join(f"* {reason} ({', '.join(cases)})" for reason, cases in reasons.items())] if reasons else []
    return "\n\n".join([*parts, f"Measured: {'; '.join(stamps)}."])


def write(measured: dict[str, dict], order: list[str]) -> None:
    """Keep what was measured, by case; others stay as they are."""
    kept = {group["case"]: group for group in (readme.load(NAME) or {"groups": []})["groups"]} | measured
    record = {"groups": [kept[case] for case in order if case in kept]}
    (readme.RECORDS / f"{NAME}.json").write_text(json.dumps(record, indent=1, ensure_ascii=False) + "\n")
    pages.fill(pages.FORMATS, NAME, content(record))
