"""Regions of one input: the nodes between a value x and a value y that depends on nothing else that varies.

    x ──▶ Sub ─▶ Pow ─▶ ReduceMean ─▶ Add ─▶ Sqrt ─▶ Div ─▶ Mul ─▶ Add ──▶ y
      └──▶ ReduceMean ──┘   └──────────────────────────┘

Exporters spell one function in twenty ways. So a region is not compared with templates, it is *computed*, in float64
on rows of numbers, and the results are compared with the function looked for. The operators below are all that a
region consists of. They are element by element, or over the last axis.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx_ir as ir

from ..base import Editor, NoMatch, identifier

F64 = np.float64
#: Nodes that a region may have; every spelling met so far has fewer than half as many.
MOST = 32


def _clip(x: Any, low: Any = None, high: Any = None) -> Any:
    return np.clip(x, -np.inf if low is None else low, np.inf if high is None else high)


def gelu(x: np.ndarray) -> np.ndarray:
    """In float64, without cancellation: erfc of a positive number is accurate however small it is."""
    return x * np.vectorize(lambda each: math.erfc(-each / math.sqrt(2)) / 2, otypes=[F64])(x)


def sigmoid(x: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-x))


def gelu_tanh(x: np.ndarray) -> np.ndarray:
    return x * sigmoid(2 * math.sqrt(2 / math.pi) * (x + 0.044715 * x**3))


def silu(x: np.ndarray) -> np.ndarray:
    return x * sigmoid(x)


#: What operators without attributes compute, element by element.
ELEMENTWISE: dict[str, Callable[..., Any]] = {
    "Add": np.add, "Sub": np.subtract, "Mul": np.multiply, "Div": np.divide, "Pow": np.power, "Neg": np.negative,
    "Reciprocal": np.reciprocal, "Sqrt": np.sqrt, "Exp": np.exp, "Tanh": np.tanh, "Sigmoid": sigmoid,
    "Erf": np.vectorize(math.erf, otypes=[F64]), "Max": np.maximum, "Min": np.minimum, "Clip": _clip, "Abs": np.abs,
    "Relu": lambda x: np.maximum(x, 0),
    "dynq.Gelu": gelu, "dynq.GeluTanh": gelu_tanh, "dynq.Silu": silu,
}  # fmt: skip


def layer_norm(x: np.ndarray, eps: float) -> np.ndarray:
    """Over the last axis, without weight and bias."""
    return rms_norm(x - x.mean(-1, keepdims=True), eps)


def rms_norm(x: np.ndarray, eps: float) -> np.ndarray:
    return x / np.sqrt((x * x).mean(-1, keepdims=True) + eps)


_REDUCTIONS: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "ReduceMean": lambda x: x.mean(-1, keepdims=True),
    "ReduceSum": lambda x: x.sum(-1, keepdims=True),
    "ReduceSumSquare": lambda x: (x * x).sum(-1, keepdims=True),
    "ReduceL2": lambda x: np.sqrt((x * x).sum(-1, keepdims=True)),
}
#: Of three axes, as tf2onnx writes a mean.
_POOL = "GlobalAveragePool"
_REDUCTIONS[_POOL] = _REDUCTIONS["ReduceMean"]
_NORMS = {"LayerNormalization": layer_norm}


def epsilon(node: ir.Node) -> float:
    """Of an operator that is a norm."""
    return node.attributes.get_float("epsilon", 1e-5)


@dataclass
class Region:
    """The nodes from `x` (excluded) to the result of the first."""

    x: ir.Value
    nodes: list[ir.Node]  # from y back to x

    @property
    def y(self) -> ir.Value:
        return self.nodes[0].outputs[0]

    def constants(self, edit: Editor) -> list[np.ndarray]:
        """The constants that it has."""
        inside = {self.x, *(node.outputs[0] for node in self.nodes)}
        arrays = [edit.array(each) for node in self.nodes for each in node.inputs if each not in inside]
        return [array for array in arrays if array is not None]

    @np.errstate(all="ignore")
    def compute(self, x: np.ndarray, edit: Editor) -> np.ndarray:
        """y of float64 rows x [M, K]; raises `NoMatch` where they are not rows throughout."""
        known: dict[ir.Value, np.ndarray] = {self.x: x}
        for node in reversed(self.nodes):
            given = [None if each is None else known[each] if each in known else _floats(each, edit)
                     for each in node.inputs]  # fmt: skip
            try:
                known[node.outputs[0]] = _compute(node, given, edit)
            except ValueError as error:  # of numpy
                raise NoMatch(f"the shapes in it contradict each other: {error}") from error
        return known[self.y]


def _floats(value: ir.Value, edit: Editor) -> np.ndarray:
    array = edit.array(value)
    assert array is not None  # what varies is inside
    if array.ndim > 1 and array.size != array.shape[-1]:
        raise NoMatch(f"the constant {value.name} has shape {array.shape}, more than a row")
    return array.reshape(-1)[None].astype(F64) if array.ndim else array.astype(F64)


def _compute(node: ir.Node, given: Sequence[np.ndarray | None], edit: Editor) -> np.ndarray:
    name = identifier(node)
    first = given[0]
    assert first is not None
    if name in ELEMENTWISE:
        return ELEMENTWISE[name](*given)
    if name == "Gelu":
        return (gelu_tanh if node.attributes.get_string("approximate", "none") == "tanh" else gelu)(first)
    if name in _REDUCTIONS:
        return _REDUCTIONS[name](first)
    scaled = _NORMS[name](first, epsilon(node))
    for operate, parameter in zip((np.multiply, np.add), given[1:], strict=False):
        scaled = scaled if parameter is None else operate(scaled, parameter)
    return scaled


def understood(node: ir.Node, edit: Editor) -> bool:
    """Whether a node can be part of a region."""
    name = identifier(node)
    if any(value.uses() or value.is_graph_output() for value in node.outputs[1:]):
        return False
    if name in ELEMENTWISE or name == "Gelu":
        return True
    if name in _NORMS:
        return _is_last(node.attributes.get_int("axis", -1), node, edit)
    if name == _POOL:
        return node.inputs[0] is not None and node.inputs[0].shape is not None and len(node.inputs[0].shape) == 3
    if name not in _REDUCTIONS or not node.attributes.get_int("keepdims", 1) or len(node.inputs) < 2:
        return False
    axes = edit.array(node.inputs[1])
    return axes is not None and axes.size == 1 and _is_last(int(axes.reshape(())), node, edit)


def _is_last(axis: int, node: ir.Node, edit: Editor) -> bool:
    x = node.inputs[0]
    return axis == -1 or (x is not None and x.shape is not None and axis == len(x.shape) - 1)


def regions_around(anchor: ir.Node, edit: Editor) -> Iterator[Region]:
    """Those that have the node in them: first those that end furthest from it, and of these the smallest.

    Nothing outside uses a value inside, y excepted.
    """
    if not understood(anchor, edit):
        return
    for end in reversed(_behind(anchor, edit)):
        for region in _ending(end, edit):
            if anchor in region.nodes:
                yield region


def _behind(anchor: ir.Node, edit: Editor) -> list[ir.Node]:
    """The node and those that follow from it, near ones first."""
    found = [anchor]
    for node in found:
        if len(found) >= MOST:
            break
        for use in node.outputs[0].uses():
            if use.node not in found and use.node.graph is anchor.graph and understood(use.node, edit):
                found.append(use.node)
    return found


def _ending(end: ir.Node, edit: Editor) -> Iterator[Region]:
    """Walk back from a node, taking what only nodes inside use; where one value is left to take, it is an x."""
    inside: list[ir.Node] = []
    open_values: list[ir.Value] = []
    candidate: ir.Node | None = end
    while candidate is not None and len(inside) < MOST:
        inside.append(candidate)
        for value in candidate.inputs:
            if value is not None and value not in open_values and not edit.constants.is_constant(value):
                open_values.append(value)
        if len(open_values) == 1:
            yield Region(open_values[0], list(inside))
        candidate = None
        for value in open_values:
            node = value.producer()
            if (
                node is not None and node not in inside and node.graph is end.graph and understood(node, edit)
                and not value.is_graph_output() and all(use.node in inside for use in value.uses())
            ):  # fmt: skip
                candidate = node
                open_values.remove(value)
                break
