"""What a rewrite is, and what it works with: the model being rewritten, its constants, shapes and names."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx_ir as ir

from ..constants import Constants
from ..model import DOMAIN, SMALL_BYTES, VERSION
from ..names import Names

#: Of a dimension: its number, the symbol that the model's author gave it, or None where nothing is known.
Dimension = int | str | None
FLOAT = ir.DataType.FLOAT
#: The key, in a node's metadata, of the names of the nodes that it stands for.
FUSED = "dynq.fused"
#: The key of what a node computes otherwise than the file says it.
DIFFERS = "dynq.differs"


class NoMatch(Exception):
    """Why a rewrite leaves a node as it is. The message is for the user; it is empty where nobody would ask."""


@dataclass(frozen=True)
class Note:
    """What a rewrite made of a node.

    Attributes
    ----------
    rewrite, node : str
    reason : str
        Why the node was left; "" where the rewrite matched.
    result : str
        What it became.
    nodes : tuple of str
        All nodes that this stands for.
    """

    rewrite: str
    node: str
    reason: str = ""
    result: str = ""
    nodes: tuple[str, ...] = ()


class Rewrite(ABC):
    """One file of this folder each, and a row in ``__init__``."""

    #: In one or two words, for notes.
    name: str
    #: The nodes that it looks at, as "Operator", or "dynq.Function" of our own.
    anchors: tuple[str, ...]

    @abstractmethod
    def rewrite(self, node: ir.Node, edit: Editor) -> str:
        """Put something better in the place of the node, and tell what; raises `NoMatch`."""


def identifier(node: ir.Node) -> str:
    """Its operator: "Add" of ONNX, "dynq.Silu" of ours."""
    return node.op_type if node.domain in ("", "ai.onnx") else f"{node.domain}.{node.op_type}"


def label(node: ir.Node) -> str:
    """What to call a node: its name, else that of its first result."""
    return node.name or next((value.name for value in node.outputs if value.name), "") or node.op_type


def fused_from(node: ir.Node) -> list[str]:
    """Names of the nodes of the source that a node stands for: its own, where it is one."""
    names = node.metadata_props.get(FUSED)
    return [label(node)] if names is None else names.split("\n")


class Editor:
    """A model that is being rewritten, in place."""

    def __init__(self, model: ir.Model) -> None:
        self.model = model
        self.opset = model.opset_imports[""]
        self.constants = Constants(model)
        self.names = Names(model)
        #: Names of the nodes that were replaced since somebody emptied it.
        self.replaced: list[str] = []
        #: What rewrites have found out, for other nodes.
        self.known: dict[Any, Any] = {}
        self._stored: dict[Any, ir.Value] = {}

    # -- looking --------------------------------------------------------------------------------
    def array(self, value: ir.Value | None) -> np.ndarray | None:
        """The array of a constant value, or None."""
        return self.constants.array(value)

    def scalar(self, value: ir.Value | None) -> float | None:
        """The number that a constant of one element is, or None."""
        if value is None or not self.constants.is_constant(value) or (value.shape and _size(value) not in (1, None)):
            return None
        array = self.constants.weight(value)
        return float(array.reshape(())) if array.size == 1 else None

    def dims(self, value: ir.Value) -> tuple[Dimension, ...] | None:
        """The dimensions as far as they are known, or None where not even their number is."""
        if value.shape is None:
            return None
        return tuple(_dimension(each) for each in value.shape)

    def rank(self, value: ir.Value) -> int:
        """The number of dimensions; raises `NoMatch` where it is not known."""
        if value.shape is None:
            raise NoMatch(f"the rank of {value.name} is not known")
        return len(value.shape)

    def may_equal(self, a: ir.Value, b: ir.Value) -> bool:
        """Whether two shapes may be the same: not where ranks, numbers or symbols are known to differ."""
        one, two = self.dims(a), self.dims(b)
        if one is None or two is None:
            return True
        return len(one) == len(two) and all(map(_may_equal, one, two))

    def check_float(self, value: ir.Value) -> None:
        """Raises `NoMatch` where a value is not float32."""
        if value.dtype != FLOAT:
            raise NoMatch(f"{value.name} is {value.dtype or 'of unknown type'}; our kernels compute in FLOAT")

    def only_user(self, value: ir.Value) -> ir.Node | None:
        """The node of the same graph that alone takes a value, or None."""
        uses, producer = list(value.uses()), value.producer()
        if len(uses) != 1 or value.is_graph_output():
            return None
        return uses[0].node if producer is None or uses[0].node.graph is producer.graph else None

    def maker(self, value: ir.Value | None, *identifiers: str) -> ir.Node | None:
        """The node that gives a value, if it is one of these operators."""
        node = None if value is None else value.producer()
        return node if node is not None and identifier(node) in identifiers else None

    def operand(self, node: ir.Node) -> tuple[ir.Value, ir.Value] | None:
        """Of a node of two inputs the one that varies, and the one that is constant; None if there is not one each."""
        if len(node.inputs) != 2:
            return None
        a, b = node.inputs
        assert a is not None and b is not None
        fixed = [self.constants.is_constant(each) for each in (a, b)]
        return None if fixed[0] == fixed[1] else (b, a) if fixed[0] else (a, b)

    # -- changing -------------------------------------------------------------------------------
    def constant(self, name: str, array: np.ndarray | np.floating) -> ir.Value:
        """An initializer. Small ones of the same content are one; a large one may be a view of another's memory."""
        content = None
        if array.nbytes <= SMALL_BYTES:
            content = (array.dtype, array.shape, array.tobytes())
            if content in self._stored:
                return self._stored[content]
        tensor = ir.Tensor(np.asarray(array), name=self.names.unused(name))
        shape = ir.Shape(array.shape)
        value = ir.Value(name=tensor.name, shape=shape, type=ir.TensorType(tensor.dtype), const_value=tensor)
        self.model.graph.register_initializer(value)
        if content is not None:
            self._stored[content] = value
        return value

    def node(
        self, op_type: str, inputs: Sequence[ir.Value | None], attributes: dict[str, Any] | None = None,
        like: ir.Value | None = None,
    ) -> ir.Node:
        """A node of ONNX, not yet in a graph, whose name is made from that of a value it has to do with."""
        base = next((each.name for each in (like, *inputs) if each is not None and each.name), op_type)
        made = ir.node(op_type, inputs, attributes, name=self.names.unused(f"{base}.{op_type}"))
        made.outputs[0].name = self.names.unused(f"{base}.{op_type}.y")
        if like is not None and like.dtype is not None:
            made.outputs[0].dtype = like.dtype
        return made

    def call(
        self, name: str, make: Callable[[], ir.Function], inputs: Sequence[ir.Value | None], like: ir.Node
    ) -> ir.Node:
        """A call of a function of ours, not yet in a graph, with the name and notes of the node it stands for.

        The function is made where the model has none of that name yet.
        """
        function = self.function(name, make)
        made = ir.Node(
            DOMAIN, name, inputs, num_outputs=len(function.outputs), name=like.name,
            doc_string=like.doc_string, metadata_props=dict(like.metadata_props),
        )  # fmt: skip
        for i, value in enumerate(made.outputs):
            value.name = self.names.unused(f"{like.name or name}.{function.outputs[i].name}")
            value.dtype = FLOAT
        return made

    def function(self, name: str, make: Callable[[], ir.Function]) -> ir.Function:
        """The function of ours, made where the model has none of that name yet."""
        function = self.model.functions.get((DOMAIN, name, ""))
        if function is None:
            function = make()
            assert function.name == name
            function.opset_imports[""] = self.opset
            self.model.functions[function.identifier()] = function
            self.model.opset_imports[DOMAIN] = VERSION
        return function

    def replace(
        self, old: Sequence[ir.Value], new: Sequence[ir.Value], nodes: Sequence[ir.Node], before: ir.Node
    ) -> None:
        """Insert nodes, let their values stand for the old ones, and drop what nothing uses any longer.

        They tell in their metadata which they stand for.
        """
        graph = before.graph
        assert graph is not None
        graph.insert_before(before, nodes)
        for was, now in zip(old, new, strict=True):
            if now.producer() in nodes:  # else it keeps its own name
                now.name, now.type = was.name, was.type or now.type
                now.shape = now.shape if was.shape is None else was.shape  # that of a scalar is false
        ir.convenience.replace_all_uses_with(old, new, replace_graph_outputs=True)
        dropped = [node for value in old for node in self.drop(value.producer())]
        names = list(dict.fromkeys(name for node in reversed(dropped) for name in fused_from(node)))
        self.replaced += names
        for node in nodes:
            node.metadata_props[FUSED] = "\n".join(names)

    def drop(self, node: ir.Node | None) -> list[ir.Node]:
        """Remove a node that nothing uses, and those that only it used; these, last ones first."""
        pending, dropped = [node], []
        while pending:
            node = pending.pop()
            if node is None or node.graph is None:
                continue
            if any(value.is_graph_output() or value.uses() for value in node.outputs):
                continue
            pending += [value.producer() for value in node.inputs if value is not None]
            node.graph.remove(node, safe=True)
            dropped.append(node)
        return dropped


def apply(rewrites: Sequence[Rewrite], edit: Editor) -> list[Note]:
    """One rewrite after the other, of all nodes; gives what became of each that it looked at."""
    notes, graphs = [], list(edit.model.graphs())
    for rewrite in rewrites:
        for node in [node for graph in graphs for node in graph]:
            if node.graph is None or identifier(node) not in rewrite.anchors:
                continue
            name = label(node)
            edit.replaced.clear()
            try:
                result = rewrite.rewrite(node, edit)
                notes.append(Note(rewrite.name, name, result=result, nodes=tuple(edit.replaced)))
            except NoMatch as why:
                if str(why):
                    notes.append(Note(rewrite.name, name, str(why)))
    return notes


def _size(value: ir.Value) -> int | None:
    shape = value.shape
    return None if shape is None or shape.is_dynamic() else int(np.prod(shape.numpy()))


def _dimension(given: Any) -> Dimension:
    if isinstance(given, int):
        return given
    name = getattr(given, "value", None)
    return None if name is None or str(name).startswith("unk__") else str(name)


def _may_equal(a: Dimension, b: Dimension) -> bool:
    if a is None or b is None or a == b:
        return True
    return isinstance(a, int) != isinstance(b, int) and 1 not in (a, b)  # one broadcasts, whatever the other is
