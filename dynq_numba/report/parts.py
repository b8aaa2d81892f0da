"""What a page is made of: sections of tables, charts and texts; and how numbers are written."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

#: Rows of a table: a page has an end.
ROWS = 300


@dataclass(frozen=True)
class Cell:
    """A cell of a table: what is shown, what it is sorted by, and the class of its colour."""

    text: str
    key: float | str = ""
    tone: str = ""

    @property
    def is_number(self) -> bool:
        return isinstance(self.key, float) and not self.tone


@dataclass(frozen=True)
class Table:
    """Rows that a reader sorts by their heads, and filters where there are many."""

    caption: str
    head: Sequence[str]
    rows: Sequence[Sequence[Cell]]

    @property
    def numeric(self) -> list[bool]:
        """Which columns are numbers, which stand on the right."""
        return [any(row[i].is_number for row in self.rows) for i in range(len(self.head))]


@dataclass(frozen=True)
class Chart:
    """A specification of Vega-Lite, and what it shows for those who do not see it."""

    title: str
    spec: dict[str, Any]
    alt: str


@dataclass
class Section:
    """A heading, a sentence that says what to see, and what shows it."""

    id: str
    title: str
    lead: str
    charts: list[Chart] = field(default_factory=list)
    tables: list[Table] = field(default_factory=list)
    #: (caption, text) of what is shown as it is, such as a recipe.
    texts: list[tuple[str, str]] = field(default_factory=list)
    #: Notes, below.
    notes: list[str] = field(default_factory=list)


def finite(value: Any) -> float | None:
    """A number, where it is one and finite; JSON of ours writes others as texts."""
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not math.isfinite(value):
        return None
    return float(value)


def text(value: Any = "") -> Cell:
    """A cell of words; empty for None."""
    shown = "" if value is None else str(value)
    return Cell(shown, shown.lower())


def number(value: Any, form: str = ".3g", unit: str = "", tone: str = "") -> Cell:
    """A cell of a number: what is none sorts last."""
    found = finite(value)
    if found is None:
        shown = {"inf": "identical", "nan": "not finite"}.get(str(value), "")
        return Cell(shown, math.inf if value == "inf" else -math.inf)
    return Cell(f"{found:{form}}{unit}", found, tone)


def share(value: Any) -> Cell:
    return number(value, ".2%")


def size(value: Any) -> str:
    """Bytes for people."""
    found = finite(value)
    if found is None:
        return ""
    for unit, least in (("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if found >= least:
            return f"{found / least:.3g} {unit}"
    return f"{found:.0f} B"


def count(value: Any) -> Cell:
    return number(value, ",.0f")


def verdict(word: Any, critical: bool = True) -> Cell:
    """pass, fail or inconclusive, in its colour and in words: colour alone tells nobody who does not see it."""
    tone = str(word) if word in ("pass", "fail", "inconclusive") else ""
    shown = str(word) if critical or word == "pass" else f"{word} (warns)"
    return Cell(shown, {"fail": 0.0, "inconclusive": 1.0}.get(tone, 2.0), tone)


def without_empty(table: Table) -> Table:
    """Without columns that have nothing in any row."""
    kept = [i for i in range(len(table.head)) if i == 0 or any(row[i].text for row in table.rows)]
    return Table(table.caption, [table.head[i] for i in kept], [[row[i] for i in kept] for row in table.rows])


def facts(caption: str, pairs: Mapping[str, Any] | Iterable[tuple[str, Any]]) -> Table:
    """Names and what they are; those that are not known are left out."""
    items = pairs.items() if isinstance(pairs, Mapping) else pairs
    rows = [[text(name), Cell(str(value))] for name, value in items if value not in (None, "", [], {})]
    return Table(caption, ("what", "value"), rows)


def left_out(shown: int, whole: int, what: str) -> list[str]:
    return [f"The table has {shown:,} of {whole:,} {what}; --json has all."] if shown < whole else []
