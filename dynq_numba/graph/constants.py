"""Constants of a graph as numpy arrays, wherever an exporter put them.

    initializer, Constant node, of an outer scope; behind Transpose, Reshape, Cast, Slice, Concat …; any float type

A node whose inputs are all constant is evaluated by onnx.reference, so every operator without randomness is understood.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import onnx_ir as ir
from onnx import helper
from onnx.reference import ReferenceEvaluator

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
    opset : int
        The model's.
    """

    def __init__(self, opset: int) -> None:
        self.opset = opset
        self._known: dict[ir.Value, bool] = {}

    def is_constant(self, value: ir.Value | None) -> bool:
        """Whether a value is the same in every run."""
        if value is None:
            return False
        if value not in self._known:
            self._known[value] = False  # a loop, which no valid graph has, is none
            self._known[value] = self._decide(value)
        return self._known[value]

    def _decide(self, value: ir.Value) -> bool:
        if value.const_value is not None:
            return not value.is_graph_input()
        node = value.producer()
        if node is None or node.domain not in ("", "ai.onnx") or node.op_type in _NOT_CONSTANT:
            return False
        if node.op_type == "Constant":
            return "value_string" not in node.attributes and "value_strings" not in node.attributes
        if any(attr.type in (ir.AttributeType.GRAPH, ir.AttributeType.GRAPHS) for attr in node.attributes.values()):
            return False
        given = [each for each in node.inputs if each is not None]
        return bool(given) and all(map(self.is_constant, given))

    def is_integers(self, node: ir.Node) -> bool:
        """Whether a node gives a constant that is stored as integers, as another quantizer has left it."""
        return node.op_type == "DequantizeLinear" and node.domain == "" and self.is_constant(node.inputs[0])

    def array(self, value: ir.Value | None) -> np.ndarray | None:
        """The array of a constant value in its own dtype, or None where it is not constant."""
        if value is None or not self.is_constant(value):
            return None
        return self._evaluate(value, {})

    def weight(self, value: ir.Value) -> np.ndarray:
        """The array of a value that is known to be constant."""
        array = self.array(value)
        assert array is not None
        return array

    def _evaluate(self, value: ir.Value, known: dict[ir.Value, np.ndarray]) -> np.ndarray:
        if value in known:
            return known[value]
        if value.const_value is not None:
            return value.const_value.numpy()
        node = value.producer()
        assert node is not None  # `is_constant` has seen to it
        given = [None if each is None else self._evaluate(each, known) for each in node.inputs]
        known.update(zip(node.outputs, run_node(node, given, self.opset), strict=False))
        return known[value]


def source(value: ir.Value) -> ir.Value:
    """The stored value behind Transpose, Cast and the like, whose name its author knows; else the value itself."""
    stored, node = value, value.producer()
    while node is not None and node.op_type in _MOVES and node.inputs[0] is not None:
        stored = node.inputs[0]
        node = stored.producer()
    return stored if node is None or node.op_type == "Constant" else value


def run_node(node: ir.Node, given: Sequence[np.ndarray | None], opset: int) -> list[np.ndarray]:
    """What onnx.reference gives for one node of arrays; None where an input is left out."""
    inputs = [f"i{i}" if array is not None else "" for i, array in enumerate(given)]
    outputs = [f"o{i}" for i in range(len(node.outputs))]
    proto = ir.serde.serialize_node(node)
    del proto.input[:], proto.output[:]
    proto.input.extend(inputs)
    proto.output.extend(outputs)
    names = [name for name in inputs if name]
    function = helper.make_function("dynq.fold", "fold", names, outputs, [proto], [helper.make_opsetid("", opset)])
    feeds = {name: array for name, array in zip(inputs, given, strict=True) if array is not None}
    return [np.asarray(result) for result in ReferenceEvaluator(function).run(None, feeds, attributes={})]
