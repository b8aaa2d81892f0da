"""The published figures, from the records in bench/results/.

    python -m bench readme [NAME]

The tables of linear in bench/RESULTS.md and the two charts are made from NAME.json ("latest") and, where it is there,
avx2.json; the README's one table from these and operators.json. Nothing is measured.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

from bench.harness import plan
from bench.harness.results import OURS, geometric_mean
from bench.publish import charts, pages, summary
from bench.publish.summary import COMPUTE_BOUND, READ_BOUND
from bench.publish.tables import markdown, number, percent, ratio

RECORDS = Path(__file__).parents[1] / "results"
#: The shapes whose rows are shown in full, those of them that were measured.
HEADLINES = (
    (1, 768, 768), (1, 4096, 4096), (8, 4096, 4096), (32, 768, 3072), (128, 768, 768), (128, 768, 3072),
    (128, 3072, 768), (512, 1024, 4096), (512, 4096, 4096), (1024, 4096, 4096), (1024, 512, 256), (127, 769, 767),
    (16, 128, 128),
)  # fmt: skip
PEERS = {"XNNPACK": "xnnpack", "zentorch": "zentorch", "PyTorch": "torch", "ONNX Runtime": "onnxruntime",
         "OpenVINO": "openvino"}  # fmt: skip


def cell(value: float | None, digits: int = 3) -> str:
    return number(value, digits) or "–"


def of_threads(groups: list[dict]) -> dict[int, list[dict]]:
    return {count: [g for g in groups if g["threads"] == count] for count in sorted({g["threads"] for g in groups})}


def geometric(groups: list[dict]) -> str:
    """The table of geometric means."""
    heading = ["best peer's time / ours", "threads", "shapes", "peers bare", "as called", "PyTorch, ONNX Runtime, "
               "OpenVINO as called", "wins : losses (bare)", "worst (bare)", "of the peak"]  # fmt: skip
    rows = [heading]
    for count, mine in of_threads(groups).items():
        files = [file for file in plan.FILES if file != plan.NARROW]
        sets = [(file, [g for g in mine if g["file"] == file]) for file in files]
        for name, chosen in (*sets, ("all", [g for g in mine if g["file"] in files])):
            m = summary.means(chosen)
            if m:
                rows.append([
                    name, str(count), str(m["cases"]), ratio(m["bare"]), ratio(m["called"]), ratio(m["others"]),
                    f"{m['wins']} : {m['losses']}", f"{ratio(m['worst'])} at {m['where']}", percent(m["of_peak"]),
                ])  # fmt: skip
    return markdown(rows)


def headlines(groups: list[dict], weights: str, shapes: tuple | None, cold: bool | None = False) -> str:
    """Microseconds of ours and of the best row of each family; without `shapes`, of all cases."""
    ours = [name for name in (OURS[weights], "dynq int4 g128") if weights == "int4" or name == OURS[weights]]
    peers = {label: family for label, family in PEERS.items()
             if any(summary.of_family(g, family, weights) for g in groups)}  # fmt: skip
    rows = [["M,K,N", *ours, "of limit", *peers, "XNNPACK bare", "best peer / ours", "bare"]]
    if weights == "int8":
        rows[0].insert(-3, "float32")
    for g in groups:
        shape = (g["m"], g["k"], g["n"])
        if (shapes and shape not in shapes) or (cold is not None and g["cold"] != cold):
            continue
        row, named = summary.ours(g, weights), {r["name"]: r for r in g["rows"]}
        if row is None:
            continue
        floats = [summary.of_family(g, family, "float32") for family in ("numpy", "onnxruntime")]
        times = [cell(summary.of_family(g, family, weights)) for family in peers.values()]
        rows.append([
            ",".join(map(str, shape)) + (" cold" if g["cold"] else "") + (" disturbed" if g.get("disturbed") else ""),
            *(f"**{cell(named[name]['called_us'])}**" if name in named else "–" for name in ours),
            percent(row["of_limit"]), *times,
            *([cell(min((t for t in floats if t), default=None))] if weights == "int8" else []),
            cell(summary.of_family(g, "xnnpack", weights, "bare_us")),
            ratio(row.get("ratio_called")), ratio(row.get("ratio_bare")),
        ])  # fmt: skip
    if shapes:
        rows[1:] = sorted(rows[1:], key=lambda r: shapes.index(tuple(map(int, r[0].split()[0].split(",")))))
    return markdown(rows) if len(rows) > 1 else ""


def calls(record: dict) -> str:
    ways = list(next(iter(next(iter(record["calls"].values())).values())))
    rows = [["µs a call, M,K,N", "threads at most", *ways]]
    for count, shapes in record["calls"].items():
        rows += [[shape, count, *(cell(times[way]) for way in ways)] for shape, times in shapes.items()]
    return markdown(rows)


def startup(record: dict) -> str:
    processes = record["startup"]
    steps = list(next(iter(processes.values())))
    rows = [[process, *(cell(times[step], 2) for step in steps)] for process, times in processes.items()]
    return markdown([["seconds", *steps], *rows])


def breakdowns(record: dict) -> str:
    rows = [["M,K,N", "threads", "whole, µs", "dots at the peak", "quantize alone"]]
    for count, shapes in record["breakdown"].items():
        rows += [[shape, count, *(cell(parts[name]) for name in ("whole", "dots", "quantize"))]
                 for shape, parts in shapes.items()]  # fmt: skip
    return markdown(rows)


def conversions(record: dict) -> str:
    names = "array", "operation", "result", "threads", "GB/s", "limit GB/s", "of it", "of reads alone"
    rows = [[*names, "numpy's time / ours"]]
    for r in record["conversions"]:
        array = f"{r['rows']} × {r['columns']}, {r['where']}" + (" disturbed" if r.get("disturbed") else "")
        limits = cell(r["move_gb_s"]), percent(r["of_move"]), percent(r["of_limit"])
        figures = str(r["threads"]), cell(r["gb_s"]), *limits, ratio(r["ratio_numpy"])
        rows.append([array, r["operation"], r["result"], *figures])
    return markdown(rows)


def provenance(stamp: dict) -> str:
    """Where figures come from, in a line."""
    versions = ", ".join(f"{name} {version}" for name, version in stamp["versions"].items() if version)
    machine = f"{stamp['cpu']}, {stamp['cores']} cores, {stamp['instruction_sets'][0]}"
    return f"{stamp['date'][:10]}, commit {stamp['commit']}, {machine}; {versions}"


INTRODUCTION = """\
Peers are timed from numpy array to numpy array ("as called") and without their copies in and out ("bare"), ours always
from array to array, in the same rounds. Every row, its spread, and what could not run: `bench/results/`.
How, and why so: [NOTES.md](NOTES.md)."""
MEANS = f"""\
Geometric means over the best peer with at least 8-bit weights on each shape, M ≥ {COMPUTE_BOUND}; above 1, ours is
faster:"""
HEADLINE = f"""\
Microseconds as called, of each project its fastest way; the limit is the int8 peak, for M ≤ {READ_BOUND} the read
bandwidth, measured in the same rounds"""


def tables(record: dict, avx2: dict | None) -> Iterator[str]:
    """The paragraphs and tables of linear."""
    narrow = [g for g in record["groups"] if g["file"] == plan.NARROW]
    wide = [g for g in record["groups"] if g["file"] != plan.NARROW]
    cold = [g for g in wide if summary.read_bound(g) and g["cold"]]
    yield f"`make bench`, {provenance(record['stamp'])}."
    yield INTRODUCTION
    yield MEANS
    yield geometric(wide)
    for title, groups, weights, shapes, some in (
        (HEADLINE, wide, "int8", HEADLINES, False),
        ("Cold weights, beyond the last-level cache", cold, "int8", None, True),
        ("4-bit weights", narrow, "int4", None, None),
    ):
        for count, mine in of_threads(groups).items():
            if table := headlines(mine, weights, shapes, some):
                yield f"{title}, {count} thread{'s'[: count - 1]}:"
                yield table
    if "calls" in record:
        yield breakdowns(record)
        yield calls(record)
        yield startup(record)
        yield "`quantize` and `dequantize` on their own (5 bytes moved a value):"
        yield conversions(record)
    if avx2:
        yield f"Limited to AVX2, ours and the peers that have a switch for it ({provenance(avx2['stamp'])}):"
        yield geometric([g for g in avx2["groups"] if g["file"] != plan.NARROW])
    yield "![Every shape under the roofs](results/roofline.svg)"
    yield "![Every peer's time over ours, shape by shape](results/ratio.svg)"


#: The rows of the README's table that operators.json has: what they are called, topic, our way.
OVERVIEW = (
    ("`linear_many`, three of one x", "projections", "dynq"),
    ("`Chain`, a feed-forward part", "chain", "dynq int8 chain"),
    ("`quantized_matmul`", "matmul", "dynq"),
    ("`conv`", "conv", "dynq-numba"),
    ("`attention`, float32", "attention", "dynq"),
    ("`attention`, `bits=8`", "attention", "dynq int8 products"),
    ("norms, softmax, gelu, rotary …", "rowwise", "dynq"),
    ("`lstm`", "recurrent", "dynq int8"),
    ("**all of MiniLM**", "minilm", "dynq int8"),
    ("**whole ONNX models**, int8", "models", "dynq int8"),
    ("the same, convolutions int8, too", "models", "dynq int8 conv"),
)


def linears(record: dict, avx2: dict | None) -> Iterator[tuple[str, list[tuple[float, str]]]]:
    """Rows of the README's table: a name, and of each case the best peer's time over ours and what the case is."""
    groups, limited = charts.most_threads(record), charts.most_threads(avx2) if avx2 else []
    wide = [g for g in groups if g["file"] != plan.NARROW]
    narrow = [g for g in groups if g["file"] == plan.NARROW]
    for name, some, keep, weights, mode in (
        ("`linear`, 8 bits", wide, summary.compute_bound, "int8", "called"),
        ("the same, without the peers' copies", wide, summary.compute_bound, "int8", "bare"),
        ("`linear`, 8 bits, 1 to 4 rows", wide, lambda g: summary.read_bound(g) and not g["cold"], "int8", "called"),
        ("the same, weights in memory", wide, lambda g: summary.read_bound(g) and g["cold"], "int8", "called"),
        ("`linear`, 4 bits", narrow, lambda g: True, "int4", "called"),
        ("`linear`, 8 bits, all limited to AVX2", limited, summary.compute_bound, "int8", "called"),
    ):
        pairs = summary.select(some, keep, weights)
        yield name, [(row[f"ratio_{mode}"], f"{g['m']},{g['k']},{g['n']}") for g, row in pairs]


def others(record: dict) -> Iterator[tuple[str, list[tuple[float, str]]]]:
    """The same of the topics of bench/topics/."""
    for name, topic, way in OVERVIEW:
        groups = charts.most_threads(record[topic]) if record.get(topic) else []
        yield name, [(row["ratio"], g["case"]) for g in groups for row in g["rows"]
                     if row["name"] == way and "ratio" in row]  # fmt: skip


def overview(record: dict, avx2: dict | None, operators: dict | None) -> str:
    """The README's one table."""
    threads = max(g["threads"] for g in record["groups"])
    rows = [[f"{threads} threads", "cases", "best peer's time / ours", "the worst case", "wins : losses"]]
    for name, cases in (*linears(record, avx2), *others(operators or {})):
        if cases:
            ratios = [r for r, _ in cases]
            worst, where = min(cases)
            wins = f"{sum(r > 1 for r in ratios)} : {sum(r < 1 for r in ratios)}"
            mean = f"**{ratio(geometric_mean(ratios))}**"
            rows.append([name, str(len(cases)), mean, f"{ratio(worst)} at {where}", wins])
    parts = [record, avx2, *(operators or {}).values()]
    stamps = [each["stamp"] for part in parts if part for each in ([part] if "stamp" in part else part["groups"])]
    dates = sorted({stamp["date"][:10] for stamp in stamps})
    machines = " and ".join(sorted({f"{stamp['cpu']}, {stamp['cores']} cores" for stamp in stamps}))
    told = f"Geometric means, from array to array; above 1 we are faster. {dates[0]} to {dates[-1]}, {machines}."
    return f"{markdown(rows)}\n\n{told}"


def load(name: str) -> dict | None:
    """The record of a run, where there is one."""
    path = RECORDS / f"{name}.json"
    return json.loads(path.read_text()) if path.exists() else None


def content(name: str = "latest") -> dict[tuple[Path, str], str]:
    """What stands in the pages' blocks that are made here."""
    record, avx2 = load(name), load("avx2")
    return {
        (pages.RESULTS, "linear"): "\n\n".join(tables(record, avx2)),
        (pages.README, "figures"): overview(record, avx2, {**(load("operators") or {}), "models": load("models")}),
    }


def fill(name: str = "latest") -> None:
    """The pages from the results of a run."""
    for (page, block), new in content(name).items():
        pages.fill(page, block, new)


def write(name: str = "latest") -> None:
    """The charts and the pages from the results of a run."""
    charts.draw(load(name), RECORDS, load("avx2"))
    fill(name)


def main(argv: list[str]) -> int:
    write(*argv[:1])
    return 0
