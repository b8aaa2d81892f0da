"""Regions of several inputs: nodes between some values and one that depends on nothing else, computed on numbers.

As regions.py, for what has more than rows of one value: onnx.reference computes the nodes on small random arrays, and
the result is compared with a function. Integers are 0 and 1, as those of masks.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator

import numpy as np
import onnx_ir as ir

from ..base import Dimension, Editor, NoMatch, identifier
from .shapes import parts

#: Nodes that a region may have.
MOST = 28
#: Axes that a value may have.
AXES = 5
#: Lengths for axes that vary: no two are the same, nor one that is known to be the length of another axis.
_LENGTHS = (2, 3, 5, 7, 11, 13, 17, 19)
#: Of float64 arithmetic, on numbers about 1.
TOLERANCE = 1e-12


def regions_of(
    end: ir.Node, count: int, understood: Collection[str], edit: Editor
) -> Iterator[tuple[list[ir.Value], list[ir.Node]]]:
    """Nodes of these operators that end there and take so many values; small ones first; nothing outside uses one."""
    inside: list[ir.Node] = []
    values: list[ir.Value] = []
    candidate: ir.Node | None = end
    while candidate is not None and len(inside) < MOST:
        inside.append(candidate)
        values += [
            each for each in candidate.inputs if each is not None and each not in values and not _is_small(each, edit)
        ]
        values = [value for value in values if value.producer() not in inside]
        found = list(filter(None, (_absorbed(value, inside, end, understood, edit) for value in values)))
        candidate = min(found, key=lambda node: node.op_type == "Unsqueeze", default=None)  # others are tried before
        if len(values) == count:
            yield list(values), list(inside)


def _is_small(value: ir.Value, edit: Editor) -> bool:
    """Constants that are no tables, and computed shapes."""
    if not edit.constants.is_constant(value):
        return value.dtype == ir.DataType.INT64 and parts(value, edit) is not None
    array = edit.constants.weight(value)
    return array.dtype.kind != "f" or array.size == 1


def _absorbed(
    value: ir.Value, inside: list[ir.Node], end: ir.Node, understood: Collection[str], edit: Editor
) -> ir.Node | None:
    """The node that gives a value, if only nodes inside use its results."""
    node = value.producer()
    if node is None or node in inside or node.graph is not end.graph or identifier(node) not in understood:
        return None
    if edit.constants.is_constant(value) or any(each.is_graph_output() for each in node.outputs):
        return None
    return node if all(use.node in inside for each in node.outputs for use in each.uses()) else None


class Numbers:
    """Random arrays, float64 or of integers, for values of a graph.

    An axis of which nothing is known is long in `main`. In the others it has length 1, or (`full`) that of the axis of
    `main` that it meets by broadcasting: what is right in both cases does not depend on where the axis stands.
    """

    def __init__(self, main: ir.Value, values: list[ir.Value], edit: Editor, *, full: bool = False) -> None:
        self.edit, self.main, self._full = edit, main, full
        self.arrays: dict[ir.Value, np.ndarray] = {}
        self._known: dict[str, int] = {}
        fixed = {dim for value in values for dim in edit.dims(value) or () if isinstance(dim, int)}
        self._free = [length for length in _LENGTHS if length not in fixed]
        rng = np.random.default_rng(0)
        for value in values:
            dims = edit.dims(value)
            if not dims or len(dims) > AXES or value.dtype is None:
                raise NoMatch("")
            lengths = [self._length(value, axis, dim) for axis, dim in enumerate(dims)]
            kind = value.dtype.numpy()
            array = rng.standard_normal(lengths) if kind.kind == "f" else rng.integers(0, 2, lengths).astype(kind)
            self.arrays[value] = array

    def _length(self, value: ir.Value, axis: int, dim: Dimension) -> int:
        if isinstance(dim, int):
            return dim
        if dim is None and value is not self.main:
            ours, theirs = (self.edit.dims(each) or () for each in (self.main, value))
            axis += len(ours) - len(theirs)
            return self._length(self.main, axis, ours[axis]) if self._full and axis >= 0 else 1
        symbol = f" {axis}" if dim is None else dim
        if symbol not in self._known and len(self._known) == len(self._free):
            raise NoMatch("")
        return self._known.setdefault(symbol, self._free[len(self._known)])

    def _constant(self, value: ir.Value) -> np.ndarray | None:
        """What a region reads from outside: a constant, or a shape."""
        if self.edit.constants.is_constant(value):
            array = self.edit.constants.weight(value)
            return array.astype(np.float64) if array.dtype.kind == "f" else array
        lengths: list[int] = []
        for part in parts(value, self.edit) or ():
            if not isinstance(part, int):
                source, axis = part
                dim = (self.edit.dims(source) or ())[axis]
                if source in self.arrays:
                    part = self.arrays[source].shape[axis]
                elif isinstance(dim, str) and dim in self._known:
                    part = self._known[dim]
                elif isinstance(dim, int):
                    part = dim
                else:
                    return None
            lengths.append(part)
        return np.array(lengths, np.int64).reshape(() if value.shape is not None and len(value.shape) == 0 else -1)

    def compute(self, nodes: list[ir.Node]) -> np.ndarray | None:
        """What the first of the nodes gives; None where they cannot be computed on arrays of these lengths."""
        known, graph = dict(self.arrays), nodes[0].graph
        for node in [each for each in (graph or ()) if each in nodes]:
            given = [
                None if each is None else known[each] if each in known else self._constant(each)
                for each in node.inputs
            ]
            if any(array is None and each is not None for array, each in zip(given, node.inputs, strict=True)):
                return None
            try:
                results = self.edit.constants.folded(node, given)
                wide = [each.astype(np.float64) if each.dtype == np.float32 else each for each in results]  # of Cast
                known.update(zip(node.outputs, wide, strict=False))
            except ValueError:  # of onnx.reference
                return None
        return known[nodes[0].outputs[0]]
