"""The page: one file without a network, from whatever there is to tell."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

from ..arguments.extras import load
from ..files.whole import write_text
from . import goals, sections
from .parts import Section, finite, size
from .template import SCRIPT, STYLE, TEMPLATE

#: The most bytes of a page; what holds the charts takes 0.9 MB.
MOST = 1_500_000


@cache
def _library() -> str:
    """Vega, Vega-Lite and Vega-Embed, to stand in the page."""
    bundle: str = load("vl_convert", "report", "a report").javascript_bundle()
    return bundle.replace("</script", "<\\/script")


def page(
    *, comparison: Mapping[str, Any] | None = None, gate: Mapping[str, Any] | None = None,
    search: Mapping[str, Any] | None = None, receipt: Mapping[str, Any] | None = None,
    timings: Mapping[str, Any] | None = None, histograms: Sequence[Mapping[str, Any]] = (),
    command: str = "", recipe: str = "", title: str = "",
) -> str:  # fmt: skip
    """One self-contained page of HTML. A section appears where its data is.

    Parameters
    ----------
    comparison, gate, search, receipt, timings : mapping, optional
        What `to_json` of `Comparison`, `GateReport`, `SearchRecord`, `Receipt` and `Timings` has, read by json.loads.
    histograms : sequence of mapping
        "layer", and "weights" and "inputs": "edges" and "counts".
    command, recipe : str
        To reproduce it.
    title : str
        By default the names of the models.

    Raises
    ------
    ImportError
        Without the extra `report`; has the pip line.
    ValueError
        Where there is nothing to tell, or too much for a page.
    """
    whole = {"comparison": comparison, "gate": gate, "search": search, "receipt": receipt, "timings": timings}
    if not any(whole.values()):
        raise ValueError(f"a report needs one of {', '.join(whole)}; got none")
    parts: list[Section] = []
    if gate:
        parts += goals.goals(gate)
    if receipt:
        parts += sections.quantized(receipt)
    if comparison:
        parts += sections.outputs(comparison) + sections.layers(comparison, receipt)
    parts += sections.histograms(histograms)
    parts += (sections.timings(timings) if timings else []) + (sections.search(search) if search else [])
    parts += sections.origins(whole, command, recipe)
    word, sentence = _verdict(whole)
    jinja2 = load("jinja2", "report", "a report")
    # No template of anybody else is ever rendered; what users named is escaped.
    environment = jinja2.Environment(autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True)
    made: str = environment.from_string(TEMPLATE).render(
        title=title or _title(whole), word=word, sentence=sentence, tiles=_tiles(whole), sections=_in_order(parts),
        style=STYLE, library=_library(), script=SCRIPT,
    )  # fmt: skip
    if len(made.encode()) > MOST:
        raise ValueError(f"a report must have at most {MOST:,} bytes; got {len(made.encode()):,}")
    return made


def write(path: str | os.PathLike[str], **parts: Any) -> None:
    """Write `page(**parts)`, whole or not at all."""
    write_text(Path(path), page(**parts))


def _in_order(parts: list[Section]) -> list[Section]:
    """What people ask first comes first."""
    order = ("goals", "slices", "outputs", "layers", "histograms", "latency", "pareto", "choices", "receipt", "origin")
    return sorted(parts, key=lambda each: order.index(each.id))


def _title(whole: Mapping[str, Any]) -> str:
    comparison, gate = whole["comparison"] or {}, whole["gate"] or {}
    models = gate.get("models") or {}
    names = [comparison.get(side) or (models.get(side) or {}).get("file") for side in ("candidate", "reference")]
    shown = [Path(str(name)).name for name in names if name]
    return " beside ".join(shown) or ("Search of a recipe" if whole["search"] else "A quantized model")


def _verdict(whole: Mapping[str, Any]) -> tuple[str, str]:
    """A word, which has a colour, and a sentence."""
    if gate := whole["gate"]:
        return str(gate["verdict"]), str(gate["summary"]).partition(": ")[2] or str(gate["summary"])
    if comparison := whole["comparison"]:
        if all(each.get("identical") for each in comparison["outputs"]):
            return "identical", f"All results on {comparison['rows']:,} rows are those of the reference."
        worst = max(comparison["outputs"], key=lambda each: finite(each["loss"]) or 0.0)
        flips = finite(worst.get("argmax_flips"))
        more = "" if flips is None else f" The largest value is elsewhere in {flips:.2%} of the decisions."
        probe = " The data is random numbers: real data may give other figures." if comparison.get("synthetic") else ""
        loss = finite(worst["loss"])
        told = "no finite number" if loss is None else f"{loss:.2e}"
        told = f"Loss (1 − mean cosine) of the worst output, {worst['name']}: {told}.{more}{probe}"
        return "compared", f"{told} Nobody set a goal."
    if search := whole["search"]:
        result = search.get("result") or {}
        if not search.get("chosen"):
            return "nothing found", "No mix that was tried is within all budgets."
        told = f"Taken: {result['name']}, degradation {result['degradation']:.3g}, {size(result['bytes'])}"
        return "found", f"{told}, {result['ms']:.3g} ms a batch."
    if receipt := whole["receipt"]:
        word = "quantized" if receipt["coverage"] else "not quantized"
        part = f"{receipt['coverage']:.1%} of the bytes of weights are integers."
        return word, f"{part} What it costs in accuracy is not measured here."
    return "timed", "Time of a run, beside other runtimes."


def _tiles(whole: Mapping[str, Any]) -> list[tuple[str, str]]:
    """The figures that people ask for first."""
    found: list[tuple[str, str]] = []
    comparison, receipt, timings, gate = (whole[key] for key in ("comparison", "receipt", "timings", "gate"))
    if comparison:
        worst = max(comparison["outputs"], key=lambda each: finite(each["loss"]) or 0.0)
        for name, key, form in (("loss of the worst output", "loss", ".2e"), ("signal to noise", "sqnr_db", ".1f"),
                                ("argmax flips", "argmax_flips", ".2%")):  # fmt: skip
            if (value := finite(worst.get(key))) is not None:
                found.append((name, f"{value:{form}}{' dB' if key == 'sqnr_db' else ''}"))
    if gate:
        sides = [finite((gate.get("models") or {}).get(side, {}).get("bytes")) for side in ("reference", "candidate")]
        if sides[0] and sides[1] is not None:
            found.append(("file", f"{size(sides[0])} → {size(sides[1])}"))
        results = gate.get("results", [])
        found.append(("goals that passed", f"{sum(each['verdict'] == 'pass' for each in results)} of {len(results)}"))
    if receipt:
        found.append(("weights", f"{size(receipt['bytes_before'])} → {size(receipt['bytes_after'])}"))
        found.append(("of the bytes are integers", f"{receipt['coverage']:.1%}"))
    if (search := whole["search"]) and (result := search.get("result")):
        found += [("degradation", f"{result['degradation']:.3g}"), ("loss", f"{result['loss']:.2e}"),
                  ("artifact", size(result["bytes"])), ("a batch", f"{result['ms']:.3g} ms")]  # fmt: skip
    for each in (timings or {}).get("timings", []):
        if (value := finite(each.get("ratio"))) is not None:
            found.append((f"time of {each['name']} over ours", f"{value:.2f}"))
        elif each["name"] == "dynq" and (value := finite(each.get("median_ms"))) is not None:
            found.append(("time of a run", f"{value:.3g} ms"))
    return found
