"""Three looks at each layer that differs between two models, batch by batch.

    own             x (float) ─▶ float layer, quantized layer: how far are their results
    only quantized  float … ─▶ quantized layer ─▶ float …                 how far are the results of the model
    only float      quantized … ─▶ float layer ─▶ quantized …             and how far still

The float values before a layer are there when it is looked at; only what comes behind it is run again. So a look takes
half a run of the model for each layer. Values are let go of behind the last stage that takes them.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx_ir as ir

from ..graph.canonical import canonical
from ..graph.constants import Constants, source
from ..graph.layers import OPERATORS
from ..graph.model import RECEIPT
from ..graph.names import nodes
from ..graph.receipt import Entry
from ..graph.rewrites.base import fused_from, label
from ..onnx import files
from ..onnx.inspection import inspect
from ..planning.runnable import runnable
from .blocks import Numbered
from .comparison import LayerLooks
from .fidelity import Tally
from .stages import Program, Stage, Values, bare, run, stages_of

#: Makes a tally of an output.
NewTally = Callable[[str], Tally]


@dataclass
class Layer:
    """A stage that differs: what it is called, and what was found."""

    stage: Stage
    looks: LayerLooks
    #: What its own look runs: without what is fused behind it, where that can be left out.
    own: tuple[Program, Program]
    own_tallies: list[Tally]
    only_quantized: list[Tally]
    only_float: list[Tally]

    def result(self) -> LayerLooks:
        """What was found so far."""
        own = [tally.result() for tally in self.own_tallies]
        return LayerLooks(
            self.looks.layer, self.looks.weights, self.looks.op_type, self.looks.scheme,
            min(own, key=lambda each: each.sqnr_db) if own else None,
            *([tally.result() for tally in tallies] for tallies in (self.only_quantized, self.only_float)),
        )  # fmt: skip


class Looks:
    """A model and a candidate, side by side.

    Parameters
    ----------
    reference, candidate
        As `dq.onnx.compare` takes them.
    outputs : sequence of str
        The candidate's outputs, by the names that the reference has for them.
    looks : sequence of str
        Of comparison.LOOKS.
    tally : callable
        Makes a tally of an output of the model.
    threads : int
        The most; 0 chooses.

    Attributes
    ----------
    layers : list of Layer
        In the order of the graph; empty where the models have no layers in common.
    notes : list of str
    seconds : dict of str to float
        Of each look, and of "outputs".
    """

    def __init__(
        self, reference: Any, candidate: Any, outputs: Sequence[str], looks: Sequence[str], tally: NewTally,
        threads: int = 0,
    ) -> None:  # fmt: skip
        sources = [files.read(model, name) for model, name in ((reference, "reference"), (candidate, "candidate"))]
        ours = RECEIPT in sources[1].metadata_props  # made from the canonical form of the model
        names = [_names(source) for source in sources]
        origin, _ = canonical(sources[0].clone(), "reference")
        if ours:
            names = [_names(origin), _names(canonical(sources[1].clone(), "candidate")[0])]
        models = [runnable(each, name)[0] for each, name in zip(sources, ("reference", "candidate"), strict=True)]
        self.names = [value.name or "" for value in models[0].graph.outputs]
        common = (names[0] & names[1]) - _of_other_shapes(*models)
        self._sides = Numbered(models[0], common, self.names), Numbered(models[1], common, outputs)
        self._stages = stages_of(*self._sides, threads)
        self._orders = self.names, list(outputs)
        self.looks = tuple(looks)
        self.notes: list[str] = []
        self.seconds = dict.fromkeys(("outputs", *looks), 0.0)
        describe = _Describe(origin, inspect(candidate).entries)
        found = [(i, stage, describe(stage)) for i, stage in enumerate(self._stages) if stage.differs]
        if len(found) == 1 and len(found[0][1].block.reference) > 1 and ", " in found[0][2].layer:
            self.notes.append("layers could not be matched: only outputs are compared")
            found = []
        for _, _, each in found:
            if ", " in each.layer:
                self.notes.append(f"looked at together, because nothing between them is in both models: {each.layer}")
        self.layers: dict[int, Layer] = {
            i: Layer(
                stage, looks_of, bare(stage, *self._sides, threads) or (stage.reference, stage.candidate), [],
                *([tally(name) for name in self.names] if look in looks else []
                  for look in ("only_quantized", "only_float")),
            )
            for i, stage, looks_of in found
        }  # fmt: skip

    def update(
        self, feeds: Mapping[str, np.ndarray], progress: Callable[[str], None] | None = None
    ) -> tuple[list[Any], list[Any]]:
        """Look at all layers with these feeds; gives the results of the reference and of the candidate."""
        begun = time.perf_counter()
        given: Values = {("input", name): array for name, array in feeds.items()}
        results = [self._results(run(self._stages, given, candidate=form), form) for form in (False, True)]
        self.seconds["outputs"] += time.perf_counter() - begun
        floats, integers = dict(given), dict(given)
        for i, stage in enumerate(self._stages if self.layers and self.looks else ()):
            made = stage.reference.run(floats)
            layer = self.layers.get(i)
            if layer is not None:
                if progress is not None:
                    progress(layer.looks.layer)
                self._look(layer, i, floats, results[0])
            if "only_float" in self.looks:
                begun = time.perf_counter()
                theirs = stage.candidate.run(integers)
                if layer is not None:
                    kept = integers | stage.reference.run(integers)
                    self._compare(layer.only_float, self._stages[i + 1 :], kept, results[0], candidate=True)
                integers |= theirs
                self.seconds["only_float"] += time.perf_counter() - begun
            floats |= made
            for each in stage.last:
                floats.pop(each, None)
                integers.pop(each, None)
        return results[0], results[1]

    def _look(self, layer: Layer, i: int, floats: Values, want: list[Any]) -> None:
        """The looks at a layer that begin with the float values before it."""
        if "own" in self.looks:
            begun = time.perf_counter()
            pair = [program.run(floats) for program in layer.own]
            keys = [key for key in pair[0] if key in pair[1]]
            if not layer.own_tallies:
                layer.own_tallies = [Tally(layer.looks.layer, decisions=False) for _ in keys]
            for tally, key in zip(layer.own_tallies, keys, strict=True):
                tally.update(pair[0][key], pair[1][key])
            self.seconds["own"] += time.perf_counter() - begun
        if "only_quantized" in self.looks:
            begun = time.perf_counter()
            values = floats | layer.stage.candidate.run(floats)
            self._compare(layer.only_quantized, self._stages[i + 1 :], values, want, candidate=False)
            self.seconds["only_quantized"] += time.perf_counter() - begun

    def _compare(
        self, tallies: Sequence[Tally], stages: Sequence[Stage], values: Values, want: list[Any], *, candidate: bool
    ) -> None:
        got = self._results(run(stages, values, candidate=candidate), candidate)
        for tally, a, b in zip(tallies, want, got, strict=True):
            tally.update(np.asarray(a), np.asarray(b))

    def _results(self, values: Values, candidate: bool) -> list[Any]:
        """The outputs, in the reference's order."""
        side = self._sides[candidate]
        found = {}
        for name, value in zip(self._orders[candidate], side.model.graph.outputs, strict=True):
            constant = value.const_value
            found[name] = constant.numpy() if constant is not None else values[side.number(value)]
        return [found[name] for name in self.names]


class _Describe:
    """What layers are called: as the receipt calls them."""

    def __init__(self, model: ir.Model, entries: Sequence[Entry]) -> None:
        self._nodes, self._constants = {label(node): node for node in nodes(model)}, Constants(model)
        self._entries = entries

    def __call__(self, stage: Stage) -> LayerLooks:
        names = [[name for node in inside(side) for name in fused_from(node)]
                 for side in (stage.block.reference, stage.block.candidate)]  # fmt: skip
        sources = [self._nodes[name] for name in dict.fromkeys(names[0]) if name in self._nodes]
        layers = [node for node in sources if node.op_type in OPERATORS and self._weights(node)]
        if not layers:  # such as attention
            first = stage.block.reference or stage.block.candidate
            return LayerLooks(", ".join(map(label, first)), (), ", ".join(_operator(each) for each in first), "")
        weights = [self._weights(node) for node in layers]
        known = {each.scheme: None for each in self._entries if each.quantized and _is_of(each, names, weights)}
        return LayerLooks(
            ", ".join(map(label, layers)), tuple(name for each in weights for name in each),
            ", ".join(dict.fromkeys(node.op_type for node in layers)), ", ".join(known),
        )  # fmt: skip

    def _weights(self, node: ir.Node) -> list[str]:
        """Names of constants of more than one axis."""
        fixed = [value for value in node.inputs if value is not None and self._constants.is_constant(value)]
        return [source(value).name or "" for value in fixed if self._constants.weight(value).ndim > 1]


def inside(side: Sequence[ir.Node]) -> Iterator[ir.Node]:
    """Nodes, and those of graphs in them."""
    for node in side:
        yield node
        for each in node.attributes.values():
            if each.type == ir.AttributeType.GRAPH:
                yield from inside(list(each.as_graph()))


def _is_of(entry: Entry, names: Sequence[Sequence[str]], weights: Sequence[Sequence[str]]) -> bool:
    if entry.node:
        return any(entry.node in each for each in names)
    return any(entry.weight in each for each in weights)


def _operator(node: ir.Node) -> str:
    return node.op_type.split("_")[0]


def _of_other_shapes(one: ir.Model, other: ir.Model) -> set[str]:
    """Names that both models have, for values that cannot be the same: their lengths are others."""
    known = [{value.name or "": value for node in model.graph for value in node.outputs} for model in (one, other)]
    pairs = ((name, value, known[1][name]) for name, value in known[0].items() if name in known[1])
    return {name for name, a, b in pairs if not _may_be_alike(a, b)}


def _may_be_alike(a: ir.Value, b: ir.Value) -> bool:
    if a.shape is None or b.shape is None:
        return True
    return len(a.shape) == len(b.shape) and all(
        m == n for m, n in zip(a.shape, b.shape, strict=True) if isinstance(m, int) and isinstance(n, int)
    )


def _names(model: ir.Model) -> set[str]:
    """Of the results of nodes."""
    return {value.name for node in model.graph for value in node.outputs if value.name}
