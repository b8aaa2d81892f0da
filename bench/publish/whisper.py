"""The block of bench/RESULTS.md about speech to text, from bench/results/whisper.json.

    python -m bench whisper --write
"""

from __future__ import annotations

import json

from bench.publish import pages, readme
from bench.publish.tables import markdown

NAME = "whisper"


def rows(record: dict) -> list[list[str]]:
    """A row for each way; without times where none were taken."""
    found = [["", "encoder ms", "/ ours", "whole ms", "/ ours", "words unlike float32", "words unlike what was spoken"]]
    for row in record["rows"]:
        cells = [row["name"]]
        for part in ("encoder", "whole"):
            cells += [f"{row[part]['ms']:.1f}", f"{row[part]['over_ours']:.2f}"] if part in row else ["–", "–"]
        found.append([*cells, *(_rate(row.get(each)) for each in ("unlike_float32", "unlike_spoken"))])
    return found


def _rate(words: list[int] | None) -> str:
    """Of wrong words and all words."""
    return "–" if words is None else f"{words[0] / words[1]:.2%} ({words[0]} of {words[1]})"


def about(record: dict) -> str:
    return f"{record['sentences']} sentences, {record['threads']} threads; {readme.provenance(record['stamp'])}"


def block(record: dict) -> str:
    """What stands in bench/RESULTS.md."""
    lost = "".join(f"* {name}: {reason}\n" for name, reason in record["missing"].items())
    parts = [markdown(rows(record)), lost.strip(), f"Measured: {about(record)}."]
    return "\n\n".join(part for part in parts if part)


def write(record: dict) -> None:
    """Keep what was measured, and show it."""
    (readme.RECORDS / f"{NAME}.json").write_text(json.dumps(record, indent=1, ensure_ascii=False) + "\n")
    pages.fill(pages.RESULTS, NAME, block(record))
