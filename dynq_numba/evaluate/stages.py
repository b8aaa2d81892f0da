"""Two models as stages that run one after another: where they differ, a stage has two forms.

    common ─▶ layer 1 ─▶ common ─▶ layer 2 ─▶ common          any mixture of forms runs, and nothing is planned anew
              float                float                      but what has not run before
              integers             integers
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx_ir as ir

from ..graph.functions import parse
from ..graph.rewrites.products.post_ops import without_post_ops
from ..planning.interpreted import Interpreted
from ..planning.lowering import KERNELS
from ..planning.plan import Plan
from ..runtime.backend import choose
from .blocks import Block, Number, Numbered, blocks_of, reads

#: Values of a run, by what they are.
Values = dict[Number, Any]


class Program:
    """Nodes of a model, from values to values.

    Parameters
    ----------
    graph : Numbered
    nodes : sequence of onnx_ir.Node
    outputs : sequence of onnx_ir.Value
    functions : sequence of onnx_ir.Function
        That nodes call, beside the model's.
    threads : int
        The most that a run uses; 0 chooses.
    """

    def __init__(
        self, graph: Numbered, nodes: Sequence[ir.Node], outputs: Sequence[ir.Value],
        functions: Sequence[ir.Function] = (), threads: int = 0,
    ) -> None:  # fmt: skip
        made = {value for node in nodes for value in node.outputs}
        taken = dict.fromkeys(value for node in nodes for value in graph.takes(node) if value not in made)
        self.inputs = [graph.number(value) for value in taken]
        self.outputs = [graph.number(value) for value in outputs]
        constants = dict.fromkeys(value for node in nodes for value in reads(node) if value.is_initializer())
        view = ir.GraphView(list(taken), list(outputs), nodes=nodes, initializers=list(constants), name="stage",
                            opset_imports=graph.model.graph.opset_imports)  # fmt: skip
        known = [*graph.model.functions.values(), *functions]
        model = ir.Model(view.clone(), ir_version=graph.model.ir_version, functions=known)
        self._plan: Any = choose(Plan, Interpreted)(model, KERNELS, threads)

    def run(self, values: Values) -> Values:
        """The outputs, of values among which the inputs are."""
        feeds = tuple(_dense(values[each]) for each in self.inputs)
        return dict(zip(self.outputs, self._plan.run(feeds, {}), strict=True))


@dataclass
class Stage:
    """A part of both models."""

    block: Block
    reference: Program
    #: The same where there is no difference.
    candidate: Program
    #: Values that no later stage takes.
    last: tuple[Number, ...] = ()

    @property
    def differs(self) -> bool:
        return not self.block.same


def stages_of(reference: Numbered, candidate: Numbered, threads: int = 0) -> list[Stage]:
    """Both models as stages."""
    blocks = blocks_of(reference, candidate)
    sides = (reference, candidate)
    needed = [_needed(graph, side) for graph, side in
              zip(sides, ([b.reference for b in blocks], [b.candidate for b in blocks]), strict=True)]  # fmt: skip
    wanted = needed[0] | needed[1]  # what one side alone takes further on, the other has to give, too
    stages = []
    for block in blocks:
        programs = [
            _program(graph, nodes, wanted, threads)
            for graph, nodes in zip(sides, (block.reference, block.candidate), strict=True)
            if graph is reference or not block.same
        ]
        stages.append(Stage(block, programs[0], programs[-1]))
    kept: set[Number] = {("output", value[1]) for value in reference.numbers.values()
                         if isinstance(value, tuple) and value[0] == "output"}  # fmt: skip
    for stage in reversed(stages):
        used = {*stage.reference.inputs, *stage.candidate.inputs}
        stage.last = tuple(used - kept)
        kept |= used
    return stages


def run(stages: Iterable[Stage], values: Values, *, candidate: bool) -> Values:
    """Run stages in one form; the values that are left, results among them."""
    values = dict(values)
    for stage in stages:
        values |= (stage.candidate if candidate else stage.reference).run(values)
        for each in stage.last:
            values.pop(each, None)
    return values


def bare(stage: Stage, reference: Numbered, candidate: Numbered, threads: int = 0) -> tuple[Program, Program] | None:
    """Both forms of a layer without the activation and the residual that are fused with it; None if there are none."""
    programs = []
    for graph, nodes in ((reference, stage.block.reference), (candidate, stage.block.candidate)):
        name = parse(nodes[0].op_type) if len(nodes) == 1 else None
        if name is None or (name.activation is None and not name.residual) or len(nodes[0].outputs) > 1:
            return None
        node, function = nodes[0], graph.model.functions[nodes[0].op_identifier()]
        inputs = node.inputs[: len(node.inputs) - name.residual]
        made = ir.Node(node.domain, name.base, inputs, node.attributes.values(), name=node.name, num_outputs=1)
        made.outputs[0].name, made.outputs[0].type = node.outputs[0].name, node.outputs[0].type
        graph.numbers[made.outputs[0]] = "bare", node.outputs[0].name
        try:
            programs.append(Program(graph, [made], made.outputs, [without_post_ops(function)], threads))
        finally:
            for i in range(len(inputs)):
                made.replace_input_with(i, None)
    return programs[0], programs[1]


def _program(graph: Numbered, nodes: Sequence[ir.Node], wanted: set[Number], threads: int) -> Program:
    outputs: dict[Number, ir.Value] = {}
    for node in nodes:
        for value in node.outputs:
            if graph.number(value) in wanted:
                outputs.setdefault(graph.number(value), value)
    return Program(graph, nodes, list(outputs.values()), threads=threads)


def _needed(graph: Numbered, blocks: Sequence[Sequence[ir.Node]]) -> set[Number]:
    """What blocks take of others, and the results of the model."""
    found = {graph.number(value) for value in graph.model.graph.outputs if value in graph.numbers}
    for nodes in map(set, blocks):
        taken = (value for node in nodes for value in graph.takes(node))
        found |= {graph.number(value) for value in taken if value.producer() not in nodes}
    return found


def _dense(value: Any) -> Any:
    return np.require(value, requirements=["C", "A"]) if isinstance(value, np.ndarray) else value
