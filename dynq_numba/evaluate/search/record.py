"""What a search found out: written after each step, read when it goes on, and by `dynq explain`."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from ... import tables
from ...files.whole import write_text


@dataclass
class SearchRecord:
    """The tables of a search, what was measured, and what was chosen.

    Attributes
    ----------
    key : dict
        What was looked at: hashes of model and data, options. Another key is another search.
    limits : dict
        Of the last search.
    units : list of dict
        Of each unit: name, layers, values; by rung error (on its own float inputs), loss (of the model, as predicted),
        bytes, work; sensitivity (loss of the model over squared error); float_us and int8_us where they were compared.
    receipts : dict
        By rung what its receipt says of each weight: error and bytes.
    looks : dict
        By node and weight, as in `receipts`, the loss of the model where only this layer is int8.
    points : list of dict
        Each measured mix: choice, batches, loss, degradation, bytes, ms, predicted loss.
    chosen : dict
        By unit the name of its rung; empty where nothing was found.
    result : dict
        The point that was chosen, on all data.
    notes : list of str
    """

    key: dict[str, Any] = field(default_factory=dict)
    units: list[dict[str, Any]] = field(default_factory=list)
    receipts: dict[str, Any] = field(default_factory=dict)
    looks: dict[str, float] = field(default_factory=dict)
    points: list[dict[str, Any]] = field(default_factory=list)
    chosen: dict[str, str] = field(default_factory=dict)
    result: dict[str, Any] = field(default_factory=dict)
    recipe: str = ""
    limits: dict[str, Any] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)

    @property
    def found(self) -> bool:
        """Whether a mix within all budgets was found."""
        return bool(self.chosen)

    def to_json(self) -> str:
        """All of it."""
        return json.dumps(asdict(self), indent=1, sort_keys=True)

    def write(self, path: Path) -> None:
        """Whole or not at all."""
        write_text(path, self.to_json())

    def pareto(self) -> list[dict[str, Any]]:
        """Points on all data that no other one beats in degradation, bytes and time at once, by bytes."""
        whole = [point for point in self.points if point["all"]]

        def beaten(point: Mapping[str, Any]) -> bool:
            keys = ("degradation", "bytes", "ms")
            return any(
                all(other[key] <= point[key] for key in keys) and any(other[key] < point[key] for key in keys)
                for other in whole
            )

        return sorted((point for point in whole if not beaten(point)), key=lambda point: point["bytes"])

    def rows(self) -> list[tuple[str, ...]]:
        """Of the table: each point on all data."""
        return [
            (point["name"], f"{point['degradation']:.3g}", f"{point['loss']:.3g}", f"{point['bytes'] / 1e6:.2f}",
             f"{point['ms']:.2f}", "*" if point in self.pareto() else "", "chosen" if point == self.result else "")
            for point in self.points if point["all"]
        ]  # fmt: skip

    def __str__(self) -> str:
        notes = [line for note in self.notes for line in tables.folded(note)]
        return "\n".join([tables.table(_HEAD, self.rows(), "Lrrrrll", spare=("MB", "Pareto")), *notes])

    def to_markdown(self) -> str:
        """The table, and what was noted."""
        return tables.markdown(_HEAD, self.rows(), "lrrrrll") + "\n\n" + "\n".join(self.notes) + "\n"

    def explain(self, node: str) -> str:
        """Why the layers of a node, or of a weight, got what they got, in numbers."""
        unit = next((each for each in self.units if node in each["layers"] or node in each["weights"]), None)
        if unit is None:
            some = ", ".join(name for each in self.units[:4] for name in each["layers"])
            raise ValueError(f"no layer is called {node!r}; layers are {some}, …")
        chosen, rows = self.chosen.get(unit["name"], ""), []
        for name, rung in unit["rungs"].items():
            error, loss = rung.get("error"), rung["loss"]
            told = "" if error is None else f"{error:.3%}", "" if loss is None else f"{loss:.2e}"
            last = "chosen" if name == chosen else rung["why"]
            rows.append((name, *told, f"{rung['bytes']:,}", f"{rung['work']:.2f}", last))
        head = [f"{unit['name']}: {chosen or 'nothing was chosen'}"]
        if len(unit["layers"]) > 1:
            head.append("these layers take the same x, so they have one rung")
        if unit["sensitivity"]:
            head.append(f"the model loses {unit['sensitivity']:.3g} for a squared relative error of 1 here")
        if unit.get("float_us") is not None:
            head.append(f"on this machine float32 takes {unit['float_us']:.0f} us, int8 {unit['int8_us']:.0f} us")
        losses = (each["rungs"][self.chosen[each["name"]]]["loss"] for each in self.units if self.chosen)
        total = sum(each or 0.0 for each in losses)
        if chosen and total and unit["rungs"][chosen]["loss"] is not None:
            head.append(f"{unit['rungs'][chosen]['loss'] / total:.0%} of the predicted loss of the whole recipe")
        table = tables.table(("rung", "own error", "loss of the model", "bytes", "work", ""), rows, "LrrrrL")
        return "\n".join([*(line for each in head for line in tables.folded(each)), "", table])


_HEAD = ("mix", "degradation", "1 - cosine", "MB", "ms", "Pareto", "")


def read_record(path: Path) -> SearchRecord:
    """What `SearchRecord.write` wrote; raises ValueError for anything else."""
    try:
        return SearchRecord(**json.loads(path.read_text("utf-8")))
    except (TypeError, ValueError, UnicodeDecodeError) as error:
        raise ValueError(f"{path} is no record of a search: {error}") from error
