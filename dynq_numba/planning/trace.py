"""Planning: a graph is walked node by node, in the order of a run; each node's lowering adds steps to a segment.

    node ──lowering──▶ a view, an expression, numbers that shapes are made of: nothing to do yet
                  └──▶ steps on tensors

A segment ends where Python has something to do: an operator without a kernel, numbers that decide how to go on.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np
import onnx_ir as ir

from ..graph.constants import named
from ..graph.rewrites.base import fused_from, label
from .caches import Cache, gap_strides
from .loops import outside
from .objects import texts
from .segment import Given, Result, Segment, Step, Word, assemble
from .sizes import AnySize, Shape, Varying, product, settled
from .state import Read, Run, State, Walk
from .tensor import FOREVER, Storage, Tensor, dense_strides
from .uses import reads
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
        self._lowerings = lowerings
        #: Loops that Python runs, turn by turn, because guards of their bodies did not hold.
        self.apart = apart
        self.weights, self.sizes, self.state = weights, weights.sizes, state
        self.outputs, self.uses = outputs, uses
        self._caches = caches  # by their results
        self.steps: list[Step] = []
        self.results: list[Result] = []
        self._blocks: list[Storage] = []
        #: How many steps there are by now, those of loops' bodies among them.
        self.clock = 0
        #: In how many loops' bodies the walk is.
        self.depth = 0
        #: Where values of a loop's body go that nothing has been written to yet.
        self._targets: dict[ir.Value, Target] = {}
        self.arena = self.sizes.variable(0)
        #: The node whose lowering adds steps.
        self.node: ir.Node | None = None

    # -- what lowerings use ---------------------------------------------------------------------
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

    def learn(self, tensor: Tensor, numbers: np.ndarray) -> None:
        """The numbers of a tensor that was `Wanted` are known now."""
        for value, known in self.state.values.items():
            if known is tensor:
                self.state.values[value] = replace(known, contents=numbers)

    def ints(self, node: ir.Node, i: int) -> list[AnySize] | None:
        """Numbers of an input, in a list; None where it is left out."""
        tensor = self.optional(node, i)
        return None if tensor is None else list(self.numbers(tensor).reshape(-1))

    def block(self, dtype: np.dtype, shape: Shape) -> Tensor:
        """Memory in the arena."""
        shape = tuple(map(settled, shape))
        storage = Storage(self.arena, product(shape) * dtype.itemsize, is_block=True)
        self._blocks.append(storage)
        return Tensor(dtype, shape, storage, 0, dense_strides(shape, dtype.itemsize))

    def result(self, value: ir.Value, dtype: np.dtype, shape: Shape) -> Tensor:
        """Memory for a value: the arena, the array that the model gives back, or where a loop wants it."""
        target = self._targets[value](dtype, shape) if value in self._targets else None
        if target is not None and target.is_dense():
            del self._targets[value]
            tensor = target
        else:
            tensor = self._output(value, dtype, shape) if value in self.outputs else self.block(dtype, shape)
        self.set(value, tensor)
        return tensor

    def has_place(self, value: ir.Value | None) -> bool:
        """Whether somebody has said where a value is to lie: a caller, a loop."""
        return value in self.outputs or value in self._targets

    def _output(self, value: ir.Value, dtype: np.dtype, shape: Shape) -> Tensor:
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
        known = [value for value, each in self.state.values.items() if each.storage is tensor.storage]
        return (
            tensor.covers(out)
            and len(known) == 1
            and known[0] not in self.outputs
            and self.uses.get(known[0], 0) == readers
        )

    def add_post_ops(self, address: int, kernel: str, nodes: Sequence[str]) -> None:
        """Let the last step, which `made_for` has found fit, do more to its result."""
        step = self.steps[-1]
        assert step.post_ops is not None
        words = list(step.words)
        words[step.post_ops[1]] = address
        names = tuple(dict.fromkeys((*step.nodes, *nodes)))
        self.steps[-1] = replace(step, words=words, kernel=f"{step.kernel} {kernel}", nodes=names, post_ops=None)

    def memory(self, tensor: Tensor, value: ir.Value | None = None) -> Tensor:
        """The tensor in memory, with any strides; as the result `value` of the model, if it is one."""
        if tensor.storage is not None:
            return tensor
        if tensor not in self.state.memory:
            self.state.memory[tensor] = self._lowerings.write(self, tensor, value)
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
        self._lowerings.copy(self, target, tensor)
        return target

    def is_read(self, value: ir.Value) -> bool:
        """Whether a node reads a value, or a caller."""
        return bool(self.uses.get(value)) or value in self.outputs

    def once(self, value: ir.Value | None) -> bool:
        """Whether a single node reads a value, and no caller."""
        return value is not None and self.uses.get(value, 0) == 1 and value not in self.outputs

    # -- the walk -------------------------------------------------------------------------------
    def nodes(self) -> Iterator[ir.Node]:
        """Nodes that are left and whose results are not there yet, each removed from the work before it is given."""
        while self.state.work:
            *below, body = self.state.work
            if body.at == len(body.nodes):
                self.state.work = tuple(below)
                for inner, outer in body.results:
                    self.give(outer, inner)
                continue
            self.state.work = (*below, replace(body, at=body.at + 1))
            self.node = node = body.nodes[body.at]
            if not all(map(self._is_there, node.outputs)):
                yield node

    def _is_there(self, value: ir.Value) -> bool:
        """Whether a result is known: a constant, or computed together with another node's."""
        known = value in self.state.values or value in self.state.objects
        return not value.name or known or self.weights.constants.is_constant(value)

    def enter(self, graph: ir.Graph, node: ir.Node) -> None:
        """Go on with the nodes of a branch."""
        pairs = zip(graph.outputs, node.outputs, strict=True)
        self.state.work = (*self.state.work, Walk(tuple(graph), 0, tuple(pairs)))

    @contextmanager
    def body(self, node: ir.Node, targets: Sequence[tuple[ir.Value, Target]]) -> Iterator[list[Step]]:
        """Plan the body of a loop: the steps of a turn. What is planned within the context is the end of it.

        Each value of the body is written to its target. Nothing that is planned here counts outside; nor does anything
        at all if it cannot be planned: `Unsupported`.
        """
        graph, before, begin, blocks = node.attributes["body"].as_graph(), self._place(), self.clock, len(self._blocks)
        held = self.steps, self.state.work, self.node
        values, memory = dict(self.state.values), dict(self.state.memory)
        self.steps, self.state.work, self.depth = [], (Walk(tuple(graph)),), self.depth + 1
        try:
            self._walk_body(targets)
            yield self.steps
        except (Unsupported, Wanted, Varying, ValueError) as error:
            where = "" if self.node in (None, held[2]) else f" {label(self.node)}"
            self.steps = held[0]
            self._return_to(before)
            given = set(graph.inputs)
            if isinstance(error, Wanted) and any(
                each is error.tensor for value, each in values.items() if value not in given
            ):
                raise Wanted(error.tensor, self.dense(error.tensor)) from None
            raise Unsupported(f"its body{where}: {error}") from error
        else:
            own = set(map(id, self._blocks[blocks:]))
            for tensor in [each for step in self.steps for part in step.nested() for each in part.tensors()]:
                if id(tensor.storage) not in own:  # every turn may need it
                    self.touch(tensor, begin)
            self.state.values, self.state.memory = values, memory
        finally:
            self.steps, self.state.work, self.node = held
            self.depth -= 1
            for value, _ in targets:
                self._targets.pop(value, None)

    def _walk_body(self, targets: Sequence[tuple[ir.Value, Target]]) -> None:
        own = dict(reversed(targets))  # of a value that has two the first
        self._targets.update(own)
        for node in self.nodes():
            self._lowerings.lower(self, node)
        for value, target in targets:
            tensor = self.get(value)
            assert tensor is not None
            if own[value] is target:
                tensor = self.memory(tensor, value)
                if value not in self._targets:
                    continue  # a step writes it there
            self._lowerings.copy(self, target(tensor.dtype, tensor.shape), tensor)

    def run(self) -> Read | Run | None:
        """Plan until the end of the segment; what Python does then."""
        for node in self.nodes():
            before, work = self._place(), self.state.work
            try:
                self._lowerings.lower(self, node)
            except Wanted as wanted:  # what was done so far is done again when the segment after this one is planned
                self.state.work = (*work[:-1], replace(work[-1], at=work[-1].at - 1))
                return Read(wanted.tensor, wanted.dense)
            except Unsupported as reason:
                self._return_to(before)
                given = map(self._given, (*node.inputs, *outside(node, self.weights.constants)))
                return Run(node, tuple(given), str(reason))
            except Exception as error:
                raise named(node, error) from error
        self.node = None
        self._finish()
        return None

    def _given(self, value: ir.Value | None) -> Tensor | ir.Value | np.ndarray | None:
        """What Python is given of a value."""
        if value in self.state.objects:
            return self.state.objects[value]
        if value is not None and value not in self.state.values and value.dtype == ir.DataType.STRING:
            return texts(self.weights.constants.weight(value))
        tensor = self.get(value)
        return None if tensor is None else self.dense(tensor)

    def _place(self) -> tuple[Any, ...]:
        """How far the segment has come, for a lowering that may give up half-way."""
        state = self.state
        return (
            list(self.steps), len(self.results), len(self._blocks), dict(state.values), dict(state.memory), state.made
        )  # fmt: skip

    def _return_to(self, place: tuple[Any, ...]) -> None:
        self.steps, results, blocks, self.state.values, self.state.memory, self.state.made = place
        del self.results[results:], self._blocks[blocks:]

    def _finish(self) -> None:
        """Results that lie elsewhere are copied to where callers get them, or their block becomes that place."""
        for value, position in self.outputs.items():
            if position not in self.state.made and value not in self.state.objects:
                tensor = self.get(value)
                assert tensor is not None
                tensor = self.memory(tensor, value)
                if position not in self.state.made:
                    output, held = self._output(value, tensor.dtype, tensor.shape), tensor.storage
                    assert output.storage is not None
                    if held in self._blocks and tensor.is_dense() and held.nbytes == output.storage.nbytes:
                        self._blocks.remove(held)
                        held.base, held.is_block = output.storage.base, False
                    else:
                        self._lowerings.copy(self, output, tensor)

    def segment(self, key: tuple, shapes: Sequence[tuple[int, tuple[int, ...]]], given: Given, tail: Any) -> Segment:
        """What was planned, ready to run on arrays like `key` and `shapes`."""
        if tail is not None:
            self._keep()
            held = (tail.dense,) if isinstance(tail, Read) else tail.inputs
            for each in held:
                if isinstance(each, Tensor):
                    _hold(each)
        results = [(each.base.index, 0, each.cache.axis if each.cache else -1) for each in self.results]
        words, records, total, kept = assemble(self.sizes, self.steps, self._blocks, given, results)
        after = None if tail is None else replace(self.state, known=self.sizes.known())
        constants, table_words = list(self.sizes.constants), self.sizes.count
        return Segment(
            key, shapes, table_words, self.steps, self.results, self.arena, total, constants, words, records, kept,
            tail, after, objects=[] if tail is not None else self._objects(),
        )  # fmt: skip

    def _objects(self) -> list[tuple[int, ir.Value]]:
        """Results of the model that are objects."""
        objects = self.state.objects
        return [(position, objects[value]) for value, position in self.outputs.items() if value in objects]

    def _keep(self) -> None:
        """Blocks that later segments read live on; values that nobody reads any more are forgotten."""
        read = set(self.outputs)
        for body in self.state.work:
            read.update(inner for inner, _ in body.results)
            for node in body.nodes[body.at :]:
                read.update(reads(node))
        there = self.state.memory
        self.state.values = {
            value: replace(there[tensor], contents=tensor.contents) if tensor in there else tensor
            for value, tensor in self.state.values.items()
            if value in read
        }
        self.state.memory = {}
        for tensor in self.state.values.values():
            _hold(tensor)


def sources(node: ir.Node) -> tuple[str, ...]:
    """The nodes of the model that a node stands for."""
    return tuple(fused_from(node)) or (label(node),)


def _hold(tensor: Tensor | None) -> None:
    """Let what a tensor is read from live until the end of the run."""
    if tensor is None:
        return
    if tensor.storage is not None:
        tensor.storage.touch(FOREVER)
    if tensor.expression is not None:
        for operand in tensor.expression.operands:
            _hold(operand)
