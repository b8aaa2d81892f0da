"""From rounds to rows: medians, spreads, percent of the limit, ratios to the best peer."""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterable

from bench.harness import disturbance
from bench.harness.disturbance import iqr
from bench.harness.problem import BITS
from bench.harness.rounds import Measurement
from bench.peers import CONTESTANTS, Contestant

#: Up to this many rows the weights are read more slowly than they are multiplied.
READ_BOUND = 4
#: Our row that headline figures and geometric means are about, by width of the weights.
OURS = {"int8": "dynq int8", "int4": "dynq int4 g32"}
BY_NAME: dict[str, Contestant] = {c.name: c for c in CONTESTANTS}


def paired(above: dict[int, float], below: dict[int, float]) -> float:
    """The median over common rounds of above / below."""
    return statistics.median(above[r] / below[r] for r in above.keys() & below.keys())


def rivals(contestant: Contestant) -> list[str]:
    """The peers that one of ours is compared with: 4 bits with 4 bits, all others with all others."""
    narrow = contestant.weights == "int4"
    return [c.name for c in CONTESTANTS if c.family != "dynq" and (c.weights == "int4") == narrow]


def best(times: dict[str, dict[int, float]], names: Iterable[str]) -> str | None:
    """Who has the smallest median."""
    medians = {name: statistics.median(times[name].values()) for name in names if name in times}
    return min(medians, key=medians.get, default=None)


def group(result: Measurement, file: str) -> dict:
    """The record of one case: its limits and a row for each contestant."""
    rows = [row(name, result) for name in BY_NAME if name in result.called]
    record = {
        "file": file,
        **result.case.record(),
        "peak_gops": _rate(result.peak),
        "read_gb_s": _rate(result.bandwidth),
        "quiet": disturbance.quiet_part(result.quiet),
        "repeated": result.repeated,
        "rows": rows,
        "missing": result.missing,
    }
    return record | {"disturbed": disturbed(record)}


def disturbed(record: dict) -> bool:
    """Whether the figures of ours, or of the best peers that ours is compared with, say little."""
    rows = {row["name"]: row for row in record["rows"]}
    mine = [row for row in rows.values() if BY_NAME[row["name"]].family == "dynq"]
    told = mine + [rows[row[mode]] for row in mine for mode in ("best_called", "best_bare") if row.get(mode) in rows]
    spreads = (row["called_iqr_us"] / row["called_us"] for row in told)
    return disturbance.disturbed(spreads, record["quiet"], (row["of_limit"] for row in mine))


def row(name: str, result: Measurement) -> dict:
    """One contestant's figures. Percent and ratios are medians over rounds of what was measured in the same round."""
    shape, contestant = result.case.shape, BY_NAME[name]
    bare = {**result.called, **result.bare}
    called = result.called[name]
    rate = {r: shape.operations / t for r, t in called.items()}
    figures = {
        "name": name,
        "weights": contestant.weights,
        "called_us": micro(statistics.median(called.values())),
        "called_iqr_us": micro(iqr(called.values())),
        "bare_us": micro(statistics.median(bare[name].values())),
        "bare_iqr_us": micro(iqr(bare[name].values())),
        "rounds": len(called),
        "gops": round(statistics.median(rate.values()) / 1e9, 1),
        "error": float(f"{result.error[name]:.3g}"),
    }
    if shape.m <= READ_BOUND:
        read = shape.k * shape.n * BITS[contestant.weights] / 8
        rate, limit = {r: read / t for r, t in called.items()}, result.bandwidth
    else:
        limit = result.peak
    figures["of_limit"] = round(paired(rate, limit), 4) if limit else None
    if contestant.family == "dynq":
        names = rivals(contestant)
        for mode, times in (("called", result.called), ("bare", bare)):
            winner = best(times, names)
            if winner:
                figures[f"best_{mode}"] = winner
                figures[f"ratio_{mode}"] = round(paired(times[winner], called), 4)
    return figures


def _rate(rates: dict[int, float]) -> float | None:
    """Their median in units of 10^9, None where the machine's limits could not be measured."""
    return round(statistics.median(rates.values()) / 1e9, 1) if rates else None


def micro(seconds: float) -> float:
    """Microseconds to four digits."""
    return float(f"{seconds * 1e6:.4g}")


def geometric_mean(values: Iterable[float]) -> float | None:
    values = list(values)
    return math.exp(statistics.fmean(map(math.log, values))) if values else None
