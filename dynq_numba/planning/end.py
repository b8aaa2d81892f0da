"""How a segment ends: its results lie where callers get them; what later segments need is kept."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import onnx_ir as ir

from .segment import Given, Segment, assemble
from .state import Read, Run
from .tensor import FOREVER, Tensor
from .trace import Trace
from .undo import Tensors, Values


def segment_of(
    trace: Trace, key: tuple, shapes: Sequence[tuple[int, tuple[int, ...]]], given: Given, tail: Read | Run | None
) -> Segment:
    """What was planned, ready to run on arrays like `key` and `shapes`; in the end Python does what `tail` says."""
    if tail is None:
        _finish(trace)
    else:
        _keep(trace)
        held = (tail.dense,) if isinstance(tail, Read) else tail.inputs
        for each in held:
            if isinstance(each, Tensor):
                _hold(each)
    results = [(each.base.index, 0, each.cache.axis if each.cache else -1) for each in trace.results]
    words, records, total, kept = assemble(trace.sizes, trace.steps, trace.blocks, given, results)
    after = None if tail is None else replace(trace.state, known=trace.sizes.known())
    constants, table_words = list(trace.sizes.constants), trace.sizes.count
    return Segment(
        key, shapes, table_words, trace.steps, trace.results, trace.arena, total, constants, words, records, kept,
        tail, after, objects=[] if tail is not None else _objects(trace),
    )  # fmt: skip


def _finish(trace: Trace) -> None:
    """Results that lie elsewhere are copied to where callers get them, or their block becomes that place."""
    state = trace.state
    for value, position in trace.outputs.items():
        if position not in state.made and value not in state.objects:
            tensor = trace.get(value)
            assert tensor is not None
            tensor = trace.memory(tensor, value)
            if position not in state.made:
                output, held = trace.output(value, tensor.dtype, tensor.shape), tensor.storage
                assert output.storage is not None
                if held in trace.blocks and tensor.is_dense() and held.nbytes == output.storage.nbytes:
                    trace.blocks.remove(held)
                    held.base, held.is_block = output.storage.base, False
                else:
                    trace.lowerings.copy(trace, output, tensor)


def _objects(trace: Trace) -> list[tuple[int, ir.Value]]:
    """Results of the model that are objects."""
    objects = trace.state.objects
    return [(position, objects[value]) for value, position in trace.outputs.items() if value in objects]


def _keep(trace: Trace) -> None:
    """Blocks that later segments read live on; values that nobody reads any more are forgotten."""
    state = trace.state
    results = {inner for walk in state.work for inner, _ in walk.results} | trace.outputs.keys()
    for walk in state.work:  # of the node that wanted to know how many there are
        results.update(*map(trace.weights.room_of, walk.nodes[walk.at : walk.at + 1]))
    there = state.memory
    state.values = Values(
        {
            value: replace(there[tensor], contents=tensor.contents) if tensor in there else tensor
            for value, tensor in state.values.items()
            if value in results or any(walk.reads(value) for walk in state.work)
        }
    )
    state.memory = Tensors()
    for tensor in state.values.values():
        _hold(tensor)


def _hold(tensor: Tensor) -> None:
    """Let what a tensor is read from live until the end of the run."""
    if tensor.storage is not None:
        tensor.storage.touch(FOREVER)
    if tensor.expression is not None:
        for operand in tensor.expression.operands:
            _hold(operand)
