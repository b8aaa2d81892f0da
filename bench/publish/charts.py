"""The two charts of the README: every shape under the machine's roofs, and every peer's time over ours.

They are drawn for a page 830 pixels wide, where their text is as large as the page's. Marks differ in shape and in
being filled or hollow, rows have names, so nothing is said by colour alone.
"""

from __future__ import annotations

import statistics
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from bench.harness import plan
from bench.harness.problem import Shape
from bench.publish import summary

OURS, PEERS, FAINT = "#1a1a1a", "#0072b2", "#8a8a8a"  # black and a blue that differ in grey, too
STYLE = {
    "svg.hashsalt": "dynq",  # the same chart is the same file
    "font.size": 11, "axes.titlesize": 12,
    "axes.spines.top": False, "axes.spines.right": False,
}  # fmt: skip
#: What the rows of the second chart are: a name, the family of contestants, the column of their times.
ROWS = (
    ("XNNPACK, its copies not counted", "xnnpack", "bare_us"), ("XNNPACK", "xnnpack", "called_us"),
    ("zentorch", "zentorch", "called_us"), ("ONNX Runtime", "onnxruntime", "called_us"),
    ("PyTorch", "torch", "called_us"), ("OpenVINO", "openvino", "called_us"),
)  # fmt: skip


def intensity(group: dict) -> float:
    """Operations per byte of weights (int8), activations and results (float32)."""
    shape = Shape(group["m"], group["k"], group["n"])
    return shape.operations / (shape.k * shape.n + 4 * shape.m * (shape.k + shape.n))


def most_threads(record: dict) -> list[dict]:
    """The cases on the most threads that were measured."""
    most = max(group["threads"] for group in record["groups"])
    return [g for g in record["groups"] if g["threads"] == most and not g.get("disturbed")]


def rows(record: dict) -> list[tuple[dict, dict]]:
    """Our 8-bit row of each case whose limits were measured, on the most threads."""
    found = ((g, summary.ours(g)) for g in most_threads(record) if g["peak_gops"])
    return [(g, row) for g, row in found if row]


def roofline(record: dict, path: Path) -> None:
    """GOP/s over arithmetic intensity, ours and the best peer's; roofs are medians of what was measured beside them."""
    import matplotlib.pyplot as plt

    cases = rows(record)
    figure, axes = plt.subplots(figsize=(8.3, 5))
    peak = statistics.median(g["peak_gops"] for g, _ in cases)
    lowest, highest = min(intensity(g) for g, _ in cases) / 1.3, max(intensity(g) for g, _ in cases) * 1.3
    axes.plot([lowest, highest], [peak, peak], color=OURS, lw=1.5, label=f"int8 peak, {peak:.0f} GOP/s")
    for cold, line, shape in ((False, "-.", "o"), (True, "--", "s")):
        some = [(g, row) for g, row in cases if g["cold"] == cold]
        if not some:
            continue
        read, place = statistics.median(g["read_gb_s"] for g, _ in some), "memory" if cold else "the caches"
        roof = {"color": OURS, "lw": 1, "ls": line, "label": f"reading from {place}, {read:.0f} GB/s"}
        axes.plot([lowest, peak / read], [lowest * read, peak], **roof)
        for g, row in some:
            if best := best_peer_gops(g):
                axes.plot([intensity(g)] * 2, [best, row["gops"]], color=FAINT, lw=0.6, zorder=1)
                axes.plot(intensity(g), best, shape, ms=6, mfc="white", mec=PEERS,
                          label=f"best peer, weights in {place}" if g is some[0][0] else None)  # fmt: skip
        axes.plot([intensity(g) for g, _ in some], [row["gops"] for _, row in some], shape, ms=4, color=OURS,
                  label=f"dynq, weights in {place}", zorder=3)  # fmt: skip
    axes.set(xscale="log", yscale="log", xlim=(lowest, highest), ylim=(None, 1.4 * peak), ylabel="GOP/s")
    axes.set_xlabel("operations per byte of weights, activations and results (both axes logarithmic)")
    axes.set_title(f"linear, 8-bit weights: every shape of the bench, {cases[0][0]['threads']} threads", loc="left")
    axes.legend(loc="lower right", frameon=False)
    save(figure, path)


def best_peer_gops(group: dict) -> float | None:
    """The best rate of a peer with 8-bit weights, from array to array."""
    families = {family for _, family, _ in ROWS}
    times = [t for family in families if (t := summary.of_family(group, family, "int8"))]
    return Shape(group["m"], group["k"], group["n"]).operations / min(times) / 1e3 if times else None


def over_ours(groups: list[dict], weights: str) -> Iterator[tuple[str, list[float]]]:
    """A row's name and its times over ours, one for each shape, for the peers that there are."""
    for name, family, column in ROWS:
        pairs = ((summary.of_family(g, family, weights, column), summary.ours(g, weights)) for g in groups)
        ratios = [theirs / ours["called_us"] for theirs, ours in pairs if theirs and ours]
        if ratios:
            yield name, ratios


def ratio(record: dict, path: Path, avx2: dict | None = None) -> None:
    """Every peer's time over ours: a row for each peer, a mark for each shape, a bar at the median."""
    import matplotlib.pyplot as plt

    groups = most_threads(record)
    blocks = [("8-bit weights", list(over_ours([g for g in groups if g["file"] != plan.NARROW], "int8"))),
              ("4-bit weights", list(over_ours([g for g in groups if g["file"] == plan.NARROW], "int4")))]  # fmt: skip
    if avx2:
        blocks.append(("8-bit weights, all limited to AVX2", list(over_ours(most_threads(avx2), "int8"))))
    lines: list[tuple[str, list[float] | None]] = []
    for title, found in blocks:
        lines += [(title, None), *found] if found else []
    figure, axes = plt.subplots(figsize=(8.3, 0.31 * len(lines) + 1.1))
    axes.axvline(1, color=OURS, lw=1.2)
    for place, (_, ratios) in enumerate(lines):
        if ratios is None:
            continue
        axes.plot(ratios, [place] * len(ratios), "|", color=PEERS, ms=11, mew=1, alpha=0.6)
        axes.plot([statistics.median(ratios)], [place], "D", color=OURS, ms=5)
        figures = f"{statistics.median(ratios):.2f}   {sum(r > 1 for r in ratios)} : {sum(r < 1 for r in ratios)}"
        axes.annotate(figures, (1.02, place), xycoords=("axes fraction", "data"), va="center")
    axes.annotate("median   we win : lose", (1.02, -0.9), xycoords=("axes fraction", "data"), va="center", color=FAINT)
    names = axes.set_yticks(range(len(lines)), [name for name, _ in lines]) and axes.get_yticklabels()
    for name, (_, ratios) in zip(names, lines, strict=True):
        name.set_fontweight("normal" if ratios else "bold")
    places = 0.5, 0.7, 1, 1.5, 2, 3, 5, 10, 20, 40
    axes.set(xscale="log", ylim=(len(lines) - 0.4, -0.5))
    axes.set_xticks(places, [f"{p:g}" for p in places])
    axes.minorticks_off()
    axes.grid(axis="x", color="#dddddd", lw=0.6)
    axes.set_axisbelow(True)
    axes.tick_params(axis="y", length=0)
    axes.set_xlabel("peer's time / ours: right of 1 we are faster (logarithmic)")
    axes.set_title(f"linear, every shape of the bench, {groups[0]['threads']} threads, a mark each", loc="left", pad=14)
    save(figure, path)


def models(record: dict, path: Path) -> None:
    """Whole models: for each case every contestant's time over that of our int8 artifact."""
    import matplotlib.pyplot as plt

    groups = [g for g in record["groups"] if not g["disturbed"] and any(r["name"] == "dynq int8" for r in g["rows"])]
    figure, axes = plt.subplots(figsize=(8.3, 0.36 * len(groups) + 1.4))
    axes.axvline(1, color=OURS, lw=1.2)
    for family, mark, color in (("dynq", "D", OURS), ("ONNX Runtime", "o", PEERS), ("OpenVINO", "s", PEERS)):
        for whole in (True, False):  # integers are filled, floats hollow
            points = [(row["us"] / next(r["us"] for r in group["rows"] if r["name"] == "dynq int8"), place)
                      for place, group in enumerate(groups) for row in group["rows"]
                      if row["name"].startswith(family) and ("float32" in row["name"]) != whole]  # fmt: skip
            label = f"{family}, {'int8' if whole else 'float32'}"
            axes.plot([x for x, _ in points], [y for _, y in points], mark, ms=6, color=color,
                      mfc=color if whole else "white", label=label)  # fmt: skip
    axes.set_yticks(range(len(groups)), [group["case"] for group in groups])
    places = 0.2, 0.5, 1, 2, 5, 10, 20
    axes.set(xscale="log", ylim=(len(groups) - 0.5, -0.5))
    axes.set_xticks(places, [f"{p:g}" for p in places])
    axes.minorticks_off()
    axes.grid(axis="x", color="#dddddd", lw=0.6)
    axes.set_axisbelow(True)
    axes.tick_params(axis="y", length=0)
    axes.set_xlabel("time over that of our int8 artifact: right of 1 we are faster (logarithmic)")
    axes.set_title(f"whole ONNX models, {record['groups'][0]['threads']} threads", loc="left")
    axes.legend(loc="upper center", bbox_to_anchor=(0.4, -0.9 / len(groups) - 0.12), ncols=3, frameon=False)
    save(figure, path)


def draw_models(record: dict, path: Path) -> None:
    import matplotlib

    matplotlib.use("svg")
    matplotlib.rcParams.update(STYLE)
    models(record, path)


def save(figure: Any, path: Path) -> None:
    import matplotlib.pyplot as plt

    figure.savefig(path, metadata={"Date": None}, bbox_inches="tight", facecolor="white")
    plt.close(figure)


def draw(record: dict, folder: Path, avx2: dict | None = None) -> None:
    """roofline.svg and ratio.svg."""
    import matplotlib

    matplotlib.use("svg")
    matplotlib.rcParams.update(STYLE)
    if rows(record):
        roofline(record, folder / "roofline.svg")
    if summary.select(record["groups"], lambda g: True):
        ratio(record, folder / "ratio.svg", avx2)
