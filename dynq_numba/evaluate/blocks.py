"""Where two models differ: both graphs are cut at values that are the same in both, and what is between is compared.

    float      ─▶ a ─▶ [FloatLinear_gelu] ─▶ b ─▶ [LayerNorm] ─▶ c      a, b, c: named alike in both files, or made in
    candidate  ─▶ a ─▶ [Linear_gelu     ] ─▶ b ─▶ [LayerNorm] ─▶ c      the same way of values that are
                        a layer                   in common

Values get numbers, the same for the same operator on values of the same numbers; constants, one for each content. Nodes
that give the same value belong together, with what only one of the models computes for them; where several blocks need
that, such as columns of x that are scaled for two layers, each computes it. Both graphs then are walked block by block.
Blocks that would wait for each other become one.
"""

from __future__ import annotations

import graphlib
import hashlib
import heapq
from collections import defaultdict
from collections.abc import Collection, Hashable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import onnx_ir as ir

#: What a value is, the same in both models.
Number = Hashable
#: Of a node those that a block needs for it, itself among them.
Cones = dict[ir.Node, list[ir.Node]]


@dataclass
class Block:
    """Nodes of both models between values that both have, in the order of their graphs."""

    reference: list[ir.Node] = field(default_factory=list)
    candidate: list[ir.Node] = field(default_factory=list)
    #: Whether they compute the same.
    same: bool = False


class Numbered:
    """A graph whose values have numbers.

    Parameters
    ----------
    model : onnx_ir.Model
        As a session runs it.
    names : collection of str
        Of values that are the same in both models.
    outputs : sequence of str
        The outputs, by the names of the reference.
    """

    def __init__(self, model: ir.Model, names: Collection[str], outputs: Sequence[str]) -> None:
        self.model, self.nodes = model, list(model.graph)
        self.numbers: dict[ir.Value, Number] = {}
        #: What the results of nodes are made of.
        self.made: dict[ir.Value, Number] = {}
        for value in model.graph.inputs:
            self.numbers[value] = "input", value.name
        for value, name in zip(model.graph.outputs, outputs, strict=True):
            if value.producer() is not None:
                self.numbers[value] = "output", name
        for node in self.nodes:
            key = self._key(node, self.numbers)
            for i, value in enumerate(node.outputs):
                self.made[value] = key, i
                named = ("name", value.name) if value.name in names else self.made[value]
                self.numbers.setdefault(value, named)

    def takes(self, node: ir.Node) -> list[ir.Value]:
        """The values that a node, or a graph in it, takes of this graph's inputs and nodes."""
        return list(dict.fromkeys(value for value in reads(node) if value in self.numbers and _varies(value)))

    def number(self, value: ir.Value) -> Number:
        return self.numbers[value]

    def _key(self, node: ir.Node, numbers: dict[ir.Value, Number]) -> Number:
        attributes = tuple(sorted((name, self._attribute(each, numbers)) for name, each in node.attributes.items()))
        inputs = tuple(None if value is None else self._number(value, numbers) for value in node.inputs)
        return _digest((node.op_identifier(), attributes, inputs))

    def _number(self, value: ir.Value, numbers: dict[ir.Value, Number]) -> Number:
        if value not in numbers:
            constant = value.const_value
            numbers[value] = ("value", id(value)) if constant is None else _content(constant.numpy())
        return numbers[value]

    def _attribute(self, each: ir.Attr, numbers: dict[ir.Value, Number]) -> str:
        if each.type == ir.AttributeType.GRAPH:
            return str(self._graph(each.as_graph(), numbers))
        if each.type == ir.AttributeType.TENSOR:
            return str(_content(each.as_tensor().numpy()))
        return repr(each.value)

    def _graph(self, graph: ir.Graph, outer: dict[ir.Value, Number]) -> Number:
        own = {value: ("inner", i) for i, value in enumerate(graph.inputs)}
        numbers: dict[ir.Value, Number] = {**outer, **own}
        for node in graph:
            key = self._key(node, numbers)
            numbers.update({value: (key, i) for i, value in enumerate(node.outputs)})
        return _digest(tuple(self._number(value, numbers) for value in graph.outputs))


def blocks_of(reference: Numbered, candidate: Numbered) -> list[Block]:
    """The blocks of two models, in an order in which both can be run; neighbours that are the same are one."""
    sides = reference, candidate
    shared = set(reference.numbers.values()) & set(candidate.numbers.values())
    groups, makers = _Groups(), dict[Number, ir.Node]()
    for graph in sides:
        for node in graph.nodes:
            for value in node.outputs:
                if graph.number(value) in shared:
                    groups.join(node, makers.setdefault(graph.number(value), node))
    cones = {node: _cone(node, graph, groups) for graph in sides for node in graph.nodes if node in groups}
    for graph in sides:
        for node in filter(groups.__contains__, graph.nodes):
            for value in (value for each in cones[node] for value in graph.takes(each)):
                maker = value.producer()
                if maker is not None and maker in groups and graph.number(value) not in shared:
                    groups.join(node, maker)
    order = {node: i for graph in sides for i, node in enumerate(graph.nodes)}
    blocks = [_block(nodes, cones, sides, order) for nodes in _ordered(groups, cones, sides, order)]
    joined: list[Block] = []
    for block in blocks:
        if block.same and joined and joined[-1].same:
            last = joined[-1]
            last.reference = list(dict.fromkeys([*last.reference, *block.reference]))
            last.candidate = list(dict.fromkeys([*last.candidate, *block.candidate]))
        else:
            joined.append(block)
    return joined


def _cone(node: ir.Node, graph: Numbered, groups: _Groups) -> list[ir.Node]:
    """A node, and those before it that give nothing which both models have."""
    found, left = {node: None}, [node]
    while left:
        for value in graph.takes(left.pop()):
            maker = value.producer()
            if maker is not None and maker not in groups and maker not in found:
                found[maker] = None
                left.append(maker)
    return list(found)


class _Groups:
    """Nodes that belong together: those that give what both models have."""

    def __init__(self) -> None:
        self._above: dict[ir.Node, ir.Node] = {}

    def __contains__(self, node: ir.Node) -> bool:
        return node in self._above

    def find(self, node: ir.Node) -> ir.Node:
        path = [node]
        while self._above.setdefault(path[-1], path[-1]) is not path[-1]:
            path.append(self._above[path[-1]])
        for each in path:
            self._above[each] = path[-1]
        return path[-1]

    def join(self, a: ir.Node, b: ir.Node) -> None:
        self._above[self.find(a)] = self.find(b)

    def members(self) -> dict[ir.Node, list[ir.Node]]:
        found = defaultdict(list)
        for node in list(self._above):
            found[self.find(node)].append(node)
        return found


def _ordered(
    groups: _Groups, cones: Cones, sides: tuple[Numbered, Numbered], order: dict[ir.Node, int]
) -> Iterator[list[ir.Node]]:
    """Groups, each behind those that it takes values of; as the reference has them, otherwise."""
    while True:
        before = _before(groups, cones, sides)
        try:
            graphlib.TopologicalSorter(before).prepare()
            break
        except graphlib.CycleError as error:
            first, *others = error.args[1]
            for other in others:
                groups.join(first, other)
    members = groups.members()
    after, open_ones = defaultdict(list), {group: len(others) for group, others in before.items()}
    for group, others in before.items():
        for other in others:
            after[other].append(group)
    place = {group: min((order[node], i) for i, node in enumerate(nodes)) for group, nodes in members.items()}
    ready = [(place[group], id(group), group) for group, count in open_ones.items() if not count]
    heapq.heapify(ready)
    while ready:
        *_, group = heapq.heappop(ready)
        yield members[group]
        for each in after[group]:
            open_ones[each] -= 1
            if not open_ones[each]:
                heapq.heappush(ready, (place[each], id(each), each))


def _before(groups: _Groups, cones: Cones, sides: tuple[Numbered, Numbered]) -> dict[ir.Node, set[ir.Node]]:
    """Of each group those that it takes values of."""
    found: dict[ir.Node, set[ir.Node]] = defaultdict(set)
    for graph in sides:
        for node in filter(groups.__contains__, graph.nodes):
            own = groups.find(node)
            makers = [value.producer() for each in cones[node] for value in graph.takes(each)]
            found[own] |= {groups.find(maker) for maker in makers if maker is not None and maker in groups} - {own}
    return found


def _block(
    nodes: Sequence[ir.Node], cones: Cones, sides: tuple[Numbered, Numbered], order: dict[ir.Node, int]
) -> Block:
    found, made = [], []
    for graph in sides:
        own = {each for node in nodes if node.graph is graph.model.graph for each in cones[node]}
        found.append(sorted(own, key=order.__getitem__))
        made.append({graph.made[value] for node in own for value in node.outputs})
    return Block(found[0], found[1], made[0] == made[1])


def reads(node: ir.Node) -> Iterator[ir.Value]:
    """All values that a node takes, and that graphs in it take."""
    yield from (value for value in node.inputs if value is not None)
    for each in node.attributes.values():
        if each.type == ir.AttributeType.GRAPH:
            graph = each.as_graph()
            yield from (value for inner in graph for value in reads(inner))
            yield from graph.outputs


def _varies(value: ir.Value) -> bool:
    return value.producer() is not None or value.const_value is None


def _content(array: np.ndarray) -> Number:
    array = np.ascontiguousarray(array)
    whole = hashlib.sha256(f"{array.dtype} {array.shape}".encode())
    whole.update(repr(array.tolist()).encode() if array.dtype.hasobject else array.reshape(-1).view(np.uint8).data)
    return "constant", whole.hexdigest()


def _digest(key: Any) -> str:
    return hashlib.sha256(repr(key).encode()).hexdigest()
