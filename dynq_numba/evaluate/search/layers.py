"""The units that a search chooses for: linears that take the same x get the same rung, so they share its treatment."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import onnx_ir as ir

from ...graph.quantizer import linears
from .rungs import RUNGS


@dataclass(frozen=True)
class Unit:
    """Linears of one x.

    Attributes
    ----------
    layers : tuple of str
        As the receipt calls them.
    weights : tuple of (str, str)
        Node and weight, as in the receipt.
    values : int
        Of all weights.
    """

    layers: tuple[str, ...]
    weights: tuple[tuple[str, str], ...]
    values: int

    @property
    def name(self) -> str:
        return ", ".join(self.layers)


def units_of(model: ir.Model) -> list[Unit]:
    """Of a model in canonical form."""
    found: dict[ir.Value, list[Any]] = {}
    for layer in linears(model):
        found.setdefault(layer.x, []).append(layer)
    return [
        Unit(tuple(each.label for each in group), tuple((each.node, each.weight) for each in group),
             sum(each.values for each in group))
        for group in found.values()
    ]  # fmt: skip


def recipe_of(choice: Mapping[str, str], units: Iterable[Unit], reasons: Mapping[str, str]) -> dict[str, Any]:
    """The recipe that gives each unit, by name, its rung; `reasons` are those of units that stay float32."""
    rules: dict[tuple[str, str], list[str]] = {}
    for unit in units:
        rung = choice[unit.name]
        names = [node or weight for node, weight in unit.weights]
        rules.setdefault((rung, reasons.get(unit.name, "") if rung == "float" else ""), []).extend(names)
    made = []
    for (rung, reason), names in sorted(rules.items()):
        match = "^(" + "|".join(map(re.escape, sorted(names))) + ")$"
        rule = {"match": match, "op": ["MatMul", "Gemm"], **RUNGS[rung].rule}
        made.append(rule | ({"reason": reason} if reason else {}))
    return {"rule": made}


def as_toml(recipe: Mapping[str, Any], head: str) -> str:
    """The text of a recipe; the same recipe gives the same text."""
    lines = [f"# {line}" for line in head.splitlines()]
    for rule in recipe["rule"]:
        lines += ["", "[[rule]]"]
        lines += [f"{key} = {_toml(value)}" for key, value in rule.items()]
    return "\n".join(lines) + "\n"


def _toml(value: Any) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, str):
        return '"' + value.replace("\\", "\\\\").replace('"', '\\"') + '"'
    if isinstance(value, list):
        return "[" + ", ".join(map(_toml, value)) + "]"
    return repr(value)
