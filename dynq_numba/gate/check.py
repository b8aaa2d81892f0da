"""From a file of goals to a report."""

from __future__ import annotations

import time
from dataclasses import replace
from os import PathLike
from pathlib import Path
from typing import Any

from ..evaluate.machine import machine
from ..graph.quantizer import Progress
from ..onnx import files, inspect
from .config import Config, ConfigError, read_config
from .judge import Facts, judge
from .rows import Rows, predict
from .verdicts import GateReport

_WORDS = (
    "{confidence:.0%} confidence, paired bootstrap, {resamples} resamples or more, seed {seed}; shares by Clopper and "
    "Pearson; Bonferroni over the looks of a goal"
)


def check(
    path: str | PathLike[str], *, candidate: str | PathLike[str] | None = None,
    progress: Progress | None = None,
) -> GateReport:  # fmt: skip
    """Check a candidate against its float model as a file of goals says (docs/reference/gate.md).

    Parameters
    ----------
    path : path
        Of gate.toml.
    candidate : path, optional
        In the place of the one that the file names.
    progress : callable, optional
        Called as ``progress(rows, 0, name)``: how many rows both models have run; of how many is not known.

    Returns
    -------
    GateReport

    Raises
    ------
    ConfigError
        With every mistake in the file, each with its place; where files that it names are absent.
    MetricError
        Where labels or predictions are not what a metric takes.
    ValueError, OSError
        Of models and data.
    ImportError
        Without the extra `gate`.
    """
    begun, config = time.monotonic(), read_config(path)
    if candidate is not None:
        config = replace(config, candidate=Path(candidate))
    absent = [(key, file) for key in ("reference", "candidate", "data") if (file := getattr(config, key))]
    if wrong := [f"{config.path.name}: there is no {key} {file}" for key, file in absent if not file.exists()]:
        raise ConfigError(wrong)
    bounds = {goal.bound for goal in config.goals}
    models, facts = _models(config)
    rows = None
    if any(goal.metric or goal.fairness or "flips" in goal.bound or "latency" in goal.bound for goal in config.goals):
        rows = predict(config, latency="max-latency-ratio" in bounds, progress=progress)
    results = list(judge(config, rows, facts))
    statistics: dict[str, Any] = {
        key: getattr(config, key) for key in ("confidence", "resamples", "seed", "min_rows")
    } | {"correction": "Bonferroni"}  # fmt: skip
    statistics["words"] = _WORDS.format(**statistics)
    return GateReport(
        results, models, _data(config, rows), statistics, machine(config.threads), _command(path, candidate),
        time.monotonic() - begun,
    )  # fmt: skip


def _command(path: str | PathLike[str], candidate: str | PathLike[str] | None) -> str:
    """What gives this report again."""
    return f"dynq gate {path}" + (f" --candidate {candidate}" if candidate is not None else "")


def _models(config: Config) -> tuple[dict[str, dict[str, Any]], Facts]:
    found, sizes = {}, []
    for side in ("reference", "candidate"):
        file: Path = getattr(config, side)
        sizes.append(files.nbytes(file, files.read(file)) or 0)
        found[side] = {"file": file.name, "bytes": sizes[-1], "sha256": files.digest(file)}
    receipt = inspect(config.candidate)
    found["candidate"] |= {"receipt": receipt.summary(), "coverage": receipt.coverage}
    return found, Facts(sizes[0], sizes[1], receipt.coverage)


def _data(config: Config, rows: Rows | None) -> dict[str, Any]:
    if rows is None or config.data is None:
        return {}
    return {
        "description": config.data.name, "rows": len(rows), "label": config.label, "slices": list(config.slices),
    }  # fmt: skip


