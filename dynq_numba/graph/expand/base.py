"""A node that is expanded, as those who write its body see it: which inputs and results there are, attributes, axes."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import NamedTuple

import onnx_ir as ir

from ..model import infer_shapes
from ..rewrites.base import FLOAT, Editor, NoMatch


class Operator:
    """A node whose inputs and results have the names that its text uses."""

    def __init__(self, node: ir.Node, expansion: Expansion, edit: Editor) -> None:
        self.node, self.edit = node, edit
        self._inputs, self._outputs = expansion.inputs.split(", "), expansion.outputs.split(", ")
        if len(node.inputs) > len(self._inputs) or len(node.outputs) > len(self._outputs):
            raise NoMatch("it has more inputs or results than are known here")
        self.inputs = {name: value for name, value in zip(self._inputs, node.inputs, strict=False) if value is not None}
        read = (value.uses() or value.is_graph_output() for value in node.outputs)
        self.outputs = {
            name: value for name, value, is_read in zip(self._outputs, node.outputs, read, strict=False) if is_read
        }
        self._looked_at: set[str] = set()

    def has(self, name: str) -> bool:
        """Whether an input is given."""
        assert name in self._inputs
        return name in self.inputs

    def wants(self, name: str) -> bool:
        """Whether somebody reads a result."""
        assert name in self._outputs
        return name in self.outputs

    def refuse(self, *names: str) -> None:
        """Raise `NoMatch` where one of these is given or read."""
        for name in names:
            if name in self.inputs or name in self.outputs:
                raise NoMatch(f"it has {name}")

    def integer(self, name: str, default: int = 0) -> int:
        self._looked_at.add(name)
        return self.node.attributes.get_int(name, default)

    def number(self, name: str, default: float) -> float:
        self._looked_at.add(name)
        return self.node.attributes.get_float(name, default)

    def string(self, name: str, default: str) -> str:
        self._looked_at.add(name)
        return self.node.attributes.get_string(name, default)

    def floats(self, name: str) -> list[float]:
        self._looked_at.add(name)
        return list(self.node.attributes.get_floats(name, ()))

    def integers(self, name: str) -> list[int]:
        self._looked_at.add(name)
        return list(self.node.attributes.get_ints(name, ()))

    def attribute(self, name: str) -> ir.Attr | None:
        """One that is copied."""
        self._looked_at.add(name)
        return self.node.attributes.get(name)

    def kind(self, name: str) -> ir.DataType | None:
        """The type of an input."""
        value = self.inputs[name]
        if value.dtype is None:  # what stands in front has been expanded by now
            infer_shapes(self.edit.model)
        return value.dtype

    def call(self, name: str, make: Callable[[], ir.Function]) -> None:
        """Let the body call a function of ours."""
        self.edit.function(name, make)

    def rank(self, name: str) -> int:
        """The number of axes of an input."""
        value = self.inputs[name]
        if value.shape is None:  # what stands in front has been expanded by now
            infer_shapes(self.edit.model)
        return self.edit.rank(value)

    def length(self, name: str, axis: int) -> int:
        """The length of an axis of an input, which must be known."""
        self.rank(name)
        dims = self.edit.dims(self.inputs[name])
        assert dims is not None
        if not -len(dims) <= axis < len(dims):
            raise NoMatch(f"{name} has no axis {axis}")
        found = dims[axis]
        if not isinstance(found, int):
            raise NoMatch(f"the length of axis {axis} of {name} is not known")
        return found

    def known(self, name: str, axis: int) -> int:
        """The same, 0 where it is not known or there is no such input."""
        try:
            return self.length(name, axis) if name in self.inputs else 0
        except NoMatch:
            return 0

    def check(self) -> None:
        """Raise `NoMatch` where something is asked for that the body does not do. 0 asks for nothing."""
        for name, attribute in self.node.attributes.items():
            if name not in self._looked_at and attribute.value not in (0, 0.0):
                raise NoMatch(f"its attribute {name} is not known here")
        for name, value in self.inputs.items():
            if value.dtype in (ir.DataType.FLOAT16, ir.DataType.BFLOAT16, ir.DataType.DOUBLE):
                raise NoMatch(f"{name} is {value.dtype}; expanded is {FLOAT} only")


class Expansion(NamedTuple):
    """Names of inputs and results, in the operator's order, and what writes the body for a node, in ONNX's text."""

    inputs: str
    outputs: str
    body: Callable[[Operator], str]


def in_float32(node: ir.Node, edit: Editor, name: Callable[[str], str]) -> ir.Node:
    """A node of float16 as one of float32 between casts; others as they are."""
    half = ir.DataType.FLOAT16
    if not any(value is not None and value.dtype == half for value in node.inputs):
        return node

    def cast(value: ir.Value, to: ir.DataType) -> ir.Node:
        made = ir.Node("", "Cast", [value], [ir.AttrInt64("to", to.value)], name=name("Cast"))
        made.outputs[0].name, made.outputs[0].shape = name("cast"), value.shape
        made.outputs[0].dtype = to
        return made

    before = {value: cast(value, FLOAT) for value in node.inputs if value is not None and value.dtype == half}
    inputs = [before[value].outputs[0] if value in before else value for value in node.inputs]
    wide = ir.Node(
        node.domain, node.op_type, inputs, list(node.attributes.values()), num_outputs=len(node.outputs),
        name=name(node.op_type),
    )  # fmt: skip
    results, after = [], []
    for value, made in zip(node.outputs, wide.outputs, strict=True):
        made.name, made.shape = name("wide") if value.name else "", value.shape
        made.type = ir.TensorType(FLOAT) if value.dtype == half else value.type
        if value.name and value.dtype == half:
            after.append(cast(made, half))
        results.append(after[-1].outputs[0] if value.name and value.dtype == half else made)
    edit.replace(list(node.outputs), results, [*before.values(), wide, *after], node)
    return wide


def constant(name: str, value: float | int | list[int]) -> str:
    """A line of a body."""
    if isinstance(value, list):
        return f"    {name} = Constant <value_ints: ints = [{', '.join(map(str, value))}]> ()\n"
    kind = "int" if isinstance(value, int) else "float"
    return f"    {name} = Constant <value_{kind}: {kind} = {value!r}> ()\n"


def renamed(lines: str, front: str, **names: str) -> str:
    """Lines of a body that has them twice, with other names: those given, and `front` before what the lines make."""
    made = [name.strip() for line in lines.splitlines() for name in line.partition(" = ")[0].split(",")]
    known = {name: f"{front}_{name}" for name in made if name} | names
    return re.sub(r"\b[a-z]\w*", lambda found: known.get(found[0], found[0]), lines)
