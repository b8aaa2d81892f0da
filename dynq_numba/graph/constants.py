"""Constants of a graph as numpy arrays, wherever an exporter put them.

    initializer, Constant node, of an outer scope; behind Transpose, Reshape, Cast, Slice, Concat …; any float type

A node whose inputs are all constant is evaluated by onnx.reference, so every operator without randomness is understood.
It is imported on use: sessions seldom need it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import onnx
import onnx_ir as ir
from onnx import helper

from .bounds import MOST, ROUNDS, check_size

#: Operators that give another result each time; and the one behind which a weight is integers already.
_NOT_CONSTANT = {
    "RandomNormal", "RandomUniform", "RandomNormalLike", "RandomUniformLike", "Multinomial", "Bernoulli",
    "DequantizeLinear",
}  # fmt: skip

#: Operators after which the values are still those of their first input.
_MOVES = {"Transpose", "Cast", "Reshape", "Flatten", "Identity", "Squeeze", "Unsqueeze", "Slice", "Expand"}


class Constants:
    """Arrays of the constant values of a model. None is kept: a model may be larger than the memory.

    Parameters
    ----------
    model : onnx_ir.Model
    """

    def __init__(self, model: ir.Model) -> None:
        self.opset = model.opset_imports.get("", 0)
        stored = (each.const_value for each in model.graph.initializers.values())
        self._most = max(MOST, sum(each.size for each in stored if each is not None))
        self._left = ROUNDS * self._most
        self._known: dict[ir.Value, bool] = {}

    def is_constant(self, value: ir.Value | None) -> bool:
        """Whether a value is the same in every run."""
        if value is None:
            return False
        left, begun = [value], set[ir.Value]()
        while left:  # no recursion: graphs are thousands of nodes deep
            last = left[-1]
            needed = False if last in self._known else self._needs(last)
            if not isinstance(needed, bool):
                unknown = [each for each in needed if each not in self._known]
                if unknown and last not in begun and all(self._known.get(each, True) for each in needed):
                    begun.add(last)
                    left += unknown
                    continue
                needed = all(self._known.get(each, False) for each in needed)  # a loop, which none has, is not
            self._known.setdefault(last, needed)
            left.pop()
        return self._known[value]

    def _needs(self, value: ir.Value) -> bool | list[ir.Value]:
        """Whether a value is constant, or which values must be for it."""
        if isinstance(value.type, (ir.SequenceType, ir.OptionalType)):
            return False
        if value.const_value is not None:
            return not value.is_graph_input()
        node = value.producer()
        if node is None or node.domain not in ("", "ai.onnx") or node.op_type in _NOT_CONSTANT:
            return False
        if node.op_type == "Constant":
            return "value_string" not in node.attributes and "value_strings" not in node.attributes
        if graphs_of(node):
            return False
        given = [each for each in node.inputs if each is not None]
        return given or False

    def array(self, value: ir.Value | None) -> np.ndarray | None:
        """The array of a constant value in its own dtype, or None where it is not constant."""
        if value is None or not self.is_constant(value):
            return None
        return self._evaluate(value)

    def weight(self, value: ir.Value) -> np.ndarray:
        """The array of a value that is known to be constant."""
        array = self.array(value)
        assert array is not None
        return array

    def _evaluate(self, value: ir.Value) -> np.ndarray:
        known: dict[ir.Value, np.ndarray] = {}
        left = [value]
        while left:
            last = left[-1]
            node, tensor = last.producer(), last.const_value
            if last not in known and tensor is not None:
                known[last] = np.require(tensor.numpy(), requirements="A")
            elif last not in known:
                assert node is not None  # `is_constant` has seen to it
                wanted = [each for each in node.inputs if each is not None and each not in known]
                if wanted:
                    left += wanted
                    continue
                given = [None if each is None else known[each] for each in node.inputs]
                known.update(zip(node.outputs, self.folded(node, given), strict=False))
            left.pop()
        return known[value]

    def folded(self, node: ir.Node, given: Sequence[np.ndarray | None]) -> list[np.ndarray]:
        """`run_node` of constants; ValueError where a model asks for what cannot be computed, or for too much."""
        try:
            check_size(node, given, self.opset, self._most)
            results = run_node(node, given, self.opset)
            self._left -= sum(each.size for each in results)
            if self._left < 0:
                raise ValueError(f"constants of the model have more than {ROUNDS} times {self._most} elements")
        except Exception as error:  # onnx.reference raises whatever numpy does
            raise named(node, error) from error
        return results


def source(value: ir.Value) -> ir.Value:
    """The stored value behind Transpose, Cast and the like, whose name its author knows; else the value itself."""
    stored, node = value, value.producer()
    while node is not None and node.op_type in _MOVES and node.inputs[0] is not None:
        stored = node.inputs[0]
        node = stored.producer()
    return stored if node is None or node.op_type == "Constant" else value


def run_node(node: ir.Node, given: Sequence[np.ndarray | None], opset: int) -> list[np.ndarray]:
    """All results that onnx.reference gives for one node of arrays, named or not; None where an input is left out."""
    return evaluator(node, given, {"": opset}, every=True)(given)


class NodeError(ValueError):
    """A node's error, which does not say of which model it is."""


def named(node: ir.Node, error: Exception) -> Exception:
    """The error of a node that cannot be planned or computed, with the node's name; too little memory stays that."""
    if isinstance(error, MemoryError):
        return error
    name = node.name or next((value.name for value in node.outputs if value.name), "")
    reason = next(iter(str(error).strip().splitlines()), type(error).__name__)
    return NodeError(f"{node.op_type} {name} cannot be computed: {reason}")


def run_function(function: ir.Function, arrays: Sequence[np.ndarray]) -> list[np.ndarray]:
    """What onnx.reference gives for the body of a function."""
    from onnx.reference import ReferenceEvaluator

    feeds = {value.name or "": array for value, array in zip(function.inputs, arrays, strict=True)}
    return list(ReferenceEvaluator(ir.serde.serialize_function(function)).run(None, feeds, attributes={}))


def captured(node: ir.Node) -> list[ir.Value]:
    """Values of outside that the branches or the body of a node read."""
    found: dict[ir.Value, None] = {}

    def look(graph: ir.Graph, known: set[ir.Value]) -> None:
        known = known | set(graph.inputs) | set(graph.initializers.values())
        for inner in graph:
            found.update((each, None) for each in inner.inputs if each is not None and each not in known)
            for each in graphs_of(inner):
                look(each, known)
            known.update(inner.outputs)
        found.update((each, None) for each in graph.outputs if each not in known)

    for graph in graphs_of(node):
        look(graph, set())
    return list(found)


def graphs_of(node: ir.Node) -> list[ir.Graph]:
    """Branches and bodies."""
    given = list(node.attributes.values())
    single = [each.as_graph() for each in given if each.type == ir.AttributeType.GRAPH]
    return single + [graph for each in given if each.type == ir.AttributeType.GRAPHS for graph in each.as_graphs()]


def evaluator(
    node: ir.Node, given: Sequence[Any], versions: Mapping[str, int], functions: Sequence[onnx.FunctionProto] = (),
    *, every: bool = False,
) -> Callable[[Sequence[Any]], list[Any]]:
    """A function that computes a node by onnx.reference on arrays of the types of these, and on lists of arrays.

    They are its inputs, None where one is left out, and then what it reads of outside (`captured`). `versions` are
    those of domains. It gives the results that have a name, or `every` one.
    """
    from onnx.reference import ReferenceEvaluator

    outer = [value.name or "" for value in captured(node)]
    inputs = [f"dynq.input.{i}" if value is not None else "" for i, value in enumerate(node.inputs)]
    outputs = [f"dynq.output.{i}" if every or value.name else "" for i, value in enumerate(node.outputs)]
    proto = ir.serde.serialize_node(node)
    del proto.input[:], proto.output[:]
    if node.domain == "ai.onnx.preview":  # there, graphs see nothing of outside
        inner = [(name, each) for name, each in zip(outer, given[len(inputs) :], strict=True)]
        for attribute in proto.attribute:
            attribute.g.initializer.extend(onnx.numpy_helper.from_array(each, name) for name, each in inner)
    proto.input.extend(inputs)
    proto.output.extend(outputs)
    names = [*inputs, *outer]
    # A model and not a function: some operators are functions themselves, chosen by the types of what they are given.
    values = [_described(name, each) for name, each in zip(names, given, strict=True) if name]
    results = [onnx.ValueInfoProto(name=name) for name in outputs if name]
    graph = helper.make_graph([proto], "node", values, results)
    imports = [helper.make_opsetid(domain, versions.get(domain, 1)) for domain in {node.domain, ""}]
    session = ReferenceEvaluator(helper.make_model(graph, opset_imports=imports, functions=functions))

    def run(arrays: Sequence[Any]) -> list[Any]:
        found = session.run(None, {name: each for name, each in zip(names, arrays, strict=True) if name})
        return [each if each is None or isinstance(each, list) else np.asarray(each) for each in found]

    return run


def _described(name: str, value: Any) -> onnx.ValueInfoProto:
    """What it is told of an input: of arrays of numbers the type, on which some operators depend."""
    if not isinstance(value, np.ndarray) or value.dtype.kind in "OUST":
        return onnx.ValueInfoProto(name=name)
    return helper.make_tensor_value_info(name, ir.DataType.from_numpy(value.dtype).value, None)
