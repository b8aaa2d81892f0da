"""What was asked of a build, as sections: goals, slices and groups, with their intervals."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from . import charts
from .parts import ROWS, Cell, Section, Table, count, finite, left_out, number, size, text, verdict, without_empty

#: Goals of a chart, and what it shows.
_GOALS = 24
_SHOWN = "In a chart, a dot is the value, a bar its interval, an upright line the limit."


def goals(gate: Mapping[str, Any]) -> list[Section]:
    """What was asked of the build, and slices and groups of it."""
    results = gate.get("results", [])
    whole, parts = [each for each in results if not each["where"]], [each for each in results if each["where"]]
    made = [
        ("goals", "Goals", f"What was asked of this build, and whether it does it. {_SHOWN}", whole),
        ("slices", "Slices and groups", f"The same for parts of the data: whom a change hits. {_SHOWN}", parts),
    ]
    return [_goals(*each) for each in made if each[3]]


def _goals(key: str, title: str, lead: str, results: Sequence[Mapping[str, Any]]) -> Section:
    order = {"fail": 0, "inconclusive": 1}
    kept = results if len(results) <= ROWS else sorted(results, key=lambda each: order.get(each["verdict"], 2))[:ROWS]
    rows = [
        [
            verdict(each["verdict"], each["critical"]), text(each["goal"]), text(each["where"]),
            text(" of ".join(filter(None, (each.get("fairness"), each.get("metric"))))),
            number(each.get("reference"), ".4g"), number(each.get("candidate"), ".4g"),
            _value(each, each["value"]), _interval(each),
            Cell(f"{'≥' if each['least'] else '≤'} {_value(each, each['limit']).text}", float(each["limit"])),
            count(each.get("rows")),
            text(each.get("note")),
        ]
        for each in kept
    ]  # fmt: skip
    head = ("verdict", "goal", "where", "metric", "float", "candidate", "value", "interval", "wanted", "rows", "note")
    section = Section(key, title, lead, tables=[without_empty(Table(title, head, rows))])
    section.notes += left_out(len(kept), len(results), "looks, what fails first")
    # A chart for each kind of bound, because each has a unit of its own.
    bounds: dict[str, list[Mapping[str, Any]]] = {}
    for each in results:
        if finite(each["value"]) is not None:
            bounds.setdefault(each["bound"], []).append(each)
    for bound, found in bounds.items():
        scale, unit = (1e6, "MB") if bound == "max-size" else (1.0, "")
        drawn = [
            {
                "title": " · ".join(filter(None, (each["goal"], each["where"]))), "verdict": each["verdict"],
                **{key: (finite(each[key]) or 0.0) / scale for key in ("value", "limit")},
                **{end: _end(each, end, scale) for end in ("low", "high")},
            }
            for each in found[:_GOALS]
        ]  # fmt: skip
        more = f", the first {_GOALS} of {len(found)}" if len(found) > _GOALS else ""
        section.charts.append(charts.intervals(f"{bound}{more}", drawn, unit))
    return section


def _value(each: Mapping[str, Any], value: Any) -> Cell:
    """In the unit of its bound."""
    return Cell(size(value), float(value)) if each["bound"] == "max-size" else number(value, ".4g")


def _unknown(each: Mapping[str, Any]) -> bool:
    """Whether rows do not tell where an end of the interval is; what has no rows, such as bytes, has no interval."""
    return each.get("rows") is not None and (finite(each.get("low")) is None or finite(each.get("high")) is None)


def _end(each: Mapping[str, Any], end: str, scale: float) -> float | None:
    """An end of an interval in a chart, which draws none that is not known."""
    found = finite(each["value"]) if finite(each[end]) is None and not _unknown(each) else finite(each[end])
    return None if found is None else found / scale


def _interval(each: Mapping[str, Any]) -> Cell:
    low, high = finite(each.get("low")), finite(each.get("high"))
    if low is None and high is None:
        return Cell("unknown" if _unknown(each) else "")
    ends = ["unknown" if end is None else f"{end:.4g}" for end in (low, high)]
    return Cell(" … ".join(ends), float("-inf") if low is None else low)
