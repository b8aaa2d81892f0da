"""What Python does at the end of a segment: it looks at numbers that steps have computed, or computes a node itself."""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import onnx_ir as ir

from ..graph.constants import evaluator, named
from .frame import Frame
from .iterated import Iterated
from .loops import is_loop
from .objects import is_object
from .state import Evaluate, Read, Run
from .tensor import Tensor
from .weights import in_memory

if TYPE_CHECKING:
    from .plan import Plan

#: Arrays of numbers, and objects by their values.
Found = tuple[tuple[np.ndarray, ...], dict[ir.Value, Any]]


class Python:
    """The Python side of a plan.

    Parameters
    ----------
    model : onnx_ir.Model
    inputs : sequence of values
        What feeds are.
    opset : int
    new_plan : function (ir.Node) -> Plan
        Makes a plan for the body of a loop.
    """

    def __init__(
        self, model: ir.Model, inputs: Sequence[ir.Value], opset: int, new_plan: Callable[[ir.Node], Plan]
    ) -> None:
        self._model, self._inputs, self._opset, self._new_plan = model, inputs, opset, new_plan

    def act(self, frame: Frame, tail: Read | Run, objects: dict[ir.Value, Any]) -> Found:
        """What a segment's end gives, on the memory of a run and the objects in it."""
        if isinstance(tail, Read):
            return (_view(frame, tail.dense),), {}
        given = [
            _view(frame, each) if isinstance(each, Tensor) else objects[each] if isinstance(each, ir.Value) else each
            for each in tail.inputs
        ]
        try:
            if tail.evaluate is None:
                tail.evaluate = self._evaluator(tail.node, given)
            return self.apart(tail, tail.evaluate(given))
        except Exception as error:  # onnx.reference raises whatever numpy does
            raise named(tail.node, error) from error

    def apart(self, tail: Run | None, given: Sequence[Any]) -> Found:
        """The arrays among feeds, or among the results of a node, apart from the objects."""
        objects = {value: each for value, each in zip(self.values(tail), given, strict=True) if is_object(each)}
        return tuple(in_memory(each) for each in given if not is_object(each)), objects

    def values(self, tail: Run | None) -> Sequence[ir.Value]:
        """What feeds are, or the results of a node."""
        return self._inputs if tail is None else [each for each in tail.node.outputs if each.name]

    def _evaluator(self, node: ir.Node, given: list[Any]) -> Evaluate:
        """What computes a node that has no kernel."""
        if is_loop(node):
            return Iterated(node, lambda: self._new_plan(node))
        functions = [ir.to_proto(each) for each in self._model.functions.values()]
        return evaluator(node, given, {**self._model.opset_imports, "": self._opset}, functions)


def _view(frame: Frame, tensor: Tensor) -> np.ndarray:
    """A dense tensor as an array over its memory."""
    shape = tuple([frame.number(each) for each in tensor.shape])
    if tensor.array is not None:
        return tensor.array
    storage = tensor.storage
    assert storage is not None
    address = sum(frame.number(each) for each in (storage.base, storage.start, tensor.offset))
    nbytes = int(np.prod(shape, dtype=np.int64)) * tensor.itemsize
    if nbytes == 0:
        return np.empty(shape, tensor.dtype)
    memory = memoryview((ctypes.c_uint8 * nbytes).from_address(address))
    return np.frombuffer(memory, tensor.dtype).reshape(shape)
