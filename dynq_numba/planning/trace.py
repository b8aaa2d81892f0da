"""The segment that is being planned, as lowerings see it: what is known of values, memory, the steps so far."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np
import onnx_ir as ir

from ..graph.rewrites.base import fused_from, label
from .caches import Cache, gap_strides
from .segment import Result, Step, Word
from .sizes import AnySize, Shape, product, settled
from .state import State, Walk
from .tensor import Storage, Tensor, dense_strides
from .weights import Weights


class Unsupported(Exception):
    """A node that no kernel computes; Python does."""


class Wanted(Exception):
    """A plan depends on numbers that are known only once the segment has run."""

    def __init__(self, tensor: Tensor, dense: Tensor) -> None:
        super().__init__("numbers that shapes are made of")
        self.tensor, self.dense = tensor, dense


#: Where a loop wants a value of its body, of this type and shape.
Target = Callable[[np.dtype, Shape], Tensor]


class Lowerings(NamedTuple):
    """What adds steps to a trace; `lowering` has it."""

    #: (trace, node): what a node needs.
    lower: Callable[[Trace, ir.Node], None]
    #: (trace, tensor, value): an expression or numbers in memory, as the value of the graph if one is given.
    write: Callable[[Trace, Tensor, ir.Value | None], Tensor]
    #: (trace, target, source)
    copy: Callable[[Trace, Tensor, Tensor], None]


class Trace:
    """The segment that is being planned."""

    def __init__(
        self,
        weights: Weights,
        lowerings: Lowerings,
        state: State,
        outputs: dict[ir.Value, int],
        uses: dict[ir.Value, int],
        apart: set[ir.Node],
        caches: Mapping[ir.Value, Cache],
    ) -> None:
        self.lowerings = lowerings
        #: Loops that Python runs, turn by turn, because guards of their bodies did not hold.
        self.apart = apart
        self.weights, self.sizes, self.state = weights, weights.sizes, state
        self.outputs, self.uses = outputs, uses
        self._caches = caches  # by their results
        self.steps: list[Step] = []
        self.results: list[Result] = []
        self.blocks: list[Storage] = []
        #: How many steps there are by now, those of loops' bodies among them.
        self.clock = 0
        #: In how many loops' bodies the walk is.
        self.depth = 0
        #: Where values of a loop's body go that nothing has been written to yet.
        self.targets: dict[ir.Value, Target] = {}
        self.arena = self.sizes.variable(0)
        #: The node whose lowering adds steps.
        self.node: ir.Node | None = None

    # -- values ---------------------------------------------------------------------------------
    def get(self, value: ir.Value | None) -> Tensor | None:
        """A value's tensor; None where an input is left out."""
        if value is None:
            return None
        if value in self.state.values:
            return self.state.values[value]
        if value in self.state.objects or value.dtype == ir.DataType.STRING:
            raise Unsupported("texts, a sequence or an optional, which Python holds")
        return self.weights.tensor(value)

    def input(self, node: ir.Node, i: int) -> Tensor:
        """An input that must be there."""
        tensor = self.optional(node, i)
        if tensor is None:
            raise Unsupported(f"input {i} is left out")
        return tensor

    def optional(self, node: ir.Node, i: int) -> Tensor | None:
        return self.get(node.inputs[i]) if i < len(node.inputs) else None

    def constant(self, node: ir.Node, i: int) -> np.ndarray:
        """An input that must be the same in every run."""
        array = self.input(node, i).array
        if array is None:
            raise Unsupported(f"input {i} is computed at run time")
        return array

    def constants(self, node: ir.Node, *places: int) -> list[np.ndarray | None]:
        """The arrays of some inputs, of which each is a constant or left out."""
        return [None if self.optional(node, i) is None else self.constant(node, i) for i in places]

    def set(self, value: ir.Value, tensor: Tensor) -> None:
        self.state.values[value] = tensor

    def give(self, value: ir.Value, source: ir.Value) -> None:
        """Let a value be another one, a tensor or an object."""
        if source in self.state.objects:
            self.state.objects[value] = self.state.objects[source]
        else:
            tensor = self.get(source)
            assert tensor is not None
            self.set(value, tensor)

    def numbers(self, tensor: Tensor) -> np.ndarray:
        """What shapes are made of, an object array of ints and Sizes; ends the segment where they are not known yet."""
        if tensor.contents is not None:
            return tensor.contents
        if tensor.array is not None:
            return tensor.array.astype(object)
        if tensor.dtype.kind not in "iub":
            raise Unsupported("shapes depend on floats")
        raise Wanted(tensor, self.dense(tensor))

    def counted(self, node: ir.Node, make: Callable[[], tuple[Tensor, Tensor]]) -> tuple[Tensor, AnySize]:
        """Results of which a step says how many there are. Ends the segment, where that is not known yet.

        `make` adds the step; it gives room for as many as there may be, and the tensor of the one int64 that says how
        many there are. Gives the room, and that number.
        """
        room, number = self.weights.room_of(node)
        if number not in self.state.values:
            for value, tensor in zip((room, number), make(), strict=True):
                self.set(value, tensor)
        count: AnySize = self.numbers(self.state.values[number]).reshape(-1)[0]
        return self.state.values[room], count

    def learn(self, tensor: Tensor, numbers: np.ndarray) -> None:
        """The numbers of a tensor that was `Wanted` are known now."""
        for value, known in self.state.values.items():
            if known is tensor:
                self.state.values[value] = replace(known, contents=numbers)

    def ints(self, node: ir.Node, i: int) -> list[AnySize] | None:
        """Numbers of an input, in a list; None where it is left out."""
        tensor = self.optional(node, i)
        return None if tensor is None else list(self.numbers(tensor).reshape(-1))

    def is_read(self, value: ir.Value) -> bool:
        """Whether a node reads a value, or a caller."""
        return bool(self.uses.get(value)) or value in self.outputs

    def once(self, value: ir.Value | None) -> bool:
        """Whether a single node reads a value, and no caller."""
        return value is not None and self.uses.get(value, 0) == 1 and value not in self.outputs

    def enter(self, graph: ir.Graph, node: ir.Node) -> None:
        """Go on with the nodes of a branch."""
        pairs = zip(graph.outputs, node.outputs, strict=True)
        self.state.work = (*self.state.work, Walk(tuple(graph), 0, tuple(pairs)))

    # -- memory ---------------------------------------------------------------------------------
    def block(self, dtype: np.dtype, shape: Shape) -> Tensor:
        """Memory in the arena."""
        shape = tuple(map(settled, shape))
        storage = Storage(self.arena, product(shape) * dtype.itemsize, is_block=True)
        self.blocks.append(storage)
        return Tensor(dtype, shape, storage, 0, dense_strides(shape, dtype.itemsize))

    def result(self, value: ir.Value, dtype: np.dtype, shape: Shape) -> Tensor:
        """Memory for a value: the arena, the array that the model gives back, or where a loop wants it."""
        target = self.targets[value](dtype, shape) if value in self.targets else None
        if target is not None and target.is_dense():
            del self.targets[value]
            tensor = target
        else:
            tensor = self.output(value, dtype, shape) if value in self.outputs else self.block(dtype, shape)
        self.set(value, tensor)
        return tensor

    def has_place(self, value: ir.Value | None) -> bool:
        """Whether somebody has said where a value is to lie: a caller, a loop."""
        return value in self.outputs or value in self.targets

    def output(self, value: ir.Value, dtype: np.dtype, shape: Shape) -> Tensor:
        base = self.sizes.variable(0)
        self.state.made |= {self.outputs[value]}
        self.results.append(Result(self.outputs[value], dtype, shape, base))
        return Tensor(
            dtype, shape, Storage(base, product(shape) * dtype.itemsize), 0, dense_strides(shape, dtype.itemsize)
        )

    def cache(self, value: ir.Value, dtype: np.dtype, shape: Shape, *, grows: bool) -> Tensor | None:
        """Memory for a result that is a cache, where what it begins with may lie already; None where it is none.

        `grows`: only behind that is anything written. Else it lies there only where a caller wants it so.
        """
        found = self._caches.get(value)
        if found is None:
            return None
        base, gap = self.sizes.variable(0), self.sizes.variable(0)
        self.state.made |= {found.output}
        self.results.append(Result(found.output, dtype, shape, base, found, grows))
        strides = gap_strides(shape, dtype.itemsize, found.axis, gap)
        tensor = Tensor(dtype, shape, Storage(base, product(shape) * dtype.itemsize), 0, strides)
        self.set(value, tensor)
        return tensor

    def memory(self, tensor: Tensor, value: ir.Value | None = None) -> Tensor:
        """The tensor in memory, with any strides; as the result `value` of the model, if it is one."""
        if tensor.storage is not None:
            return tensor
        if tensor not in self.state.memory:
            self.state.memory[tensor] = self.lowerings.write(self, tensor, value)
        return self.state.memory[tensor]

    def rows(self, tensor: Tensor) -> Tensor:
        """The tensor in memory, its last axis contiguous."""
        tensor = self.memory(tensor)
        return tensor if tensor.has_rows() else self.dense(tensor)

    def dense(self, tensor: Tensor) -> Tensor:
        """The tensor in memory, without gaps."""
        tensor = self.memory(tensor)
        if tensor.is_dense():
            return tensor
        target = self.block(tensor.dtype, tensor.shape)
        self.lowerings.copy(self, target, tensor)
        return target

    # -- steps ----------------------------------------------------------------------------------
    def step(self, kernel: str, function: int, words: Sequence[Word], **options: Any) -> None:
        """Add a step."""
        options.setdefault("nodes", () if self.node is None else sources(self.node))
        step = Step(kernel, function, list(words), **options)
        for tensor in step.tensors():
            assert tensor.storage is not None
            tensor.storage.touch(self.clock)
        self.steps.append(step)
        self.clock += 1

    def touch(self, tensor: Tensor, since: int) -> None:
        """The steps from that one to the last one may need what lies there."""
        if tensor.storage is not None:
            tensor.storage.touch(since)
            tensor.storage.touch(self.clock - 1)

    def made_for(self, tensor: Tensor, readers: int) -> bool:
        """Whether the last step made a tensor, all of it, for so many nodes alone, and may do more to it."""
        if not self.steps or self.steps[-1].post_ops is None:
            return False
        out, _ = self.steps[-1].post_ops
        if out.storage is None or not tensor.covers(out):
            return False
        known = self.state.values.lying_in(out.storage)
        return len(known) == 1 and known[0] not in self.outputs and self.uses.get(known[0], 0) == readers

    def add_post_ops(self, address: int, kernel: str, nodes: Sequence[str]) -> None:
        """Let the last step, which `made_for` has found fit, do more to its result."""
        step = self.steps[-1]
        assert step.post_ops is not None
        words = list(step.words)
        words[step.post_ops[1]] = address
        names = tuple(dict.fromkeys((*step.nodes, *nodes)))
        self.steps[-1] = replace(step, words=words, kernel=f"{step.kernel} {kernel}", nodes=names, post_ops=None)


def sources(node: ir.Node) -> tuple[str, ...]:
    """The nodes of the model that a node stands for."""
    return tuple(fused_from(node)) or (label(node),)
