"""Quantize a model: every layer with constant weights is accounted for, and most become functions of ours.

    find layers  ──▶  a rule for each  ──▶  round, pack, try  ──▶  call of a function  ──▶  receipt
                       (recipe.py)           (layers/)                                       (receipt.py)

What two layers share is stored once: the integers of a weight are found again by the digest of its values, so a tied
weight, or a transposed copy of it (exporters fold them), costs nothing.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import onnx_ir as ir
from onnx.reference import ReferenceEvaluator
from onnx_ir.passes import common

from .constants import Constants
from .functions import DOMAIN, VERSION
from .layers import KINDS, Found, LayerKind, Replacement, Unfit
from .layers.embedding import Embedding
from .receipt import Entry, Receipt
from .recipe import FLOAT, Recipe, Rule

#: A weight of fewer values stays as it is: there is nothing to gain. It is not listed, unless a layer has it; nor are
#: vectors, which are biases and norms.
LEAST = 1024
#: What is called after each layer: its number, how many there are, and its name.
Progress = Callable[[int, int, str], None]


def quantize_graph(model: ir.Model, recipe: Recipe, progress: Progress | None = None) -> Receipt:
    """Quantize the model in place; gives the receipt.

    Raises
    ------
    ValueError
        Where a rule of the recipe matches no layer. The model is then unchanged.
    """
    return _Quantizer(model, recipe).run(progress or (lambda done, of, name: None))


@dataclass
class _Table:
    """A linear's weight as it is stored, for a table that is the same."""

    weight: ir.Value
    scale: ir.Value
    packed: Any
    owner: str


class _Quantizer:
    def __init__(self, model: ir.Model, recipe: Recipe):
        self.model, self.recipe = model, recipe
        self.constants = Constants(model.opset_imports[""])
        self.order = {node: i for i, node in enumerate(_nodes(model))}
        self.entries: list[tuple[int, Entry]] = []
        self.seen: set[ir.Value] = set()
        self.stored: dict[bytes, ir.Value] = {}
        self.tables: dict[bytes, _Table] = {}
        self.names = {value.name for node in self.order for value in (*node.inputs, *node.outputs) if value is not None}
        self.names |= set(model.graph.initializers)

    def run(self, progress: Progress) -> Receipt:
        layers = [(kind, found) for kind in KINDS for found in self.find(kind)]
        rules = [self.recipe.rule_for(found.node.op_type, _names(found)) for _, found in layers]
        self.recipe.check_used([_label(found) for _, found in layers])
        for i, ((kind, found), rule) in enumerate(zip(layers, rules, strict=True)):
            progress(i, len(layers), _label(found))
            self.layer(kind, found, rule)
        self.others()
        self.model.opset_imports[DOMAIN] = VERSION
        common.RemoveUnusedNodesPass()(self.model)
        common.RemoveUnusedOpsetsPass()(self.model)
        return Receipt([entry for _, entry in sorted(self.entries, key=lambda each: each[0])])

    def find(self, kind: LayerKind) -> Iterator[Found]:
        for node in self.order:
            if node.domain == "" and node.op_type in kind.op_types:
                found = kind.find(node, self.constants)
                if found is not None and all(_is_float(self.constants.weight(value)) for value in found.weights):
                    yield found

    # -- one layer ------------------------------------------------------------------------------
    def layer(self, kind: LayerKind, found: Found, rule: Rule) -> None:
        originals = [self.constants.weight(value) for value in found.weights]
        self.seen |= set(found.weights)
        entries = [_entry(found.node, value, array) for value, array in zip(found.weights, originals, strict=True)]
        place = self.order[found.node]
        try:
            outcome = self.quantized(kind, found, rule, originals)
        except Unfit as why:
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
        if not all(bool(np.isfinite(array).all()) for array in arrays):
            raise Unfit("the weight has NaN or infinite values")
        table = self.tables.get(_digest(arrays[0])) if isinstance(kind, Embedding) else None
        if table and isinstance(kind, Embedding):
            made = kind.of_linear(found, table.weight, table.scale, table.packed)
        else:
            try:
                made = kind.replace(found, arrays, rule.scheme, self.constants)
            except ValueError as why:  # from packing: what our kernels cannot do
                raise Unfit(str(why)) from why
        probe = kind.probe(found, arrays, made.packed, self.constants.opset)
        error = None if probe.floats is None else _distance(probe.ours, probe.floats)
        departure = None if made.exact or error is None else _distance(_body(made, probe.inputs), probe.ours)
        inputs, fresh = self.inputs(made, found)
        if made.table is not None:
            own = _Table(inputs[1], inputs[2], made.packed, _label(found))
            self.tables.setdefault(_digest(made.table), own)
        self.insert(made, inputs, found, originals[0].dtype)
        return {
            "scheme": made.scheme, "exact": made.exact, "departure": departure, "fresh": fresh,
            "error": error, "reason": f"stored with {table.owner}" if table else "",
        }  # fmt: skip

    def inputs(self, made: Replacement, found: Found) -> tuple[list[ir.Value], int]:
        """The values that the call takes; constants become initializers, each content once. And the bytes added."""
        base, values, fresh = found.weights[0].name or found.node.name or found.node.op_type, [], 0
        for given in made.inputs:
            if isinstance(given, tuple):
                role, array = given
                tensor = array if isinstance(array, ir.TensorProtocol) else ir.tensor(np.ascontiguousarray(array))
                content = hashlib.sha256(f"{tensor.dtype} {tensor.shape}".encode() + tensor.tobytes()).digest()
                if content not in self.stored:
                    name = self.unused(f"{base}.{role}")
                    shape, kind = ir.Shape(tensor.shape.numpy()), ir.TensorType(tensor.dtype)
                    value = ir.Value(name=name, shape=shape, type=kind, const_value=tensor)
                    tensor.name = name
                    self.model.graph.register_initializer(value)
                    self.stored[content] = value
                    fresh += tensor.nbytes
                values.append(self.stored[content])
            else:
                values.append(given)
        return values, fresh

    def unused(self, name: str) -> str:
        """The name, or one made from it that nothing in the model has."""
        candidate, count = name, 1
        while candidate in self.names:
            count += 1
            candidate = f"{name}_{count}"
        self.names.add(candidate)
        return candidate

    def insert(self, made: Replacement, inputs: list[ir.Value], found: Found, dtype: np.dtype) -> None:
        """The call with what stands around it, in the place of the layer."""
        before, after = list(made.before), list(made.after)
        cast = dtype != np.float32
        if cast:  # the model computes in float16, say: our functions take and give float32
            for i in made.floats:
                node = ir.node("Cast", [inputs[i]], {"to": ir.DataType.FLOAT})
                before.append(node)
                inputs[i] = node.outputs[0]
        made.function.opset_imports[""] = self.constants.opset  # a function's is to be the model's
        self.model.functions.setdefault(made.function.identifier(), made.function)
        old = found.output
        call = ir.Node(DOMAIN, made.function.name, inputs, num_outputs=len(old.outputs), name=found.node.name)
        results = list(call.outputs)
        if cast:
            after = [ir.node("Cast", [None], {"to": ir.DataType.from_numpy(dtype)}), *after]
        for node in after:  # of layers with one result
            node.replace_input_with(0, results[0])
            results[0] = node.outputs[0]
        new = [*before, call, *after]
        for node in new:
            node.name = self.unused(node.name or f"{found.node.name}.{node.op_type}") if node is not call else node.name
        assert old.graph is not None
        ir.convenience.replace_nodes_and_values(
            old.graph, old, [*reversed(found.absorbed), found.node], new, old.outputs, results
        )  # fmt: skip
        for node in (*before, *after):
            for value in node.outputs:
                if value.name is None or value.name not in self.names:
                    value.name = value.name or self.unused(f"{node.name}.y")

    # -- the rest -------------------------------------------------------------------------------
    def others(self) -> None:
        """Weights of operators that are no layers of ours."""
        for node, place in self.order.items():
            if node.graph is None or any(map(self.constants.is_constant, node.outputs)):
                continue
            for value in node.inputs:
                if value is None or value in self.seen:
                    continue
                array = self.constants.array(value)
                if array is not None and _is_float(array) and array.ndim > 1 and array.size >= LEAST:
                    self.seen.add(value)
                    entry = _entry(node, value, array)
                    self.entries.append((place, replace(entry, reason=f"{node.op_type} is not quantized")))


def _nodes(model: ir.Model) -> Iterator[ir.Node]:
    """All nodes, those of subgraphs too."""
    return iter(ir.traversal.RecursiveGraphIterator(model.graph))


def _names(found: Found) -> list[str]:
    return [name for name in (found.node.name, *(value.name for value in found.weights)) if name]


def _label(found: Found) -> str:
    return found.node.name or found.weights[0].name or found.node.op_type


def _is_float(array: np.ndarray) -> bool:
    return (array.dtype.kind == "f" or array.dtype.name == "bfloat16")


def _entry(node: ir.Node, value: ir.Value, array: np.ndarray) -> Entry:
    return Entry(value.name or "", node.name or "", node.op_type, array.shape, array.nbytes, array.nbytes)


def _digest(array: np.ndarray) -> bytes:
    return hashlib.sha256(repr(array.shape).encode() + np.ascontiguousarray(array).tobytes()).digest()


def _body(made: Replacement, inputs: Sequence[np.ndarray]) -> list[np.ndarray]:
    """What the function's body gives in onnx.reference."""
    varying = iter(inputs)
    feeds: dict[str, Any] = {}
    for value, given in zip(made.function.inputs, made.inputs, strict=True):
        array = next(varying) if not isinstance(given, tuple) else given[1]
        feeds[value.name or ""] = array.numpy() if isinstance(array, ir.TensorProtocol) else array
    return list(ReferenceEvaluator(ir.serde.serialize_function(made.function)).run(None, feeds, attributes={}))


def _distance(ours: Sequence[np.ndarray], floats: Sequence[np.ndarray]) -> float:
    """Norm of the difference over norm, of all results together; 0 where both are 0."""
    pairs = [(np.asarray(a, np.float64), np.asarray(b, np.float64)) for a, b in zip(ours, floats, strict=True)]
    difference, whole = (np.sqrt(sum(float((x**2).sum()) for x in parts)) for parts in (
        [a - b for a, b in pairs], [b for _, b in pairs]
    ))  # fmt: skip
    return float(difference / whole) if whole else float(difference)
