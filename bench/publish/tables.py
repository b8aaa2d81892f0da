"""Records as tables: aligned text for a terminal, Markdown for pages."""

from __future__ import annotations

from bench.harness.problem import Case, Shape

HEADINGS = ("", "called µs", "± iqr", "bare µs", "GOP/s", "of limit", "best peer / ours: called", "bare")


def case_of(group: dict) -> Case:
    return Case(Shape(group["m"], group["k"], group["n"]), group["threads"], group["cold"])


def number(value: float | None, digits: int = 3) -> str:
    """`digits` significant digits, without exponents."""
    if value is None:
        return ""
    text = f"{value:.{digits}g}"
    return f"{value:.0f}" if "e" in text else text


def percent(value: float | None) -> str:
    return "" if value is None else f"{value:.0%}"


def ratio(value: float | None) -> str:
    return "" if value is None else f"{value:.2f}"


def cells(row: dict) -> list[str]:
    """One contestant's cells under HEADINGS."""
    return [
        row["name"], number(row["called_us"], 4), number(row["called_iqr_us"], 2), number(row["bare_us"], 4),
        number(row["gops"]), percent(row["of_limit"]), ratio(row.get("ratio_called")), ratio(row.get("ratio_bare")),
    ]  # fmt: skip


def aligned(rows: list[list[str]]) -> str:
    """Columns of equal width, the first left-aligned."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = []
    for row in rows:
        first, *rest = zip(row, widths, strict=True)
        lines.append("  ".join([first[0].ljust(first[1]), *(cell.rjust(width) for cell, width in rest)]).rstrip())
    return "\n".join(lines)


def markdown(rows: list[list[str]]) -> str:
    """A table whose first row is its heading, numbers right-aligned."""
    rule = ["---", *["---:"] * (len(rows[0]) - 1)]
    return "\n".join("| " + " | ".join(row) + " |" for row in (rows[0], rule, *rows[1:]))


def text(group: dict) -> str:
    """One case for the terminal, the fastest first."""
    limits = f"peak {number(group['peak_gops'], 4)} GOP/s, read {number(group['read_gb_s'])} GB/s"
    if group["quiet"] is not None and group["quiet"] < 0.9:
        limits += f"; something else was running at {1 - group['quiet']:.0%} of the turns"
    if group.get("disturbed"):
        limits += "; disturbed: these figures say little"
    rows = sorted(group["rows"], key=lambda row: row["called_us"])
    table = aligned([list(HEADINGS), *map(cells, rows)])
    reasons: dict[str, list[str]] = {}
    for name, reason in group["missing"].items():
        reasons.setdefault(reason, []).append(name)
    missing = "".join(f"\n{', '.join(names)}: {reason}" for reason, names in reasons.items())
    return f"{group['file']}: {case_of(group)}; {limits}\n{table}{missing}\n"
