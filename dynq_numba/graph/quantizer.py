"""Quantize a model: every layer with constant weights is accounted for, and most become functions of ours.

    find layers  ──▶  a rule for each  ──▶  round, pack, try  ──▶  call of a function  ──▶  receipt
                       (recipe.py)           (layers/)                                       (receipt.py)

What two layers share is stored once: the integers of a weight are found again by the digest of its values, so a tied
weight, or a transposed copy of it (exporters fold them), costs nothing.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import numpy as np
import onnx_ir as ir
from onnx_ir.passes import common

from .constants import Constants, source
from .formats import DYNQ, Format
from .layers import KINDS, Found, LayerKind, Replacement, Unfit
from .layers.base import Observed
from .layers.embedding import Embedding
from .layers.linear import Linear, smoothing
from .model import DOMAIN, VERSION
from .names import Names, nodes
from .receipt import Entry, Receipt
from .recipe import FLOAT, Recipe, Rule

#: A weight of fewer values stays as it is: there is nothing to gain. It is not listed, unless a layer has it; nor are
#: vectors, which are biases and norms.
LEAST = 1024
#: Rows that are looked at together.
_BLOCK = 1024
#: What is called after each layer: its number, how many there are, and its name.
Progress = Callable[[int, int, str], None]
#: What keeps a weight that was made until the model is written.
Keep = Callable[[ir.TensorProtocol], ir.TensorProtocol]


#: What x of layers are over data, by the names of these values: those that could be observed.
Observe = Callable[[Sequence[str]], Mapping[str, Observed]]


def quantize_graph(
    model: ir.Model, recipe: Recipe, progress: Progress | None = None, written: Format = DYNQ,
    keep: Keep | None = None, observe: Observe | None = None,
) -> Receipt:  # fmt: skip
    """Quantize the model in place, each layer `written` in a format; gives the receipt.

    Weights are made one at a time, and kept by `keep`. `observe` is there where there are data.

    Raises
    ------
    ValueError
        Where a rule of the recipe matches no layer, or needs data. The model is then unchanged.
    """
    quantizer = _Quantizer(model, recipe, written, keep or (lambda tensor: tensor), observe)
    return quantizer.run(progress or (lambda done, of, name: None))


class LinearLayer(NamedTuple):
    """A linear of a model: what the receipt calls it, its x, and how many values its weight has."""

    label: str
    node: str
    weight: str
    x: ir.Value
    values: int


def linears(model: ir.Model) -> list[LinearLayer]:
    """All of a model in canonical form that have a weight worth quantizing, in its order."""
    quantizer = _Quantizer(model, Recipe([], []), DYNQ, lambda tensor: tensor, None)
    layers = [(found, quantizer.constants.weight(found.weights[0])) for found in quantizer.find(Linear())]
    return [
        LinearLayer(_label(found), found.node.name or "", source(found.weights[0]).name or "", found.x, weight.size)
        for found, weight in layers if weight.ndim == 2 and weight.size >= LEAST
    ]  # fmt: skip


@dataclass
class _Table:
    """A linear's weight as it is stored, for a table that is the same."""

    weight: ir.Value
    scale: ir.Value
    packed: Any
    owner: str


class _Quantizer:
    def __init__(self, model: ir.Model, recipe: Recipe, written: Format, keep: Keep, observe: Observe | None):
        self.model, self.recipe, self.format, self.keep, self.observe = model, recipe, written, keep, observe
        self.constants = Constants(model)
        self.order = {node: i for i, node in enumerate(nodes(model))}
        self.entries: list[tuple[int, Entry]] = []
        self.seen: set[ir.Value] = set()
        self.stored: dict[tuple[ir.Graph, bytes], ir.Value] = {}
        self.tables: dict[bytes, _Table] = {}
        self.names = Names(model)
        #: What layers of one x share in front of them: by x and what is done to it.
        self.shared: dict[tuple[ir.Value, str], ir.Value] = {}

    def run(self, progress: Progress) -> Receipt:
        layers = [(kind, found) for kind in KINDS for found in self.find(kind)]
        rules = [self.recipe.rule_for(found.node.op_type, _names(found)) for _, found in layers]
        for node, value in self.others({found.node for _, found in layers}):
            self.rule_of(node, value)
        self.recipe.check_used([_label(found) for _, found in layers])
        shapes = (self.constants.weight(each.weights[0]).shape for kind, each in layers if isinstance(kind, Embedding))
        self.table_shapes = set(shapes)
        self.look_at_data(layers, rules)
        for i, ((kind, found), rule) in enumerate(zip(layers, rules, strict=True)):
            progress(i, len(layers), _label(found))
            self.layer(kind, found, rule)
        self.keep_others()
        if self.model.functions:
            self.model.opset_imports[DOMAIN] = VERSION
        common.RemoveUnusedNodesPass()(self.model)
        entries = [entry for _, entry in sorted(self.entries, key=lambda each: each[0])]
        notes = [*([self.format.runtimes] if self.format.runtimes else []), *self.recipe.notes()]
        return Receipt(entries, notes=notes, format=self.format.name)

    def find(self, kind: LayerKind) -> Iterator[Found]:
        for node in self.order:
            if node.domain == "" and node.op_type in kind.op_types and not self.is_constant(node):
                found = kind.find(node, self.constants)
                if found is not None and all(_is_float(self.constants.weight(value)) for value in found.weights):
                    yield found

    def look_at_data(self, layers: Sequence[tuple[LayerKind, Found]], rules: Sequence[Rule]) -> None:
        """Tell linears what their x is like, where there are data; those of one x that are smoothed, common factors."""
        wanting = [(found, rule.scheme) for (kind, found), rule in zip(layers, rules, strict=True)
                   if rule.scheme.bits != FLOAT and isinstance(kind, Linear)
                   and not found.node.attributes.get_int("transA", 0)]  # fmt: skip
        if self.observe is None:
            needing = next(((found, scheme) for found, scheme in wanting if scheme.needs_data), None)
            if needing is None:
                return
            found, scheme = needing
            raise ValueError(f"data must be given: the rule of {_label(found)} has {scheme.treatment()[2:]}")
        values = {found.x: found.x.name or "" for found, _ in wanting if found.x.graph is self.model.graph}
        observed = self.observe(list(dict.fromkeys(values.values())))
        together: dict[tuple[ir.Value, float], list[Found]] = {}
        for found, scheme in wanting:
            found.observed = observed.get(values.get(found.x, ""))
            if scheme.smooth is not None and found.observed is not None:
                together.setdefault((found.x, scheme.smooth), []).append(found)
        for (_, alpha), group in together.items():
            weights = [np.asarray(self.constants.weight(found.weights[0]), np.float32) for found in group]
            for found, factors in smoothing(group, weights, alpha):
                found.factors = factors

    def is_constant(self, node: ir.Node) -> bool:
        """Whether nothing that it gives is computed in a run."""
        return any(map(self.constants.is_constant, node.outputs))

    # -- one layer ------------------------------------------------------------------------------
    def layer(self, kind: LayerKind, found: Found, rule: Rule) -> None:
        originals = [self.constants.weight(value) for value in found.weights]
        entries = [_entry(found.node, value, array) for value, array in zip(found.weights, originals, strict=True)]
        place = self.order[found.node]
        try:
            outcome = self.quantized(kind, found, rule, originals)
        except Unfit as why:
            self.seen |= set(found.weights)
            self.entries += [(place, replace(entry, reason=str(why))) for entry in entries]
            return
        fresh, whole = outcome.pop("fresh"), sum(array.nbytes for array in originals)
        for entry in entries:
            after = round(fresh * entry.bytes_before / whole)
            self.entries.append((place, replace(entry, bytes_after=after, **outcome)))

    def quantized(self, kind: LayerKind, found: Found, rule: Rule, originals: list[np.ndarray]) -> dict[str, Any]:
        """Put a call in the layer's place; what the receipt says of it, and the bytes that it added to the model."""
        if rule.scheme.bits == FLOAT:
            raise Unfit(rule.reason)
        if sum(array.size for array in originals) < LEAST:
            raise Unfit(f"fewer than {LEAST} values")
        arrays = [np.asarray(array, np.float32) for array in originals]
        if not all(map(_is_finite, arrays)):
            raise Unfit("the weight has NaN or infinite values")
        table = self.tables.get(_digest(arrays[0])) if isinstance(kind, Embedding) else None
        if table and isinstance(kind, Embedding):
            made = kind.of_linear(found, table.weight, table.scale, table.packed)
        else:
            try:
                made = kind.replace(found, arrays, rule.scheme, self.constants)
            except ValueError as why:  # from packing: what our kernels cannot do
                raise Unfit(str(why)) from why
        made = self.format.written(found, made)
        probe = kind.probe(found, arrays, made.packed, self.constants)
        error = None if probe.floats is None else _distance(probe.ours, probe.floats)
        inputs, fresh = self.inputs(self.sharing(made, found), found)
        fresh += made.bytes_before_it
        tied = made.table if self.place(found) is self.model.graph else None
        if tied is not None and tied.shape in self.table_shapes:  # others are not kept in memory
            own = _Table(inputs[1], inputs[2], made.packed, _label(found))
            self.tables.setdefault(_digest(tied), own)
        self.insert(made, inputs, found, originals[0].dtype)
        return {
            "scheme": made.scheme, "exact": made.exact, "fresh": fresh, "error": error,
            "reason": f"stored with {table.owner}" if table else "",
        }  # fmt: skip

    def inputs(self, made: Replacement, found: Found) -> tuple[list[ir.Value], int]:
        """The values that the call takes; constants become initializers, each content once. And the bytes added."""
        base, values, fresh = found.weights[0].name or found.node.name or found.node.op_type, [], 0
        graph = self.place(found)
        for given in made.inputs:
            if isinstance(given, tuple):
                role, array = given
                tensor = array if isinstance(array, ir.TensorProtocol) else ir.tensor(np.ascontiguousarray(array))
                content = (graph, _digest(tensor.numpy(), f"{tensor.dtype} {tensor.shape}"))
                if content not in self.stored:
                    name = self.names.unused(f"{base}.{role}")
                    tensor.name = name
                    shape, kind = ir.Shape(tensor.shape.numpy()), ir.TensorType(tensor.dtype)
                    value = ir.Value(name=name, shape=shape, type=kind, const_value=self.keep(tensor))
                    graph.register_initializer(value)
                    self.stored[content] = value
                    fresh += tensor.nbytes
                values.append(self.stored[content])
            else:
                values.append(given)
        return values, fresh

    def sharing(self, made: Replacement, found: Found) -> Replacement:
        """With what is done to x once for all layers of it: it stands right behind what makes x."""
        if found.treated is None or not found.treated.steps:
            return made
        x, done = found.treated.source, ""
        for kind, nodes_of in found.treated.steps:
            done += kind
            if (found.treated.source, done) not in self.shared:
                nodes_of[-1].replace_input_with(0, x)
                for node in nodes_of:
                    node.name = self.names.unused(f"{_label(found)}.{node.op_type}")
                    node.outputs[0].name = self.names.unused(f"{_label(found)}.{node.op_type}.y")
                nodes_of[-1].outputs[0].type, nodes_of[-1].outputs[0].shape = x.type, x.shape
                maker = x.producer()
                graph = maker.graph if maker is not None else x.graph
                assert graph is not None
                if maker is None:
                    graph.insert_before(graph[0], nodes_of)
                else:
                    graph.insert_after(maker, nodes_of)
                self.shared[found.treated.source, done] = nodes_of[-1].outputs[0]
            else:
                made.bytes_before_it = 0
            x = self.shared[found.treated.source, done]
        made.inputs = [x, *made.inputs[1:]]
        for function in made.needs:
            function.opset_imports[""] = self.constants.opset
            self.model.functions.setdefault(function.identifier(), function)
        return made

    def place(self, found: Found) -> ir.Graph:
        """The graph that holds the constants of a layer: the main one, or its own."""
        own = found.node.graph
        return own if self.format.beside and isinstance(own, ir.Graph) else self.model.graph

    def insert(self, made: Replacement, inputs: list[ir.Value], found: Found, dtype: np.dtype) -> None:
        """The call with what stands around it, in the place of the layer."""
        before, after, old, cast = list(made.before), [], found.output, dtype != np.float32
        if cast:  # the model computes in float16, say: our functions take and give float32
            for i in made.floats:
                before.append(ir.node("Cast", [inputs[i]], {"to": ir.DataType.FLOAT}))
                inputs[i] = before[-1].outputs[0]
        own, results = self.opened(made, inputs, found) if made.opened else self.called(made, inputs, found)
        results = results[: len(old.outputs)]  # shape inference wants those that nobody takes, too
        if cast:
            after = [ir.node("Cast", [result], {"to": ir.DataType.from_numpy(dtype)}) for result in results]
            results = [node.outputs[0] for node in after]
        for node in made.after:  # of layers with one result
            node.replace_input_with(0, results[0])
            results[0] = node.outputs[0]
            after.append(node)
        for node in (*before, *(own if made.opened else ()), *after):
            node.name = self.names.unused(f"{_label(found)}.{node.op_type}")
        for node in (*before, *own, *after):
            for value in node.outputs:  # onnx_ir's own names may be those of an outer scope
                value.name = self.names.unused(f"{_label(found)}.{node.op_type}.y")
        assert old.graph is not None
        ir.convenience.replace_nodes_and_values(
            old.graph, old, [*reversed(found.absorbed), found.node], [*before, *own, *after], old.outputs, results
        )

    def called(
        self, made: Replacement, inputs: Sequence[ir.Value], found: Found
    ) -> tuple[list[ir.Node], list[ir.Value]]:
        """A call of the function, and its results."""
        for function in (*made.needs, made.function):  # onnx.reference wants a function before those that call it
            function.opset_imports[""] = self.constants.opset  # a function's is to be the model's
            self.model.functions.setdefault(function.identifier(), function)
        call = ir.Node(
            DOMAIN, made.function.name, inputs, name=found.node.name, num_outputs=len(made.function.outputs),
            doc_string=found.node.doc_string, metadata_props=found.node.metadata_props,
        )  # fmt: skip
        return [call], list(call.outputs)

    def opened(
        self, made: Replacement, inputs: Sequence[ir.Value], found: Found
    ) -> tuple[list[ir.Node], list[ir.Value]]:
        """The nodes of the function's body, which is this layer's alone, and its results."""
        graph = made.function.graph
        own, results = list(graph), list(graph.outputs)
        for name, given in zip(list(graph.inputs), inputs, strict=True):
            ir.convenience.replace_all_uses_with(name, given)
        graph.outputs.clear()
        graph.remove(own)
        for domain, version in made.function.opset_imports.items():
            self.model.opset_imports.setdefault(domain, version)
        return own, results

    # -- the rest -------------------------------------------------------------------------------
    def others(self, layers: Collection[ir.Node] = ()) -> Iterator[tuple[ir.Node, ir.Value]]:
        """Weights of nodes that are none of these layers."""
        for node in self.order:
            if node.graph is None or node in layers or node.domain == DOMAIN or self.is_constant(node):
                continue
            for value in node.inputs:
                if value is None or value in self.seen:
                    continue
                array = self.constants.array(value)
                if array is not None and _is_float(array) and array.ndim > 1 and array.size >= LEAST:
                    yield node, value

    def rule_of(self, node: ir.Node, value: ir.Value) -> Rule:
        return self.recipe.rule_for(node.op_type, [name for name in (node.name, value.name) if name])

    def keep_others(self) -> None:
        """Say of weights of operators that are no layers of ours that they are floats; whoever says so wills it."""
        for node, value in self.others():
            self.seen.add(value)
            rule, entry = self.rule_of(node, value), _entry(node, value, self.constants.weight(value))
            reason = rule.reason if rule.scheme.bits == FLOAT else f"{node.op_type} is not quantized"
            self.entries.append((self.order[node], replace(entry, reason=reason)))


def _names(found: Found) -> list[str]:
    weights = [each.name for value in found.weights for each in (value, source(value))]
    return [name for name in (found.node.name, *weights) if name]


def _label(found: Found) -> str:
    return found.node.name or source(found.weights[0]).name or found.node.op_type


def _is_float(array: np.ndarray) -> bool:
    return array.dtype.kind == "f" or array.dtype.name == "bfloat16"


def _entry(node: ir.Node, value: ir.Value, array: np.ndarray) -> Entry:
    return Entry(source(value).name or "", node.name or "", node.op_type, array.shape, array.nbytes, array.nbytes)


def _is_finite(array: np.ndarray) -> bool:
    """Block by block, without a mask of all."""
    return all(bool(np.isfinite(array[i : i + _BLOCK]).all()) for i in range(0, len(array), _BLOCK))


def _digest(array: np.ndarray, form: str = "") -> bytes:
    found = hashlib.sha256(f"{form} {array.shape}".encode())
    found.update(np.ascontiguousarray(array).reshape(-1).view(np.uint8).data)
    return found.digest()


def _distance(ours: Sequence[np.ndarray], floats: Sequence[np.ndarray]) -> float:
    """Norm of the difference over norm, of all results together; 0 where both are 0."""
    pairs = [(np.asarray(a, np.float64), np.asarray(b, np.float64)) for a, b in zip(ours, floats, strict=True)]
    difference, whole = (np.sqrt(sum(float((x**2).sum()) for x in parts)) for parts in (
        [a - b for a, b in pairs], [b for _, b in pairs]
    ))  # fmt: skip
    return float(difference / whole) if whole else float(difference)
