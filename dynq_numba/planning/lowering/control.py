"""Branches and loops: If, Loop, Scan.

If goes on with the nodes of the branch that the run takes. The body of a loop is a program of its own, which one step
calls in every turn (kernels/program/loop.py):

    carried values    in two memories, of which one is the result's: the body reads one and writes the other
    scan inputs       views, at a place that the number of the turn says
    scan outputs      each turn writes its part of the result

Where shapes differ from turn to turn, or Python has something to do in a turn, the body is a plan of its own
(iterated.py).
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import onnx_ir as ir

from ...graph.constants import captured
from ...kernels.program import loop as kernels
from ..loops import sides_of
from ..segment import Body, Step, Word
from ..sizes import AnySize, Shape, Size, Turn, hint, largest, settled
from ..tensor import Storage, Tensor, alike, dense_strides, expect
from ..trace import Trace, Unsupported
from ..walk import body
from .base import BOOL, I64, function_of
from .copies import copy_into
from .numbers import number_tensor


def if_(trace: Trace, node: ir.Node) -> None:
    """If"""
    (condition,) = trace.ints(node, 0) or [0]
    trace.enter(node.attributes["then_branch" if condition else "else_branch"].as_graph(), node)


def loop(trace: Trace, node: ir.Node) -> None:
    """Loop"""
    limit, go = (trace.optional(node, i) for i in range(2))
    turns: AnySize = kernels.MOST_TURNS + 1
    if limit is not None:
        turns = largest(trace.numbers(limit).reshape(-1)[0], 0)
    if go is not None:
        turns = turns * trace.numbers(go).reshape(-1)[0]
    plan = _Loop(trace, node, turns)
    inputs, outputs = plan.graph.inputs, plan.graph.outputs
    for value, known, dtype in zip(inputs, (plan.number, 1), (I64, BOOL), strict=False):
        contents = np.empty((1,) * len(value.shape or ()), object)
        contents[...] = known
        trace.set(value, number_tensor(contents, dtype))
    firsts = [trace.input(node, i) for i in range(2, len(node.inputs))]
    plan.add(inputs[2:], firsts, outputs[1:], [(0, 0)] * (len(outputs) - 1 - len(firsts)), outputs[0])


def scan(trace: Trace, node: ir.Node) -> None:
    """Scan"""
    count = node.attributes.get_int("num_scan_inputs", 0)
    states = len(node.inputs) - count
    sides = sides_of(node, "input", count)
    plan = _Loop(trace, node, trace.input(node, states).shape[sides[0][0]])
    inputs, outputs = plan.graph.inputs, plan.graph.outputs
    for i, (axis, backwards) in enumerate(sides, states):
        tensor = trace.memory(trace.input(node, i))
        expect(tensor.shape[axis], plan.turns, "lengths of what Scan goes through")
        trace.set(inputs[i], _part(tensor, axis % tensor.rank, plan.place(backwards)))
    firsts = [trace.input(node, i) for i in range(states)]
    plan.add(inputs, firsts, outputs, sides_of(node, "output", len(outputs) - states), None)


class _Loop:
    """A loop that is planned."""

    def __init__(self, trace: Trace, node: ir.Node, turns: AnySize) -> None:
        if node in trace.apart:
            raise Unsupported("turns differ in more than their numbers")
        self.trace, self.node, self.turns = trace, node, turns
        self.graph, self.turn = node.attributes["body"].as_graph(), Turn(trace.depth + 1)
        self.number = trace.sizes.variable(0, self.turn)

    def place(self, backwards: int) -> AnySize:
        """Of a turn, on an axis that the loop goes through."""
        return self.turns - self.number - 1 if backwards else self.number

    def add(
        self,
        given: Sequence[ir.Value],
        firsts: Sequence[Tensor],
        made: Sequence[ir.Value],
        sides: Sequence[tuple[int, int]],
        condition: ir.Value | None,
    ) -> None:
        """Add the step. Of the body's inputs `given` and outputs `made` the first are what turns pass on.

        That begins as `firsts`. The other outputs are gathered, on `sides`.
        """
        trace, begin, states = self.trace, self.trace.clock, len(firsts)
        results = [*self.node.outputs, *[None] * len(made)]
        for value in captured(self.node):  # computed before the loop, not in every turn
            tensor = trace.state.values.get(value)
            if tensor is not None and tensor.storage is None and tensor.contents is None:
                trace.memory(tensor, value)
        kept: list[tuple[ir.Value | None, Tensor]] = []
        carried: list[_Carried] = []
        targets: list[tuple[ir.Value, _Carried | _Gathered]] = []
        for value, out, result, first in zip(given, made, results, firsts, strict=False):
            if _origin(out) is value:  # every turn passes it on as it is
                trace.set(value, first)
                kept.append((result, first))
            else:
                carried.append(_Carried(trace, self.turn, result, first))
                targets.append((out, carried[-1]))
                trace.set(value, carried[-1].now)
        for out, result, (axis, backwards) in zip(made[states:], results[states:], sides, strict=False):
            targets.append((out, _Gathered(trace, result, axis, self.turns, self.place(backwards))))
        steps, goes_on = self._body(targets, condition)
        turn = Body(self.node, self.turn, steps)
        fields: dict[str, Word] = {
            "table": trace.sizes.table, "records": trace.sizes.records, "body": turn.words, "turns": self.turns,
            "condition": goes_on, "number": self.number.index, "carried": len(carried),
        }  # fmt: skip
        words = [fields[name] for name in kernels.Loop.kinds]
        for each in carried:
            words += each.words()
        trace.step("loop", function_of(kernels.loop), words, body=turn, errors=_errors(steps))
        for _, target in targets:
            kept.append((target.value, target.result))
            for tensor in target.memory():
                trace.touch(tensor, begin)
        for result, tensor in kept:
            if result is not None:
                trace.set(result, tensor)

    def _body(
        self, targets: Sequence[tuple[ir.Value, _Carried | _Gathered]], condition: ir.Value | None
    ) -> tuple[list[Step], Tensor | None]:
        """The steps of a turn, and where it says whether there is another one."""
        trace = self.trace
        try:
            with body(trace, self.node, targets) as steps:
                goes_on = None if condition is None else trace.get(condition)
                if goes_on is None or _is_true(goes_on):
                    return steps, None
                if any(isinstance(target, _Gathered) for _, target in targets):
                    raise Unsupported("it may end early, and gathers results")
                written = trace.block(goes_on.dtype, goes_on.shape)
                copy_into(trace, written, goes_on)
                return steps, written
        except Unsupported:
            if hint(self.turns) < 1:  # the plan is for runs without a turn only
                bool(self.turns < 1)
            raise


class _Carried:
    """A value that each turn takes from the one before. Called, it says where a turn writes it."""

    def __init__(self, trace: Trace, turn: Turn, value: ir.Value | None, first: Tensor) -> None:
        self.value, self.first = value, trace.dense(first)
        dtype, shape = first.dtype, self.first.shape
        self.result = _memory(trace, value, dtype, shape)
        self.spare = trace.block(dtype, shape)
        self.now, self.next = (
            Tensor(dtype, shape, Storage(trace.sizes.variable(0, turn), 0), 0, dense_strides(shape, dtype.itemsize))
            for _ in range(2)
        )

    def __call__(self, dtype: np.dtype, shape: Shape) -> Tensor:
        if dtype != self.next.dtype or not alike(shape, self.next.shape):
            raise Unsupported("what a turn passes on has another shape or type")
        return self.next

    def words(self) -> list[Word]:
        """Of the record kernels.Carried."""
        places = [each.storage.base.index for each in (self.now, self.next) if each.storage is not None]
        return [*places, self.first, self.result, self.spare, self.first.size * self.first.itemsize]

    def memory(self) -> list[Tensor]:
        """What turns write to."""
        return [self.result, self.spare]


class _Gathered:
    """Results of all turns along an axis. Called, it says where a turn writes its part."""

    def __init__(self, trace: Trace, value: ir.Value | None, axis: int, turns: AnySize, place: AnySize) -> None:
        self.value, self._trace, self._axis, self._turns, self._place = value, trace, axis, turns, place
        self._whole: Tensor | None = None

    def __call__(self, dtype: np.dtype, shape: Shape) -> Tensor:
        axis = self._axis % (len(shape) + 1)
        if self._whole is None:
            shape = tuple(map(settled, shape))
            self._whole = _memory(self._trace, self.value, dtype, (*shape[:axis], self._turns, *shape[axis:]))
        return _part(self._whole, axis, self._place)

    @property
    def result(self) -> Tensor:
        assert self._whole is not None
        return self._whole

    def memory(self) -> list[Tensor]:
        """What turns write to."""
        return [self.result]


def _memory(trace: Trace, value: ir.Value | None, dtype: np.dtype, shape: Shape) -> Tensor:
    return trace.block(dtype, shape) if value is None else trace.result(value, dtype, shape)


def _part(tensor: Tensor, axis: int, place: AnySize) -> Tensor:
    """What lies at a place of an axis."""
    left, step = [i for i in range(tensor.rank) if i != axis], tensor.strides[axis]
    return tensor.view(
        tuple(tensor.shape[i] for i in left), tuple(tensor.strides[i] for i in left),
        place * step if isinstance(place, Size) else step * place,
    )  # fmt: skip


def _origin(value: ir.Value) -> ir.Value:
    """What a value is that nodes only pass on."""
    node = value.producer()
    while node is not None and node.op_type == "Identity" and node.domain == "" and node.inputs[0] is not None:
        value = node.inputs[0]
        node = value.producer()
    return value


def _is_true(tensor: Tensor) -> bool:
    """Whether it is known to be true in every turn."""
    numbers = [] if tensor.contents is None else tensor.contents.reshape(-1).tolist()
    return bool(numbers) and all(isinstance(each, int) and each != 0 for each in numbers)


def _errors(steps: Sequence[Step]) -> dict[int, str]:
    """What statuses of a body's steps mean."""
    found: dict[int, list[str]] = {}
    for step in steps:
        for status, what in step.errors.items():
            found.setdefault(status, []).append(f"{', '.join(step.nodes)}: {what}")
    return {status: "; or ".join(each) for status, each in found.items()}


LOWERINGS = {"If": if_, "Loop": loop, "Scan": scan}
