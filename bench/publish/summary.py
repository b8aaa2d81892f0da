"""Figures about many cases: what the pages say in a line, and what the speed targets are about."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Iterable

from bench.harness.results import BY_NAME, OURS, READ_BOUND, geometric_mean

#: Families that "the others" are: the strongest peer has columns of its own.
OTHERS = ("torch", "onnxruntime", "openvino")
#: From this many rows a layer is bound by arithmetic, and compared by geometric means.
COMPUTE_BOUND = 8


def ours(group: dict, weights: str = "int8") -> dict | None:
    """Our row of a case."""
    return next((row for row in group["rows"] if row["name"] == OURS[weights]), None)


def of_family(group: dict, family: str, weights: str, column: str = "called_us") -> float | None:
    """The best figure of a family's rows with these weights."""
    found = [row[column] for row in group["rows"]
             if BY_NAME[row["name"]].family == family and row["weights"] == weights]  # fmt: skip
    return min(found, default=None)


def select(groups: Iterable[dict], keep: Callable[[dict], bool], weights: str = "int8") -> list[tuple[dict, dict]]:
    """The cases that `keep`, each with our row; those without one, without a peer, or disturbed left out."""
    pairs = ((group, ours(group, weights)) for group in groups if keep(group) and not group.get("disturbed"))
    return [(group, row) for group, row in pairs if row and "ratio_bare" in row]


def compute_bound(group: dict) -> bool:
    return group["m"] >= COMPUTE_BOUND and not group["cold"]


def read_bound(group: dict) -> bool:
    return group["m"] <= READ_BOUND


def over_others(group: dict, row: dict) -> float | None:
    """The best of PyTorch, ONNX Runtime and OpenVINO with 8-bit weights, as called, over ours."""
    times = [t for family in OTHERS if (t := of_family(group, family, row["weights"])) is not None]
    return min(times) / row["called_us"] if times else None


def means(groups: Iterable[dict], weights: str = "int8") -> dict | None:
    """Geometric means, the worst case, wins and losses of a set of compute-bound cases."""
    pairs = select(groups, compute_bound, weights)
    if not pairs:
        return None
    bare, called = ([row[f"ratio_{mode}"] for _, row in pairs] for mode in ("bare", "called"))
    worst, where = min((row["ratio_bare"], f"{g['m']},{g['k']},{g['n']}") for g, row in pairs)
    return {
        "cases": len(pairs),
        "bare": geometric_mean(bare),
        "called": geometric_mean(called),
        "others": geometric_mean(r for g, row in pairs if (r := over_others(g, row)) is not None),
        "worst": worst,
        "where": where,
        "wins": sum(r > 1 for r in bare),
        "losses": sum(r < 1 for r in bare),
        "of_peak": statistics.median(row["of_limit"] for _, row in pairs if row["of_limit"] is not None),
    }
