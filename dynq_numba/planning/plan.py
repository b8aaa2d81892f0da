"""Plans of a model: a tree of segments that grows with what runs are asked for.

    feeds ─▶ segment ─▶ Python: a node without a kernel, or numbers that steps computed ─▶ one of several segments ─▶ …

Compiled code reads the numbers of feeds that shapes are made of, before it looks at guards.

A run goes down the tree. At each place it takes the first child whose guards hold; where there is none, the graph is
traced on from there, with the numbers of this run as hints. So shapes, branches and data that decide what comes next
are all the same thing: a guard. Frames hold what runs must not share: table, records, arena. A run takes a free frame
or makes one, so that threads share a plan and all weights.
"""

from __future__ import annotations

from functools import partial
from threading import RLock
from typing import Any

import numpy as np
import onnx_ir as ir

from ..files.weight_cache import WeightCache
from ..kernels.base.handlers import handlers_held
from ..kernels.base.jit import entry
from ..kernels.base.memory import NO_MEMORY as TOO_LITTLE
from ..kernels.base.status import NO_MEMORY, OTHER_TURN
from ..kernels.objects.arguments import OBJECT
from ..kernels.objects.view import ADDRESS
from ..kernels.program import run as program
from ..runtime.signatures import WORD
from ..runtime.threads import ready
from .begin import begin, behind
from .caches import caches
from .end import segment_of
from .frame import Frame
from .loops import outside
from .objects import holds_objects
from .python import Python
from .results import Outputs, Results
from .segment import Segment
from .sizes import Known, Sizes
from .state import Read, Run, State, Walk
from .stopwatch import Call, Stopwatch
from .trace import Lowerings, Trace
from .undo import Values
from .uses import count_uses
from .walk import walk
from .weights import Weights

#: Segments that are kept behind one place of a plan; the ones used longest ago go first.
MOST_CHILDREN = 16
#: A plan is full when its table has so many words beyond MANY times those that its first run needed. Words of segments
#: that were forgotten are not used again, so that a plan for ever new ranks and shapes would grow for ever.
MOST_WORDS, MANY = 1 << 17, 8
#: Of what a segment begins with: which values are objects; types and axes of arrays.
Key = tuple[Any, ...]


class _OtherTurn(Exception):
    """A guard of a loop's body does not hold in a turn."""

    def __init__(self, node: ir.Node) -> None:
        super().__init__("turns differ")
        self.node = node


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
    cache : WeightCache, optional
        Where packed weights are kept for other processes.
    loop : ir.Node, optional
        A node of the model whose body is to be run. What that reads of outside follows its own inputs.
    """

    def __init__(
        self,
        model: ir.Model,
        lowerings: Lowerings,
        threads: int = 0,
        cache: WeightCache | None = None,
        loop: ir.Node | None = None,
    ) -> None:
        self.model, self.threads = model, threads
        self.graph = model.graph if loop is None else loop.attributes["body"].as_graph()
        self._lowerings = lowerings
        self.sizes = Sizes()
        self.weights = Weights(model, self.sizes, cache)
        self._inputs = [*self.graph.inputs, *(outside(loop, self.weights.constants) if loop else ())]
        self._has_objects = any(map(holds_objects, self._inputs))
        plan_of = partial(Plan, model, lowerings, threads, cache)
        self._python = Python(model, self._inputs, self.weights.opset, plan_of)
        self._uses = count_uses(self.graph)
        found = caches(self.graph) if loop is None else []
        self._caches = {each.value: each for each in found}
        self._outputs = Outputs(self.graph, [each.output for each in found])
        self._gaps = {self.graph.inputs[each.input]: each.axis for each in found}
        self._roots: list[Segment] = []
        self._root = State(Values(), (Walk(tuple(self.graph)),), Known({}, {}))
        self._apart: set[ir.Node] = set()
        self._frames: list[Frame] = []
        self._usual = 0  # words of the table after the first run
        self._generation = 0  # counts segments that were forgotten: frames from before hold parts of theirs
        self._lock = RLock()
        self._prepare = entry(program.prepare, (ADDRESS, ADDRESS, OBJECT))
        self._run: Call = entry(program.run, (ADDRESS, ADDRESS, ADDRESS, OBJECT, WORD))

    def run(self, feeds: tuple[Any, ...], out: dict[int, np.ndarray], watch: Stopwatch | None = None) -> list[Any]:
        """Results for feeds, `out` has arrays for some of them.

        Arrays of numbers are C contiguous and of the right types. Others are objects: what no kernel sees.
        """
        ready(self.threads)
        try:
            frame = self._frames.pop()
        except IndexError:
            frame = Frame(self._generation)
        try:
            results = self._down(frame, feeds, out, watch)  # after an error the frame may be half changed: it is let go
        except _OtherTurn as loop:
            with self._lock:
                self._apart.add(loop.node)
                self._roots.clear()
                self._forget()
            if watch is not None:
                watch.laps.clear()
            return self.run(feeds, out, watch)
        if frame.generation == self._generation:
            self._frames.append(frame)
        return results

    def watched(self, feeds: tuple[np.ndarray, ...]) -> Stopwatch:
        """Run; what each step took."""
        watch = Stopwatch(self._run)
        self.run(feeds, {}, watch)
        return watch

    @property
    def is_full(self) -> bool:
        """Whether a fresh plan should take this one's place."""
        self._usual = self._usual or self.sizes.count
        return self.sizes.count > MOST_WORDS + MANY * self._usual

    def segments(self) -> list[Segment]:
        """All there are, each before those that follow it."""
        found, left = [], list(self._roots)
        while left:
            segment = left.pop(0)
            found.append(segment)
            left += segment.children
        return found

    # -- a run ----------------------------------------------------------------------------------
    def _down(
        self, frame: Frame, feeds: tuple[Any, ...], out: dict[int, np.ndarray], watch: Stopwatch | None
    ) -> list[Any]:
        results = Results(self._outputs, out)
        segments, state, tail = self._roots, self._root, None
        arrays, new = self._python.apart(None, feeds) if self._has_objects else (feeds, {})
        objects: dict[ir.Value, Any] = dict(new)
        held = [arrays]  # later segments read them, too
        while True:
            segment = self._next(frame, segments, state, tail, arrays, tuple(new))
            if watch is not None:
                watch.enter(segment)
            if segment.steps or segment.results:
                part = frame.part(segment)
                frame.words[segment.arena.index] = part.reserve(frame.number(segment.arena_bytes))
                made, call = results.allocate(frame, segment, feeds), self._run if watch is None else watch.call
                status = call(segment.words, frame.table, part.records, made, -self.threads)
                if status:
                    raise _error(segment, status)
            if segment.tail is None:
                results.take((position, objects[value]) for position, value in segment.objects)
                return results.whole()
            act = self._python.act if watch is None else partial(watch.act, self._python.act)
            arrays, new = act(frame, segment.tail, objects)
            objects |= new
            held.append(arrays)
            segments, state, tail = segment.children, segment.after, segment.tail

    def _next(
        self,
        frame: Frame,
        segments: list[Segment],
        state: State,
        tail: Read | Run | None,
        arrays: tuple[np.ndarray, ...],
        objects: tuple[ir.Value, ...],
    ) -> Segment:
        """The segment that goes on with these arrays and objects: one whose guards hold, or a new one."""
        key = (objects, *[(array.dtype, array.ndim) for array in arrays])
        found = self._found(frame, segments, key, arrays)
        if found is not None:
            return found
        # LLVM's bindings free twice what an interrupt reaches while they free it: handlers wait until it is planned.
        with self._lock, handlers_held():
            found = self._found(frame, segments, key, arrays)  # another thread may have been faster
            if found is None:
                found = self._trace(frame, state, tail, key, arrays)
                if not self._fits(frame, found, arrays):
                    raise RuntimeError("a plan does not fit the run that it was made for")
                segments.insert(0, found)
                if len(segments) > MOST_CHILDREN:
                    del segments[MOST_CHILDREN:]
                    self._forget()
        return found

    def _forget(self) -> None:
        """Let go of frames, which hold parts of segments that are no longer used."""
        self._generation += 1
        self._frames.clear()

    def _found(self, frame: Frame, segments: list[Segment], key: Key, arrays: tuple[np.ndarray, ...]) -> Segment | None:
        for segment in tuple(segments):
            if segment.key == key and self._fits(frame, segment, arrays):
                if segment is not segments[0]:
                    with self._lock:  # in one assignment: an interrupt loses none
                        if segment in segments:
                            segments[:] = [segment, *(each for each in segments if each is not segment)]
                return segment
        return None

    def _fits(self, frame: Frame, segment: Segment, arrays: tuple[np.ndarray, ...]) -> bool:
        """Whether a segment may go on with these arrays; its sizes are computed by then."""
        for i, shape in segment.shapes:
            if arrays[i].shape != shape:
                return False
        frame.part(segment)
        frame.know(self.weights.addresses)
        return bool(self._prepare(segment.words, frame.table, arrays))

    # -- planning -------------------------------------------------------------------------------
    def _trace(
        self, frame: Frame, state: State, tail: Read | Run | None, key: Key, arrays: tuple[np.ndarray, ...]
    ) -> Segment:
        """Plan on from a place, with this run's numbers as hints; anew where shapes turn out to need an array's."""
        hints = frame.table[: self.sizes.count].tolist()
        read: set[int] = {0} if isinstance(tail, Read) else set()
        while True:
            self.sizes.begin(state.known, hints)
            begun = State(Values(state.values), state.work, state.known, state.made, objects=dict(state.objects))
            trace = Trace(
                self.weights, self._lowerings, begun, self._outputs.positions, self._uses, self._apart, self._caches
            )
            values = tail.tensor if isinstance(tail, Read) else self._python.values(tail)
            given, places = begin(trace, values, arrays, key[0], read, self._gaps)
            end = walk(trace)
            wanted = behind(end.tensor, places) - read if isinstance(end, Read) else set()
            if not wanted:
                return segment_of(trace, key, [(i, arrays[i].shape) for i in sorted(read)], given, end)
            read |= wanted


def _error(segment: Segment, status: int) -> Exception:
    """What a status that is not 0 means: of which step, and why."""
    number, code = divmod(status, program.STATUSES)
    step = segment.steps[number]
    if code == NO_MEMORY:
        return MemoryError(TOO_LITTLE)
    if code == OTHER_TURN and step.body is not None:
        return _OtherTurn(step.body.node)
    return ValueError(f"{', '.join(step.nodes)}: {step.errors.get(code, f'status {code}')}")
