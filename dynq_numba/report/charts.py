"""Charts: specifications of Vega-Lite, made by altair.

Colours are variables of the page's style, so that light, dark and paper need no second chart.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from ..arguments.extras import load
from ..tables import shortened
from .parts import Chart, finite

#: Characters of a label on an axis, and pixels that it gets.
LABEL, LABEL_PIXELS = 34, 290
#: Bars of a chart of the worst, and numbers in a chart of all.
WORST, NAMED = 12, 5
#: What all charts look like.
CONFIG: dict[str, Any] = {
    "background": "transparent", "font": "system-ui, sans-serif", "view": {"stroke": None},
    "axis": {
        "labelColor": "var(--muted)", "titleColor": "var(--muted)", "gridColor": "var(--line)",
        "domainColor": "var(--line)", "tickColor": "var(--line)", "labelFontSize": 12, "titleFontSize": 12,
        "titleFontWeight": "normal", "labelLimit": LABEL_PIXELS, "labelOverlap": "greedy",
    },
    "legend": {"labelColor": "var(--text)", "titleColor": "var(--muted)", "labelFontSize": 12, "orient": "top"},
    "text": {"color": "var(--text)"}, "point": {"filled": True, "size": 70},
}  # fmt: skip
#: Numbers on an axis: as people write them, but for the very large and the very small.
_PLAIN = (
    "datum.value == 0 ? '0' : abs(datum.value) >= 1e-3 && abs(datum.value) < 1e6 ? format(datum.value, '~f') : "
    "format(datum.value, '~e')"
)
#: Name of the rows of a chart.
_ROWS = "rows"
_TONES = {"domain": ["pass", "inconclusive", "fail"], "range": ["var(--good)", "var(--unsure)", "var(--bad)"]}


def _altair() -> Any:
    return load("altair", "report", "a report")


def _axis(**more: Any) -> Any:
    return _altair().Axis(labelExpr=_PLAIN, tickCount=6, **more)


def _powers(values: Sequence[float]) -> tuple[list[float], list[float]]:
    """Ends of a logarithmic axis, whole powers of ten, and where it has lines."""
    low, high = (math.floor(math.log10(min(values))), math.ceil(math.log10(max(values)) + 1e-9))
    high = max(high, low + 1)
    return [10.0**low, 10.0**high], [10.0**each for each in range(low, high + 1, 1 + (high - low) // 8)]


def _log(values: Sequence[float], title: str) -> dict[str, Any]:
    """Title, scale and axis of y."""
    alt = _altair()
    ends, lines = _powers(values)
    return {"title": title, "scale": alt.Scale(type="log", domain=ends, nice=False),
            "axis": alt.Axis(values=lines, format="~e")}  # fmt: skip


def _done(chart: Any, rows: list[dict[str, Any]], title: str, alt: str, height: int) -> Chart:
    """With its rows, which altair would look at one by one."""
    spec = chart.properties(width="container", height=height).to_dict()
    spec.pop("$schema", None)
    spec["config"], spec["datasets"] = CONFIG, {_ROWS: rows}
    spec["autosize"] = {"type": "fit", "contains": "padding"}
    return Chart(title, spec, alt)


def _labels(names: Sequence[str], numbered: bool = False) -> list[str]:
    """Of an axis. Names that are the same once shortened need numbers."""
    short = [shortened(name, LABEL) for name in names]
    if numbered or len(set(short)) < len(short):
        return [f"{i + 1} · {name}" for i, name in enumerate(short)]
    return short


def over_layers(rows: Sequence[Mapping[str, Any]], worst: Sequence[str], value: str, what: str) -> Chart:
    """A point for each layer, in the order of the graph; the worst have their numbers.

    Rows have "layer" and `value`; `worst` are names, the first one the worst.
    """
    alt = _altair()
    rank = {name: i + 1 for i, name in enumerate(worst[:NAMED])}
    known: list[dict[str, Any]] = [
        {"n": i + 1, "name": str(row["layer"]), "v": v, "scheme": str(row.get("scheme", "")),
         "rank": rank.get(row["layer"])}
        for i, row in enumerate(rows) if (v := finite(row.get(value))) is not None and v > 0
    ]  # fmt: skip
    x = alt.X("n:Q", title="layers, in the order of the graph", axis=alt.Axis(tickMinStep=1, format="d", grid=False),
              scale=alt.Scale(domain=[0.5, len(rows) + 0.5], nice=False))  # fmt: skip
    y = alt.Y("v:Q", **_log([row["v"] for row in known] or [1.0], "loss"))
    tip = [alt.Tooltip("n:Q", title="number"), alt.Tooltip("name:N", title="layer"),
           alt.Tooltip("scheme:N"), alt.Tooltip("v:Q", title="loss", format=".2e")]  # fmt: skip
    base = alt.Chart(alt.NamedData(name=_ROWS)).encode(x=x, y=y)
    bad = base.transform_filter("isValid(datum.rank)")
    drawn = alt.layer(
        base.mark_line(color="var(--line)", strokeWidth=1.5),
        base.mark_point(color="var(--accent)", opacity=1).encode(tooltip=tip),
        bad.mark_point(color="var(--bad)", opacity=1, size=110).encode(tooltip=tip),
        bad.mark_text(dy=-14, fontSize=13, fontWeight="bold", color="var(--bad)").encode(text="rank:N"),
    )
    told = "; ".join(f"{row['name']} {row['v']:.2e}" for row in sorted(known, key=lambda row: -row["v"])[:NAMED])
    return _done(drawn, known, f"Every layer: {what} (the worst are numbered as below)", f"The worst: {told}.", 280)


def bars(title: str, rows: Sequence[tuple[str, float | None]], axis: str, *, ranks: str = "") -> Chart:
    """A bar for each name, in the order given; `ranks` is "named" or "only" where these are numbered."""
    alt = _altair()
    labels = _labels([name for name, _ in rows], bool(ranks))
    labels = [str(i + 1) for i in range(len(rows))] if ranks == "only" else labels
    values = [{"label": label, "name": name, "v": v} for label, (name, v) in zip(labels, rows, strict=True)]
    y = alt.Y("label:N", sort=labels, title=None)
    x = alt.X("v:Q", title=axis, axis=alt.Axis(labelExpr=_PLAIN, tickCount=4 if ranks else 6))
    tip = [alt.Tooltip("name:N"), alt.Tooltip("v:Q", title=axis, format=".3~g")]
    base = alt.Chart(alt.NamedData(name=_ROWS)).encode(x=x, y=y)
    drawn = base.mark_bar(color="var(--accent)", cornerRadiusEnd=2, height={"band": 0.7}).encode(tooltip=tip)
    told = "; ".join(f"{name} {'unknown' if v is None else format(v, '.3g')}" for name, v in rows)
    return _done(drawn, values, title, f"{axis}: {told}.", 26 * max(1, len(values)) + 44)


def intervals(title: str, rows: Sequence[Mapping[str, Any]], unit: str = "") -> Chart:
    """A value with its interval beside its limit; rows have "title", "value", "low", "high", "limit", "verdict"."""
    alt = _altair()
    labels = _labels([str(row["title"]) for row in rows])
    values = [{"label": label, **row} for label, row in zip(labels, rows, strict=True)]
    base = alt.Chart(alt.NamedData(name=_ROWS)).encode(y=alt.Y("label:N", sort=labels, title=None))
    colour = alt.Color("verdict:N", scale=alt.Scale(**_TONES), legend=None)
    numbers = ("value", "low", "high", "limit")
    tip = [alt.Tooltip("title:N"), *(alt.Tooltip(f"{key}:Q", format=".4~g") for key in numbers)]
    x = alt.X("low:Q", title=unit or None, axis=_axis())
    span = base.mark_rule(strokeWidth=5, opacity=0.5).encode(x=x, x2="high:Q", color=colour, tooltip=tip)
    point = base.mark_point(size=110, opacity=1).encode(x="value:Q", color=colour, tooltip=tip)
    limit = base.mark_tick(color="var(--text)", thickness=2.5, size=22).encode(x="limit:Q", tooltip=tip)
    told = "; ".join(f"{row['title']} {row['value']:.4g}, limit {row['limit']:.4g}, {row['verdict']}" for row in rows)
    return _done(alt.layer(span, limit, point), values, title, f"{told}.", 32 * len(values) + 46)


def histogram(title: str, edges: Sequence[float], counts: Sequence[float]) -> Chart:
    """Bars between edges; heights are square roots of counts, so that tails are seen."""
    alt = _altair()
    values = [{"a": a, "b": b, "c": c} for a, b, c in zip(edges[:-1], edges[1:], counts, strict=True)]
    tip = [alt.Tooltip("a:Q", title="from", format=".3~g"), alt.Tooltip("b:Q", title="to", format=".3~g"),
           alt.Tooltip("c:Q", title="count", format=",d")]  # fmt: skip
    drawn = alt.Chart(alt.NamedData(name=_ROWS)).mark_bar(color="var(--accent)", binSpacing=0).encode(
        x=alt.X("a:Q", title=None, bin="binned", axis=_axis()), x2="b:Q",
        y=alt.Y("c:Q", title="count (square root)", scale=alt.Scale(type="sqrt"),
                axis=alt.Axis(format=",d", tickCount=4)),
        tooltip=tip,
    )  # fmt: skip
    return _done(drawn, values, title, f"From {edges[0]:.3g} to {edges[-1]:.3g}, {sum(counts):,.0f} values.", 170)


def spread(title: str, rows: Sequence[tuple[str, float, float, float]], axis: str) -> Chart:
    """A median with its ends: (name, median, least, most)."""
    alt = _altair()
    labels = _labels([row[0] for row in rows])
    values = [{"label": label, "m": row[1], "a": row[2], "b": row[3]} for label, row in zip(labels, rows, strict=True)]
    base = alt.Chart(alt.NamedData(name=_ROWS)).encode(y=alt.Y("label:N", sort=labels, title=None))
    tip = [alt.Tooltip(f"{key}:Q", title=name, format=".4~g") for key, name in
           (("m", "median"), ("a", "least"), ("b", "most"))]  # fmt: skip
    bar = base.mark_bar(color="var(--accent)", opacity=0.5, height={"band": 0.6}).encode(
        x=alt.X("m:Q", title=axis, axis=_axis()), tooltip=tip
    )
    ends = base.mark_rule(color="var(--text)", strokeWidth=2).encode(x="a:Q", x2="b:Q", tooltip=tip)
    told = "; ".join(f"{name} {m:.4g} ({a:.4g} to {b:.4g})" for name, m, a, b in rows)
    return _done(alt.layer(bar, ends), values, title, f"{axis}: {told}.", 34 * len(values) + 50)


def pareto(rows: Sequence[Mapping[str, Any]]) -> Chart:
    """Bytes and loss of each recipe: "name", "bytes", "loss", "chosen"."""
    alt = _altair()
    values = [{"name": str(row["name"]), "mb": row["bytes"] / 1e6, "loss": row["loss"],
               "kind": "taken" if row.get("chosen") else "tried"} for row in rows]  # fmt: skip
    base = alt.Chart(alt.NamedData(name=_ROWS)).encode(
        x=alt.X("mb:Q", title="MB", scale=alt.Scale(zero=False, padding=20), axis=_axis(grid=False)),
        y=alt.Y("loss:Q", **_log([row["loss"] for row in values], "loss")),
    )
    colours = {"domain": ["tried", "taken"], "range": ["var(--accent)", "var(--good)"]}
    points = base.mark_point(opacity=1, size=90).encode(
        color=alt.Color("kind:N", scale=alt.Scale(**colours), title=None),
        tooltip=[alt.Tooltip("name:N"), alt.Tooltip("mb:Q", format=".2f"), alt.Tooltip("loss:Q", format=".2e")],
    )
    taken = base.transform_filter("datum.kind == 'taken'").mark_text(align="left", dx=10, fontSize=12)
    told = "; ".join(f"{each['name']} {each['mb']:.2f} MB {each['loss']:.2e}" for each in values)
    return _done(alt.layer(points, taken.encode(text="name:N")), values, "Bytes and loss", f"{told}.", 320)
