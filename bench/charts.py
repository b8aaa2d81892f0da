"""The two charts: every shape under the machine's roofs, and the ratio to the best peer, shape by shape."""

from __future__ import annotations

import statistics
from pathlib import Path

from bench import summary
from bench.problem import Shape


def intensity(group: dict) -> float:
    """Operations per byte of weights (int8), activations and results (float32)."""
    shape = Shape(group["m"], group["k"], group["n"])
    return shape.operations / (shape.k * shape.n + 4 * shape.m * (shape.k + shape.n))


def rows(record: dict) -> list[tuple[dict, dict]]:
    """Our 8-bit row of each case, on the most threads that were measured."""
    most = max(group["threads"] for group in record["groups"])
    found = ((g, summary.ours(g)) for g in record["groups"] if g["threads"] == most and g["peak_gops"])
    return [(g, row) for g, row in found if row]


def roofline(record: dict, path: Path) -> None:
    """GOP/s over arithmetic intensity; roofs are medians of what was measured beside the shapes."""
    import matplotlib.pyplot as plt

    cases = rows(record)
    figure, axes = plt.subplots(figsize=(8, 5))
    peak = statistics.median(g["peak_gops"] for g, _ in cases)
    lowest, highest = min(intensity(g) for g, _ in cases) / 1.5, max(intensity(g) for g, _ in cases) * 1.5
    for cold, label, colour in ((False, "weights in cache", "tab:blue"), (True, "cold weights", "tab:orange")):
        some = [(g, row) for g, row in cases if g["cold"] == cold]
        if not some:
            continue
        read = statistics.median(g["read_gb_s"] for g, _ in some)
        axes.plot([lowest, peak / read, highest], [lowest * read, peak, peak], color=colour, lw=1)
        axes.annotate(f"{read:.0f} GB/s", (lowest, 1.2 * lowest * read), color=colour)
        axes.scatter([intensity(g) for g, _ in some], [row["gops"] for _, row in some], s=14, label=label, color=colour)
    axes.annotate(f"int8 peak {peak:.0f} GOP/s", (highest, peak), ha="right", va="bottom")
    axes.set(xscale="log", yscale="log", ylabel="GOP/s")
    axes.set_xlabel("operations per byte of weights, activations and results")
    axes.set_title(f"dq.linear, int8, {cases[0][0]['threads']} threads: every shape")
    axes.legend(loc="lower right")
    figure.tight_layout()
    figure.savefig(path, metadata={"Date": None})
    plt.close(figure)


def ratio(record: dict, path: Path) -> None:
    """Best peer's time / ours, sorted; above the line ours is faster."""
    import matplotlib.pyplot as plt

    pairs = [(g, row) for g, row in rows(record) if "ratio_bare" in row and g["file"] != "int4"]
    pairs.sort(key=lambda pair: pair[1]["ratio_bare"])
    figure, axes = plt.subplots(figsize=(10, 4.5))
    places = range(len(pairs))
    colours = ["tab:green" if row["ratio_bare"] >= 1 else "tab:red" for _, row in pairs]
    axes.bar(places, [row["ratio_bare"] for _, row in pairs], color=colours, width=0.9, label="best peer bare / ours")
    axes.plot(places, [row["ratio_called"] for _, row in pairs], "k.", ms=4, label="best peer as called / ours")
    axes.axhline(1, color="black", lw=0.8)
    names = [f"{g['m']},{g['k']},{g['n']}{' cold' if g['cold'] else ''}" for g, _ in pairs]
    axes.set_xticks(list(places), names, rotation=90, fontsize=5)
    axes.set(ylabel="best peer's time / ours", title=f"every shape, {pairs[0][0]['threads'] if pairs else 0} threads")
    axes.margins(x=0.01)
    axes.legend(loc="upper left")
    figure.tight_layout()
    figure.savefig(path, metadata={"Date": None})
    plt.close(figure)


def draw(record: dict, folder: Path) -> None:
    """roofline.svg and ratio.svg."""
    import matplotlib

    matplotlib.use("svg")
    matplotlib.rcParams["svg.hashsalt"] = "dynq"  # the same chart is the same file
    if rows(record):
        roofline(record, folder / "roofline.svg")
    if summary.select(record["groups"], lambda g: True):
        ratio(record, folder / "ratio.svg")
