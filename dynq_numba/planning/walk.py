"""Planning: a graph is walked node by node, in the order of a run; each node's lowering adds steps to a segment.

    node ──lowering──▶ a view, an expression, numbers that shapes are made of: nothing to do yet
                  └──▶ steps on tensors

A segment ends where Python has something to do: an operator without a kernel, numbers that decide how to go on.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import NamedTuple

import numpy as np
import onnx_ir as ir

from ..graph.constants import named
from ..graph.rewrites.base import label
from .loops import outside
from .objects import texts
from .segment import Step
from .sizes import Varying
from .state import Read, Run, Walk
from .tensor import Tensor
from .trace import Target, Trace, Unsupported, Wanted


def walk(trace: Trace) -> Read | Run | None:
    """Plan until the end of the segment; what Python does then."""
    for node in _nodes(trace):
        before, work = _place_of(trace), trace.state.work
        try:
            trace.lowerings.lower(trace, node)
        except Wanted as wanted:  # what was done so far is done again when the segment after this one is planned
            trace.state.work = (*work[:-1], replace(work[-1], at=work[-1].at - 1))
            _forget(trace, node.outputs)
            return Read(wanted.tensor, wanted.dense)
        except Unsupported as reason:
            _return_to(trace, before)
            values = *node.inputs, *outside(node, trace.weights.constants)
            return Run(node, tuple([_given(trace, value) for value in values]), str(reason))
        except Exception as error:
            raise named(node, error) from error
    trace.node = None
    return None


@contextmanager
def body(trace: Trace, node: ir.Node, targets: Sequence[tuple[ir.Value, Target]]) -> Iterator[list[Step]]:
    """Plan the body of a loop: the steps of a turn. What is planned within the context is the end of it.

    Each value of the body is written to its target. Nothing that is planned here counts outside; nor does anything at
    all if it cannot be planned: `Unsupported`.
    """
    graph, before, begin = node.attributes["body"].as_graph(), _place_of(trace), trace.clock
    held = trace.steps, trace.state.work, trace.node
    trace.steps, trace.state.work, trace.depth = [], (Walk(tuple(graph)),), trace.depth + 1
    try:
        _walk_body(trace, targets)
        yield trace.steps
    except (Unsupported, Wanted, Varying, ValueError) as error:
        where = "" if trace.node in (None, held[2]) else f" {label(trace.node)}"
        trace.steps = held[0]
        _return_to(trace, before)
        given = set(graph.inputs)
        if isinstance(error, Wanted) and any(
            each is error.tensor for value, each in trace.state.values.items() if value not in given
        ):
            raise Wanted(error.tensor, trace.dense(error.tensor)) from None
        raise Unsupported(f"its body{where}: {error}") from error
    else:
        own = set(map(id, trace.blocks[before.blocks :]))
        for tensor in [each for step in trace.steps for part in step.nested() for each in part.tensors()]:
            if id(tensor.storage) not in own:  # every turn may need it
                trace.touch(tensor, begin)
        trace.state.values.return_to(before.values)
        trace.state.memory.return_to(before.memory)
    finally:
        trace.steps, trace.state.work, trace.node = held
        trace.depth -= 1
        for value, _ in targets:
            trace.targets.pop(value, None)


def _walk_body(trace: Trace, targets: Sequence[tuple[ir.Value, Target]]) -> None:
    own = dict(reversed(targets))  # of a value that has two the first
    trace.targets.update(own)
    for node in _nodes(trace):
        trace.lowerings.lower(trace, node)
    for value, target in targets:
        tensor = trace.get(value)
        assert tensor is not None
        if own[value] is target:
            tensor = trace.memory(tensor, value)
            if value not in trace.targets:
                continue  # a step writes it there
        trace.lowerings.copy(trace, target(tensor.dtype, tensor.shape), tensor)


def _nodes(trace: Trace) -> Iterator[ir.Node]:
    """Nodes that are left and whose results are not there yet, each removed from the work before it is given."""
    state = trace.state
    while state.work:
        *below, top = state.work
        if top.at == len(top.nodes):
            state.work = tuple(below)
            for inner, outer in top.results:
                trace.give(outer, inner)
            continue
        state.work = (*below, replace(top, at=top.at + 1))
        trace.node = node = top.nodes[top.at]
        if not all(_is_there(trace, value) for value in node.outputs):
            yield node


def _is_there(trace: Trace, value: ir.Value) -> bool:
    """Whether a result is known: a constant, or computed together with another node's."""
    known = value in trace.state.values or value in trace.state.objects
    return not value.name or known or trace.weights.constants.is_constant(value)


def _given(trace: Trace, value: ir.Value | None) -> Tensor | ir.Value | np.ndarray | None:
    """What Python is given of a value."""
    state = trace.state
    if value in state.objects:
        return state.objects[value]
    if value is not None and value not in state.values and value.dtype == ir.DataType.STRING:
        return texts(trace.weights.constants.weight(value))
    tensor = trace.get(value)
    return None if tensor is None else trace.dense(tensor)


class _Place(NamedTuple):
    """How far a segment has come, for a lowering that may give up half-way."""

    steps: int
    #: Which may take post-ops yet.
    last: Step | None
    results: int
    blocks: int
    values: int
    memory: int
    made: frozenset[int]


def _forget(trace: Trace, values: Sequence[ir.Value]) -> None:
    """Nothing has been written where these are to lie: a loop gets memory for its results before its body is known."""
    trace.state.values.drop(values)
    trace.state.made -= {trace.outputs[value] for value in values if value in trace.outputs}


def _place_of(trace: Trace) -> _Place:
    steps, state = trace.steps, trace.state
    return _Place(
        len(steps), steps[-1] if steps else None, len(trace.results), len(trace.blocks), state.values.mark(),
        state.memory.mark(), state.made,
    )  # fmt: skip


def _return_to(trace: Trace, place: _Place) -> None:
    del trace.steps[place.steps :], trace.results[place.results :], trace.blocks[place.blocks :]
    if place.last is not None:
        trace.steps[-1] = place.last
    trace.state.values.return_to(place.values)
    trace.state.memory.return_to(place.memory)
    trace.state.made = place.made
