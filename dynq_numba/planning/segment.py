"""A segment of a plan: steps that run one after another without the interpreter, in memory laid out for them.

    values   ─┬─ constants, feeds, results      each where it is
              └─ blocks of the arena            those whose steps do not overlap share a slot

An address is a word of the table and some bytes; sizes of slots and their places are numbers of the table, too. So the
same segment serves every length that passes its guards.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
import onnx_ir as ir

from ..kernels.program import run as program
from .caches import Cache
from .sizes import AnySize, Shape, Size, Sizes, Turn, hint, largest
from .tensor import Storage, Tensor

#: Blocks begin at cache lines.
LINE = 64


@dataclass(frozen=True)
class Bits:
    """A float32 in a word of a record."""

    value: float

    def __int__(self) -> int:
        return int(np.float32(self.value).view(np.uint32))


#: What a word of a record is: a number, a Size, the address of a tensor's first element, or of an array that is kept.
Word = int | Size | Bits | Tensor | np.ndarray | None


@dataclass
class Body:
    """The program that the step of a loop calls in every turn."""

    node: ir.Node
    turn: Turn
    steps: list[Step]
    #: The record of it, which is filled with the segment's.
    words: np.ndarray = field(default_factory=lambda: np.zeros(program.Program.size, np.int64))


@dataclass
class Step:
    """One call of a compiled function."""

    kernel: str
    function: int
    words: list[Word]
    #: What of the graph it computes, for reports and errors.
    nodes: tuple[str, ...] = ()
    #: What its statuses mean, by number.
    errors: dict[int, str] = field(default_factory=dict)
    invariant: bool = True
    #: Its result, and which word is its post-ops, if it has none yet and could take some.
    post_ops: tuple[Tensor, int] | None = None
    body: Body | None = None
    #: What it computes otherwise than the model's file says.
    differs: str = ""

    def tensors(self) -> Iterator[Tensor]:
        for word in self.words:
            if isinstance(word, Tensor):
                yield word

    def nested(self) -> Iterator[Step]:
        """This step, and those of its body."""
        yield self
        for step in self.body.steps if self.body else ():
            yield from step.nested()


@dataclass
class Result:
    """A result of the model: Python allocates it before the segment runs."""

    position: int
    dtype: np.dtype
    shape: Shape
    base: Size
    #: Where it is a cache: what it begins with, and along which axis; and whether it may grow where that lies.
    cache: Cache | None = None
    grows: bool = False


class Given(NamedTuple):
    """What a segment knows of the arrays that it begins with."""

    #: Where the table has the address, the lengths of how many axes behind it, and the axis whose gap is behind these,
    #: or -1.
    places: Sequence[tuple[int, int, int]]
    #: Of those whose numbers it reads: which array, the place of its numbers in the table, how many, bytes, signed.
    numbers: Sequence[tuple[int, int, int, int, int]]


@dataclass(eq=False)
class Segment:
    """Steps, and the tables that `kernels.program.run` reads."""

    #: What the arrays that it begins with must be like: types and axes; of those whose numbers it reads, shapes.
    key: tuple
    shapes: Sequence[tuple[int, tuple[int, ...]]]
    #: Words of the table in all.
    table_words: int
    steps: list[Step]
    results: list[Result]
    arena: Size
    arena_bytes: AnySize
    constants: list[tuple[int, int]]
    #: The record of `kernels.program.run`, and a copy of the steps' records for every frame to fill.
    words: np.ndarray
    records: np.ndarray
    kept: list[Any]
    #: What Python does next, and where the plan goes on; None after the last segment.
    tail: Any = None
    after: Any = None
    #: Results of the model that are objects: their positions, and the values that first were these.
    objects: Sequence[tuple[int, ir.Value]] = ()
    children: list[Segment] = field(default_factory=list)


def assemble(
    sizes: Sizes, steps: list[Step], blocks: Sequence[Storage], given: Given, results: Sequence[tuple[int, int, int]]
) -> tuple[np.ndarray, np.ndarray, AnySize, list[Any]]:
    """The record of a segment, its steps' records, the bytes of its arena, and what must live as long."""
    total = lay_out(blocks)
    total = total if isinstance(total, int) else sizes.placed(total)
    records, kept = _Records(sizes), []
    root = records.program(steps)
    segment = np.zeros(program.Segment.size, np.int64)
    rows = [np.array(each, np.int64).reshape(-1) for each in (given.places, results, given.numbers)]
    program.Segment.fill(
        segment, arrays=rows[0].ctypes.data, array_count=len(given.places), results=rows[1].ctypes.data,
        result_count=len(results), numbers=rows[2].ctypes.data, number_count=len(given.numbers),
    )  # fmt: skip
    kept += [*rows, *records.kept, _fill(segment, sizes, *root)]
    for body, parts in records.bodies:
        kept += [body.words, _fill(body.words, body.turn, *parts)]
    return segment, words_of(records.words), total, kept


def words_of(numbers: Sequence[Any]) -> np.ndarray:
    """Numbers, or rows of them, as words side by side."""
    try:
        return np.array(numbers, np.int64).reshape(-1)
    except OverflowError as error:
        raise ValueError("lengths and numbers that a model computes must fit 64 bits") from error


class _Records:
    """The records of steps, one behind the other, those of loops' bodies among them."""

    def __init__(self, sizes: Sizes) -> None:
        self._sizes, self._zero = sizes, sizes.placed(0).index
        self.words: list[int] = []
        self.kept: list[np.ndarray] = []
        #: The bodies, with their patches and calls.
        self.bodies: list[tuple[Body, tuple[list, list]]] = []

    def program(self, steps: Sequence[Step]) -> tuple[list, list]:
        """Add the records of a program; gives its patches and its calls."""
        patches: list[tuple[int, int, int]] = []
        calls: list[tuple[int, int]] = []
        for step in steps:
            calls.append((step.function, 8 * len(self.words)))
            for word in step.words:
                self._add(word, patches)
            if step.body is not None:
                self.bodies.append((step.body, self.program(step.body.steps)))
        return patches, calls

    def _add(self, word: Word, patches: list[tuple[int, int, int]]) -> None:
        number = 0
        if isinstance(word, Tensor):
            storage = word.storage
            assert storage is not None
            place = self._sizes.placed(storage.start + word.offset)
            patches.append((len(self.words), storage.base.index, place.index))
        elif isinstance(word, Size):
            patches.append((len(self.words), word.index, self._zero))
        elif isinstance(word, np.ndarray):
            self.kept.append(word)
            number = word.ctypes.data
        elif word is not None:
            number = int(word)
        self.words.append(number)


def _fill(words: np.ndarray, made: Sizes | Turn, patches: list, calls: list) -> list[np.ndarray]:
    """Write the record of a program; gives the tables that it points to."""
    rows_of: tuple[tuple[str, str, list], ...] = (
        ("code", "operations", made.code), ("guards", "guard_count", made.guards),
        ("patches", "patch_count", patches), ("steps", "step_count", calls),
    )  # fmt: skip
    tables = []
    for name, count, rows in rows_of:
        tables.append(words_of(rows))
        program.Program.fill(words, **{name: tables[-1].ctypes.data, count: len(rows)})
    return tables


def lay_out(blocks: Sequence[Storage]) -> AnySize:
    """Give each block its place: those that no step needs at the same time share a slot. The bytes of all."""
    slots: list[tuple[int, list[Storage]]] = []  # the last step of a slot, and its blocks
    for block in sorted((each for each in blocks if each.last >= 0), key=lambda each: each.first):
        wanted = hint(block.nbytes)
        free = [i for i, (last, _) in enumerate(slots) if last < block.first]
        if free:  # the one whose size fits best
            best = min(free, key=lambda i: abs(hint(slots[i][1][0].nbytes) - wanted))
            slots[best] = block.last, [*slots[best][1], block]
        else:
            slots.append((block.last, [block]))
    total: AnySize = 0
    for _, together in slots:
        size: AnySize = 0
        for block in together:
            block.start = total
            size = largest(size, block.nbytes)
        total = total + (size + (LINE - 1)) // LINE * LINE
    return total
