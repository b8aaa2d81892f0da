"""Plans of a model: a tree of segments that grows with what runs are asked for.

    feeds ─▶ segment ─▶ Python: a node without a kernel, or numbers to look at ─▶ one of several segments ─▶ …

A run goes down the tree. At each place it takes the first child whose guards hold; where there is none, the graph is
traced on from there, with the numbers of this run as hints. So shapes, branches and data that decide what comes next
are all the same thing: a guard. Frames hold what runs must not share: table, records, arena. A run takes a free frame
or makes one, so that threads share a plan and all weights.
"""

from __future__ import annotations

import ctypes
from collections.abc import Sequence
from threading import RLock
from typing import Any
from weakref import WeakKeyDictionary

import numpy as np
import onnx_ir as ir

from ..kernels.base.jit import entry
from ..kernels.base.memory import NO_MEMORY as TOO_LITTLE
from ..kernels.base.status import NO_MEMORY
from ..kernels.objects.view import ADDRESS
from ..kernels.program import run as program
from ..runtime.memory import aligned_zeros
from ..runtime.signatures import WORD
from ..runtime.threads import ready
from .constants import evaluator
from .segment import Segment
from .sizes import AnySize, Known, Size, Sizes
from .tensor import Storage, Tensor, dense_strides
from .trace import Body, Lowerings, Read, Run, State, Trace, Weights, count_uses

#: Segments that are kept behind one place of a plan; the ones used longest ago go first.
MOST_CHILDREN = 16
#: Of arrays that are bound: types and ranks, or the shape of one whose numbers are read.
Key = tuple[tuple[np.dtype, tuple[int, ...]], ...]


class Frame:
    """What one run has for itself."""

    def __init__(self) -> None:
        self.table = np.zeros(0, np.int64)
        self.addresses = 0  # how many of the weights' are in the table
        self.parts: WeakKeyDictionary[Segment, list[np.ndarray]] = WeakKeyDictionary()

    def grow(self, words: int) -> None:
        if len(self.table) < words:
            table = np.zeros(max(words, 2 * len(self.table)), np.int64)
            table[: len(self.table)] = self.table
            self.table = table

    def part(self, segment: Segment) -> list[np.ndarray]:
        """A segment's records and arena in this frame."""
        part = self.parts.get(segment)
        if part is None:
            self.grow(segment.table_words)
            for index, value in segment.constants:
                self.table[index] = value
            part = self.parts[segment] = [segment.records.copy(), np.empty(0, np.uint8)]
        return part


class Plan:
    """How a graph is run, for all that it has been run for.

    Parameters
    ----------
    model : onnx_ir.Model
        In canonical form.
    lowerings : Lowerings
        What adds steps for nodes.
    threads : int
        The most a run uses; 0 chooses.
    """

    def __init__(self, model: ir.Model, lowerings: Lowerings, threads: int = 0) -> None:
        self.model, self.threads = model, threads
        self.graph, self._lowerings = model.graph, lowerings
        self.sizes = Sizes()
        self.weights = Weights(model, self.sizes, threads)
        self._uses = count_uses(model.graph)
        self._outputs = {value: i for i, value in enumerate(model.graph.outputs)}
        self._roots: list[Segment] = []
        self._root = State({}, (Body(tuple(model.graph)),), Known({}, {}))
        self._frames: list[Frame] = []
        self._lock = RLock()
        self._prepare = entry(program.prepare, (ADDRESS, ADDRESS))
        self._run = entry(program.run, (ADDRESS, ADDRESS, ADDRESS, WORD))

    def run(self, feeds: Sequence[np.ndarray], out: dict[int, np.ndarray]) -> list[np.ndarray]:
        """Results for feeds, which are C contiguous and of the right types; `out` has arrays for some of them."""
        ready(self.threads)
        try:
            frame = self._frames.pop()
        except IndexError:
            frame = Frame()
        try:
            return self._down(frame, list(feeds), out)
        finally:
            self._frames.append(frame)

    def segments(self) -> list[Segment]:
        """All there are, each before those that follow it."""
        found, left = [], list(self._roots)
        while left:
            segment = left.pop(0)
            found.append(segment)
            left += segment.children
        return found

    # -- a run ----------------------------------------------------------------------------------
    def _down(self, frame: Frame, arrays: list[np.ndarray], out: dict[int, np.ndarray]) -> list[np.ndarray]:
        results: list[Any] = [None] * len(self._outputs)
        held: list[Any] = [arrays]
        segments, state, tail = self._roots, self._root, None
        while True:
            segment = self._next(frame, segments, state, tail, arrays)
            self._call(frame, segment, results, out)
            if segment.tail is None:
                return results
            arrays = self._act(frame, segment.tail)
            held.append(arrays)
            segments, state, tail = segment.children, segment.after, segment.tail

    def _next(
        self, frame: Frame, segments: list[Segment], state: State, tail: Any, arrays: list[np.ndarray]
    ) -> Segment:
        """The segment that goes on with these arrays: one whose guards hold, or a new one."""
        key, words = _words(tail, arrays)
        found = self._found(frame, segments, key, words)
        if found is not None:
            return found
        with self._lock:
            found = self._found(frame, segments, key, words)  # another thread may have been faster
            if found is None:
                found = self._trace(frame, state, tail, key, words)
                if not self._fits(frame, found, words):
                    raise RuntimeError("a plan does not fit the run that it was made for")
                segments.insert(0, found)
                del segments[MOST_CHILDREN:]
        return found

    def _found(self, frame: Frame, segments: list[Segment], key: Key, words: list[int]) -> Segment | None:
        for segment in tuple(segments):
            if segment.key == key and self._fits(frame, segment, words):
                if segment is not segments[0]:
                    with self._lock:
                        if segment in segments:
                            segments.remove(segment)
                        segments.insert(0, segment)
                return segment
        return None

    def _fits(self, frame: Frame, segment: Segment, words: list[int]) -> bool:
        frame.part(segment)
        table = frame.table
        if frame.addresses < len(self.weights.addresses):
            frame.grow(self.sizes.count)
            table = frame.table
            for index, address in self.weights.addresses[frame.addresses :]:
                table[index] = address
            frame.addresses = len(self.weights.addresses)
        table[segment.first : segment.first + len(words)] = words
        return self._prepare(segment.words, table)

    def _call(self, frame: Frame, segment: Segment, results: list[Any], out: dict[int, np.ndarray]) -> None:
        table, part = frame.table, frame.part(segment)
        wanted = _number(table, segment.arena_bytes)
        if len(part[1]) < wanted:
            part[1] = aligned_zeros(wanted)
        if not segment.steps:
            return
        table[segment.arena.index] = part[1].ctypes.data if wanted else 0
        for result in segment.results:
            shape = tuple(_number(table, each) for each in result.shape)
            array = out.get(result.position)
            if array is None:
                array = np.empty(shape, result.dtype)
            elif (array.dtype, array.shape) != (result.dtype, shape):
                name = self.graph.outputs[result.position].name
                raise ValueError(
                    f"out[{name!r}] must have shape {shape} and type {result.dtype}; got {array.shape}, {array.dtype}"
                )
            results[result.position] = array
            table[result.base.index] = array.ctypes.data
        status = self._run(segment.words, table, part[0], self.threads)
        if status:
            number, code = divmod(status, program.STATUSES)
            step = segment.steps[number]
            if code == NO_MEMORY:
                raise MemoryError(TOO_LITTLE)
            raise ValueError(f"{', '.join(step.nodes)}: {step.errors.get(code, f'status {code}')}")

    # -- planning -------------------------------------------------------------------------------
    def _trace(self, frame: Frame, state: State, tail: Read | Run | None, key: Key, words: list[int]) -> Segment:
        """Plan on from a place, with this run's numbers as hints."""
        self.sizes.begin(state.known, frame.table[: self.sizes.count].tolist())
        begun = State(dict(state.values), state.work, state.known, state.made)
        trace = Trace(self.weights, self._lowerings, begun, self._outputs, self._uses)
        first = self.sizes.count
        left = [self.sizes.variable(number) for number in words]
        if isinstance(tail, Read):
            trace.learn(tail.tensor, np.array([None, *left], object)[1:].reshape(key[0][1]))
        else:
            for value, (dtype, shape) in zip(
                self.graph.inputs if tail is None else [each for each in tail.node.outputs if each.name],
                key,
                strict=True,
            ):
                rank = len(shape)
                base, lengths, left = left[0], tuple(left[1 : 1 + rank]), left[1 + rank :]
                strides = dense_strides(lengths, dtype.itemsize)
                trace.set(value, Tensor(dtype, lengths, Storage(base, 0), 0, strides))
        end = trace.run()
        return trace.segment(key, first, end)

    def _act(self, frame: Frame, tail: Read | Run) -> list[np.ndarray]:
        """What Python does at the end of a segment."""
        if isinstance(tail, Read):
            return [_view(frame.table, tail.dense)]
        given = [None if tensor is None else _view(frame.table, tensor) for tensor in tail.inputs]
        if tail.evaluate is None:
            functions = [ir.to_proto(each) for each in self.model.functions.values()]
            tail.evaluate = evaluator(tail.node, given, self.weights.opset, functions)
        return [np.require(array, requirements=["C", "A"]) for array in tail.evaluate(given)]


def _words(tail: Read | Run | None, arrays: Sequence[np.ndarray]) -> tuple[Key, list[int]]:
    """Of arrays that are bound before a segment: what must be the same for it to fit, and the words for the table."""
    if isinstance(tail, Read):
        (array,) = arrays
        return ((array.dtype, array.shape),), [int(number) for number in array.reshape(-1)]
    words: list[int] = []
    for array in arrays:
        words += (array.__array_interface__["data"][0], *array.shape)
    return tuple((array.dtype, (0,) * array.ndim) for array in arrays), words


def _number(table: np.ndarray, size: AnySize) -> int:
    return int(table[size.index]) if isinstance(size, Size) else size


def _view(table: np.ndarray, tensor: Tensor) -> np.ndarray:
    """A dense tensor as an array over its memory."""
    shape = tuple(_number(table, each) for each in tensor.shape)
    if tensor.array is not None:
        return tensor.array
    storage = tensor.storage
    assert storage is not None
    address = sum(_number(table, each) for each in (storage.base, storage.start, tensor.offset))
    nbytes = int(np.prod(shape, dtype=np.int64)) * tensor.itemsize
    if nbytes == 0:
        return np.empty(shape, tensor.dtype)
    memory = memoryview((ctypes.c_uint8 * nbytes).from_address(address))
    return np.frombuffer(memory, tensor.dtype).reshape(shape)
