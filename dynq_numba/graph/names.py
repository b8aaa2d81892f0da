"""All nodes of a model, and names that nothing in it has yet."""

from __future__ import annotations

from collections.abc import Iterator

import onnx_ir as ir


def nodes(model: ir.Model) -> Iterator[ir.Node]:
    """All nodes, those of subgraphs too."""
    return iter(ir.traversal.RecursiveGraphIterator(model.graph))


class Names:
    """The names of all values and nodes of a model, in all scopes."""

    def __init__(self, model: ir.Model) -> None:
        taken = {node.name for node in nodes(model)}
        for graph in model.graphs():
            taken |= {value.name for value in (*graph.inputs, *graph.initializers.values())}
            taken |= {value.name for node in graph for value in node.outputs}
        self._taken = {name for name in taken if name}

    def unused(self, name: str) -> str:
        """The name, or one made from it that nothing in the model has; from now on it is taken."""
        candidate, count = name, 1
        while candidate in self._taken:
            count += 1
            candidate = f"{name}_{count}"
        self._taken.add(candidate)
        return candidate
