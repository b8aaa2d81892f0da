"""Who reads which values of a graph."""

from __future__ import annotations

from collections.abc import Iterator

import onnx_ir as ir

from ..graph.constants import graphs_of


def reads(node: ir.Node) -> Iterator[ir.Value]:
    """Values that a node and its branches read."""
    yield from (each for each in node.inputs if each is not None)
    for graph in graphs_of(node):
        for inner in graph:
            yield from reads(inner)
        yield from graph.outputs


def count_uses(graph: ir.Graph) -> dict[ir.Value, int]:
    """How many nodes read each value, those of branches included."""
    uses: dict[ir.Value, int] = {}
    for node in graph:
        for value in reads(node):
            uses[value] = uses.get(value, 0) + 1
    return uses
