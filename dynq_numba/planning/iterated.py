"""Loops that Python runs: a plan for the body, and a run of it in every turn.

    carried values ─▶ plan of the body ─▶ carried values of the next turn
                            └──▶ one part of each scan output, put together when the loop is over

So shapes may change from turn to turn, and bodies may have nodes without a kernel, or end early.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import onnx_ir as ir

from .loops import sides_of

if TYPE_CHECKING:
    from .plan import Plan

#: Arrays, and objects among them.
Arrays = list[Any]


class Iterated:
    """Computes a Loop or Scan.

    Parameters
    ----------
    node : ir.Node
    new_plan : function () -> Plan
        Makes a plan for the body; what that reads of outside follows its own inputs.
    """

    def __init__(self, node: ir.Node, new_plan: Callable[[], Plan]) -> None:
        self._node, self._new_plan = node, new_plan
        self._graph = node.attributes["body"].as_graph()
        self.plan = new_plan()

    def __call__(self, given: Sequence[Any]) -> list[Any]:
        """Results that have a name; given are the inputs, then what the body reads of outside."""
        count = len(self._node.inputs)
        own, outer = given[:count], list(given[count:])
        results = (self._loop if self._node.op_type == "Loop" else self._scan)(own, outer)
        return [each for each, value in zip(results, self._node.outputs, strict=False) if value.name]

    def _turn(self, feeds: Sequence[np.ndarray]) -> Arrays:
        results = self.plan.run(tuple(feeds), {})
        if self.plan.is_full:
            self.plan = self._new_plan()
        return results

    def _loop(self, own: Sequence[Any], outer: Arrays) -> Arrays:
        limit, go, *first = own
        carried = list(first)
        goes_on = go is None or bool(go.reshape(()))
        axes = [(1,) * len(value.shape or ()) for value in self._graph.inputs[:2]]
        parts: list[Arrays] = []
        while goes_on and (limit is None or len(parts) < limit.reshape(())):
            number = np.full(axes[0], len(parts), np.int64), np.full(axes[1], True)
            condition, *results = self._turn([*number, *carried, *outer])
            goes_on, carried = bool(condition.reshape(())), results[: len(carried)]
            parts.append(results[len(carried) :])
        return [*carried, *self._gathered(parts, [(0, 0)] * (len(self._graph.outputs) - 1 - len(carried)))]

    def _scan(self, own: Sequence[Any], outer: Arrays) -> Arrays:
        count = self._node.attributes.get_int("num_scan_inputs", 0)
        arrays = [each for each in own if each is not None]
        carried, sequences = arrays[:-count], []
        for array, (axis, backwards) in zip(arrays[-count:], sides_of(self._node, "input", count), strict=True):
            turned = np.ascontiguousarray(np.moveaxis(array, axis, 0))
            sequences.append(turned[::-1] if backwards else turned)
        if len({len(each) for each in sequences}) != 1:
            raise ValueError(f"what Scan goes through must be as long; got {[len(each) for each in sequences]}")
        parts: list[Arrays] = []
        for together in zip(*sequences, strict=True):
            results = self._turn([*carried, *map(np.asarray, together), *outer])
            carried = results[: len(carried)]
            parts.append(results[len(carried) :])
        sides = sides_of(self._node, "output", len(self._graph.outputs) - len(carried))
        return [*carried, *self._gathered(parts, sides)]

    def _gathered(self, parts: list[Arrays], sides: Sequence[tuple[int, int]]) -> Arrays:
        """The parts of all turns along their axes."""
        found = []
        values = self._graph.outputs[len(self._graph.outputs) - len(sides) :]
        for i, (value, (axis, backwards)) in enumerate(zip(values, sides, strict=True)):
            if parts:
                turns = [part[i] for part in parts]
                found.append(np.stack(turns[::-1] if backwards else turns, axis))
            else:  # lengths that the model does not say are 0
                assert value.dtype is not None
                lengths = [n if isinstance(n, int) else 0 for n in value.shape or ()]
                lengths.insert(axis % (len(lengths) + 1), 0)
                found.append(np.zeros(lengths, value.dtype.numpy()))
        return found
