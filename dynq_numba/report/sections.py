"""From plain data to sections. Each takes what a `to_json` gave, and gives nothing where its data is not there."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from . import charts
from .charts import WORST
from .parts import (
    ROWS,
    Cell,
    Section,
    Table,
    count,
    facts,
    finite,
    left_out,
    number,
    share,
    size,
    text,
    without_empty,
)  # fmt: skip


def outputs(comparison: Mapping[str, Any]) -> list[Section]:
    """What the results of the model are."""
    head = (
        "output", "loss", "mean cosine", "worst cosine", "SQNR dB", "largest error", "p99 error", "KL", "argmax flips",
        "ranking flips", "threshold flips", "not finite",
    )  # fmt: skip
    rows = [
        [
            text(each["name"]), number(each["loss"], ".2e"), number(each.get("cosine_mean"), ".6f"),
            number(each.get("cosine_worst"), ".6f"), number(each.get("sqnr_db"), ".1f"),
            number(each.get("max_abs_error")), number(each.get("p99_abs_error")), number(each.get("kl_mean"), ".2e"),
            share(each.get("argmax_flips")), share(each.get("ranking_flips")), share(each.get("threshold_flips")),
            number(each.get("not_finite") or None, ",.0f"),
        ]
        for each in comparison["outputs"]
    ]  # fmt: skip
    lead = f"The candidate's results beside the float model's, on {comparison['rows']:,} rows of {comparison['data']}."
    notes = ["loss is 1 − mean cosine; SQNR is signal to noise: 20 dB is an error of 10 %, 40 dB of 1 %."]
    table = without_empty(Table("Outputs", head, rows))
    return [Section("outputs", "Results of the model", lead, tables=[table], notes=notes)]


#: (key, title, what it means) of each look.
_LOOKS = (
    ("own", "By itself", "the layer's own loss on float inputs"),
    ("loss_alone", "Only it quantized", "the model's loss where only this layer is quantized"),
    ("gain", "Only it float", "what the model's loss falls by where only this layer stays float"),
)


def layers(comparison: Mapping[str, Any], receipt: Mapping[str, Any] | None = None) -> list[Section]:
    """Where the error comes from: all layers, the three looks at the worst, a table of all."""
    found = [dict(each) | {"own": (each.get("own") or {}).get("loss"), "db": (each.get("own") or {}).get("sqnr_db"),
                           "gain": _difference(comparison["loss"], each.get("loss_without"))}
             for each in comparison.get("layers", [])]  # fmt: skip
    if not found:
        return []
    looks = [look for look in _LOOKS if any(finite(each.get(look[0])) is not None for each in found)]
    if not looks:
        return []
    main = next((look for look in looks if look[0] == "loss_alone"), looks[0])
    worst = sorted((each for each in found if finite(each.get(main[0])) is not None), key=lambda each: -each[main[0]])
    lead = f"{len(found)} layers. The worst is {worst[0]['layer']}: {main[2]}, {worst[0][main[0]]:.2e}."
    section = Section("layers", "Where the error comes from", lead)
    names = [each["layer"] for each in worst]
    section.charts.append(charts.over_layers(found, names, main[0], main[2]))
    for i, (key, title, what) in enumerate(looks):
        rows = [(each["layer"], finite(each.get(key))) for each in worst[:WORST]]
        section.charts.append(charts.bars(f"{title}: {what}", rows, "loss", ranks="only" if i else "named"))
    sizes = {entry["weight"]: entry for entry in (receipt or {}).get("entries", [])}
    head = (
        "layer", "operator", "scheme", "own SQNR dB", "own loss", "only it", "all but it", "bytes before",
        "bytes after",
    )  # fmt: skip
    rows_ = []
    shown = found if len(found) <= ROWS else worst[:ROWS]
    section.notes += left_out(len(shown), len(found), "layers, the worst")
    for each in shown:
        own = [sizes[name] for name in each.get("weights", []) if name in sizes]
        before, after = (sum(entry[key] for entry in own) if own else None for key in ("bytes_before", "bytes_after"))
        rows_.append([
            text(each["layer"]), text(each.get("op_type")), text(each.get("scheme")), number(each["db"], ".1f"),
            number(each["own"], ".2e"), number(each.get("loss_alone"), ".2e"), number(each.get("loss_without"), ".2e"),
            count(before), count(after),
        ])  # fmt: skip
    section.tables.append(without_empty(Table("All layers", head, rows_)))
    return [section]


def _difference(a: Any, b: Any) -> float | None:
    first, second = finite(a), finite(b)
    return None if first is None or second is None else first - second


def histograms(found: Sequence[Mapping[str, Any]]) -> list[Section]:
    """Weights and inputs of the worst layers."""
    if not found:
        return []
    lead = "What is far from the rest makes steps coarse for all."
    section = Section("histograms", "Values of the worst layers", lead)
    for each in found:
        for key, what in (("weights", "weights"), ("inputs", "inputs")):
            if each.get(key):
                title = f"{each['layer']}: {what}"
                section.charts.append(charts.histogram(title, each[key]["edges"], each[key]["counts"]))
    return [section]


def timings(found: Mapping[str, Any]) -> list[Section]:
    """How long a run takes."""
    ran = [each for each in found["timings"] if finite(each["median_ms"]) is not None]
    head = ("runtime", "model", "median ms", "least ms", "most ms", "its time / ours", "from", "to", "why not")
    rows = [
        [text(each["name"]), text(each["model"]),
         *(number(each[key], ".3f") for key in ("median_ms", "least_ms", "most_ms")),
         *(number(each[key], ".2f") for key in ("ratio", "ratio_least", "ratio_most")), text(each.get("why"))]
        for each in found["timings"]
    ]  # fmt: skip
    about = f"{found['rounds']} rounds on {found['threads']} threads, {found['data']}."
    lead = f"{about} A bar is the median of rounds, a line reaches from the least to the most."
    drawn = [(each["name"], each["median_ms"], each["least_ms"], each["most_ms"]) for each in ran]
    made = [charts.spread("Time of a run", drawn, "milliseconds")] if drawn else []
    return [Section("latency", "Time", lead, charts=made, tables=[without_empty(Table("Times", head, rows))])]


def search(found: Mapping[str, Any]) -> list[Section]:
    """Mixes that were tried on all data, the one that was taken, and what each layer got."""
    tried = [each for each in found.get("points", []) if each.get("all")]
    made = []
    if tried:
        rows = [
            [
                text("taken" if each == found.get("result") else ""), text(each["name"]),
                number(each["degradation"], ".3g"), number(each["loss"], ".2e"),
                Cell(size(each["bytes"]), float(each["bytes"])), number(each.get("ms"), ".3f"),
            ]
            for each in tried
        ]  # fmt: skip
        table = Table("Mixes", ("taken", "mix", "degradation", "loss", "bytes", "ms"), rows)
        drawn = [{"name": each["name"], "bytes": each["bytes"], "loss": finite(each["loss"]) or 0.0,
                  "chosen": each == found.get("result")} for each in tried]  # fmt: skip
        seen = [each for each in drawn if each["loss"] > 0]
        lead = "Further left is smaller, further down is closer to the float model."
        made.append(Section("pareto", "Mixes that were tried", lead, [charts.pareto(seen)] if seen else [], [table],
                            notes=list(map(str, found.get("notes", [])))))  # fmt: skip
    if chosen := found.get("chosen"):
        head = ("layers", "got", "own error", "loss of the model", "bytes", "float µs", "int8 µs")
        rows = []
        for unit in found["units"]:
            rung = unit["rungs"].get(chosen.get(unit["name"]), {})
            rows.append([
                text(", ".join(unit["layers"])), text(chosen.get(unit["name"])), number(rung.get("error"), ".3%"),
                number(rung.get("loss"), ".2e"), count(rung.get("bytes")), number(unit.get("float_us"), ".0f"),
                number(unit.get("int8_us"), ".0f"),
            ])  # fmt: skip
        kept = sorted(rows, key=lambda row: -float(row[3].key))[:ROWS] if len(rows) > ROWS else rows
        amounts: dict[str, float] = {}
        for unit in found["units"]:
            name = str(chosen.get(unit["name"]))
            amounts[name] = amounts.get(name, 0.0) + unit["rungs"].get(name, {}).get("bytes", 0) / 1e6
        names = sorted(amounts, key=lambda name: -amounts[name])
        largest: list[tuple[str, float | None]] = [(name, amounts[name]) for name in names]
        bars = [charts.bars("Bytes, by what layers got", largest, "MB")]
        lead = "Losses are predicted for each layer alone; layers that take the same input have one scheme."
        made.append(Section("choices", "What each layer got", lead, bars, [without_empty(Table("Layers", head, kept))],
                            notes=left_out(len(kept), len(rows), "layers, the worst")))  # fmt: skip
    return made


def quantized(receipt: Mapping[str, Any]) -> list[Section]:
    """What became of each weight."""
    head = ("weight", "operator", "shape", "scheme", "bytes before", "bytes after", "error", "exact", "why")
    entries = receipt["entries"]
    shown = entries if len(entries) <= ROWS else sorted(entries, key=lambda each: -each["bytes_before"])[:ROWS]
    rows = [
        [text(each["weight"]), text(each["op_type"]), text("×".join(map(str, each["shape"]))), text(each["scheme"]),
         count(each["bytes_before"]), count(each["bytes_after"]), number(each.get("error"), ".2%"),
         text({True: "yes", False: "no"}.get(each.get("exact"), "")), text(each.get("reason"))]
        for each in shown
    ]  # fmt: skip
    made = sum(each.get("exact") is not None for each in entries)
    before, after = size(receipt["bytes_before"]), size(receipt["bytes_after"])
    part = f"{made} of {len(entries)} weights are integers, {receipt['coverage']:.1%} of the bytes"
    lead = f"{part}: {before} became {after}."
    bytes_of: dict[str, float] = {}
    for each in entries:
        bytes_of[each["scheme"]] = bytes_of.get(each["scheme"], 0) + each["bytes_after"]
    section = Section("receipt", "What was quantized", lead, tables=[without_empty(Table("Weights", head, rows))])
    section.notes += left_out(len(shown), len(entries), "weights, the largest")
    section.notes += list(map(str, receipt.get("notes", [])))
    if len(bytes_of) > 1:
        drawn = sorted(((name, each / 1e6) for name, each in bytes_of.items()), key=lambda pair: -pair[1])
        section.charts.append(charts.bars("Bytes after, by scheme", drawn, "MB"))
    return [section]


def _rules(recipe: Mapping[str, Any]) -> str:
    """A line for each rule of a receipt's recipe, without what says nothing."""
    rules = [{**{key: value for key, value in each.items() if key != "scheme"}, **(each.get("scheme") or {})}
             for each in recipe.get("rules", [])]  # fmt: skip
    said = [{key: value for key, value in each.items() if value not in (None, "", 0, [], {}, "none")} for each in rules]
    rest = {key: value for key, value in recipe.items() if key != "rules"}
    return "\n".join(json.dumps(each, ensure_ascii=False) for each in [*said, *([rest] if rest else [])])


def origins(whole: Mapping[str, Any], command: str, recipe: str) -> list[Section]:
    """How this came about, and how to do it again."""
    comparison, gate, receipt, search = (whole.get(key) or {} for key in ("comparison", "gate", "receipt", "search"))
    section = Section("origin", "How this was made", "All that is needed to do it again.")
    if command:
        section.texts.append(("Command", command))
    if recipe := recipe or search.get("recipe") or _rules(receipt.get("recipe") or {}):
        section.texts.append(("Recipe", recipe))
    files: list[tuple[str, Any]] = []
    for side in ("reference", "candidate"):
        about = (gate.get("models") or {}).get(side, {})
        files.append((side, comparison.get(side) or about.get("file")))
        files.append((f"sha256 of the {side}", comparison.get(f"{side}_sha256") or about.get("sha256")))
    files.append(("sha256 of the source", receipt.get("source_sha256")))
    files += [(f"search: {name}", value) for name, value in (search.get("key") or {}).items()]
    data = gate.get("data") or {}
    files += [
        ("data", comparison.get("data") or data.get("description")),
        ("rows", comparison.get("rows") or data.get("rows")), ("seed", comparison.get("seed")),
        ("intervals", (gate.get("statistics") or {}).get("words")),
    ]  # fmt: skip
    about = (gate.get("machine") or {}) | (comparison.get("machine") or {})
    tables = facts("Files and data", files), facts("Machine and versions", about)
    section.tables += [each for each in tables if each.rows]
    section.notes += [str(note) for note in comparison.get("notes", [])]
    return [section]
