"""Numbers of a plan that are known only when it runs: lengths, and what is computed from them.

    rows = sizes.variable(8)            8 is a hint: what the number is in the run for which the plan is made
    cells = rows * 12 + 4               another Size; the plan's table gets one more word, its code one more operation
    if cells == 100: …                  a guard: the plan is right only where the comparison comes out the same

So code that plans is ordinary arithmetic on shapes, and finds out by itself on what it depends. A plan is used for
every run whose numbers pass its guards.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

from ..kernels.program.run import Operation, computed

_compute = getattr(computed, "py_func", computed)


class Varying(Exception):
    """A plan depends on a number that is another one in each turn of a loop."""


class Turn:
    """What is computed anew in each turn of a loop, as `Sizes.code` and `Sizes.guards` are in each run."""

    def __init__(self, depth: int) -> None:
        self.depth = depth
        self.code: list[tuple[int, int, int, int]] = []
        self.guards: list[tuple[int, int]] = []


class Size:
    """A number in a plan's table. Arithmetic gives others; a comparison gives a bool and leaves a guard."""

    __slots__ = ("index", "sizes", "turn")

    def __init__(self, sizes: Sizes, index: int, turn: Turn | None = None) -> None:
        self.sizes, self.index = sizes, index
        #: The innermost loop with whose turns it changes.
        self.turn = turn

    @property
    def hint(self) -> int:
        return self.sizes.hints[self.index]

    def __add__(self, other: AnySize) -> AnySize:
        return self if _is(other, 0) else self.sizes.apply(Operation.ADD, self, other)

    def __sub__(self, other: AnySize) -> AnySize:
        return self if _is(other, 0) else self.sizes.apply(Operation.SUB, self, other)

    def __rsub__(self, other: int) -> AnySize:
        return self.sizes.apply(Operation.SUB, other, self)

    def __mul__(self, other: AnySize) -> AnySize:
        if isinstance(other, int) and other in (0, 1):
            return self if other else 0
        return self.sizes.apply(Operation.MUL, self, other)

    def __floordiv__(self, other: AnySize) -> AnySize:
        return self if _is(other, 1) else self.sizes.apply(Operation.FLOOR_DIVIDE, self, other)

    def __rfloordiv__(self, other: int) -> AnySize:
        return self.sizes.apply(Operation.FLOOR_DIVIDE, other, self)

    def __mod__(self, other: AnySize) -> AnySize:
        return 0 if _is(other, 1) else self.sizes.apply(Operation.MODULO, self, other)

    def __rmod__(self, other: int) -> AnySize:
        return self.sizes.apply(Operation.MODULO, other, self)

    def __neg__(self) -> AnySize:
        return 0 - self

    __radd__, __rmul__ = __add__, __mul__

    def __eq__(self, other: object) -> bool:
        if self is other:
            return True
        if not isinstance(other, (int, Size)):
            return NotImplemented
        return self.sizes.decide(Operation.EQUAL, self, other)

    def __lt__(self, other: AnySize) -> bool:
        return self.sizes.decide(Operation.LESS, self, other)

    def __gt__(self, other: AnySize) -> bool:
        return self.sizes.decide(Operation.LESS, other, self)

    def __le__(self, other: AnySize) -> bool:
        return not self > other

    def __ge__(self, other: AnySize) -> bool:
        return not self < other

    def __bool__(self) -> bool:
        return self != 0

    def __index__(self) -> int:
        """The number itself: the plan is for this one only."""
        if self.turn is not None:
            raise Varying("it depends on the number of the turn")
        self.sizes.decide(Operation.EQUAL, self, self.hint)
        return self.hint

    __int__ = __index__

    def __hash__(self) -> int:
        return hash(self.index)

    def __repr__(self) -> str:
        return str(self.hint)


AnySize = int | Size
Shape = tuple[AnySize, ...]


def _is(value: Any, number: int) -> bool:
    return isinstance(value, int) and value == number


def largest(a: AnySize, b: AnySize) -> AnySize:
    """The larger one, without a guard."""
    return _either(Operation.MAX, a, b)


def smallest(a: AnySize, b: AnySize) -> AnySize:
    """The smaller one, without a guard."""
    return _either(Operation.MIN, a, b)


def is_same(a: AnySize, b: AnySize) -> int | Size:
    """1 where they are equal, else 0; without a guard."""
    return _either(Operation.EQUAL, a, b)


def is_less(a: AnySize, b: AnySize) -> int | Size:
    """1 where a < b, else 0; without a guard."""
    return _either(Operation.LESS, a, b)


def _either(operation: Operation, a: AnySize, b: AnySize) -> AnySize:
    owner = next((each for each in (a, b) if isinstance(each, Size)), None)
    return int(_compute(operation, a, b)) if owner is None else owner.sizes.apply(operation, a, b)


def product(sizes: Sequence[AnySize]) -> AnySize:
    """Of all; 1 of none."""
    total: AnySize = 1
    for size in sizes:
        total = total * size
    return total


def hint(size: AnySize) -> int:
    """The number in the run for which the plan is made."""
    return size.hint if isinstance(size, Size) else size


def settled(size: AnySize) -> AnySize:
    """A number that is the same in every turn of a loop; a guard sees to it."""
    if isinstance(size, Size) and size.turn is not None:
        size.sizes.decide(Operation.EQUAL, size, size.hint)
        return size.hint
    return size


class Known(NamedTuple):
    """What has been computed and decided up to a place in a plan."""

    sizes: dict[tuple, Size]
    decided: dict[int, bool]


class Sizes:
    """The table of a plan, and what the segment that is being planned computes in it."""

    def __init__(self) -> None:
        #: The words of the table by now, as they are in the run for which a segment is planned. Each is one segment's.
        self.hints: list[int] = []
        self.begin(Known({}, {}), [])
        #: Where the table itself is, and the records of the segment that runs: steps of loops work on them.
        self.table, self.records = self.variable(0), self.variable(0)

    @property
    def count(self) -> int:
        """Words of the table by now."""
        return len(self.hints)

    def begin(self, known: Known, hints: Sequence[int]) -> None:
        """Plan a segment that follows a place where this was known and the table's words were these."""
        self.hints[: len(hints)] = hints
        self._known, self._decided = dict(known.sizes), dict(known.decided)
        self.code: list[tuple[int, int, int, int]] = []
        self.constants: list[tuple[int, int]] = []
        self.guards: list[tuple[int, int]] = []

    def known(self) -> Known:
        """For the segments that follow."""
        return Known(self._known, self._decided)

    def variable(self, hint: int, turn: Turn | None = None) -> Size:
        """A number that Python writes into the table before a segment runs, or a loop in each turn."""
        self.hints.append(hint)
        return Size(self, self.count - 1, turn)

    def placed(self, value: AnySize) -> Size:
        """A number's place in the table."""
        if isinstance(value, Size):
            return value
        key = ("constant", int(value))
        if key not in self._known:
            self._known[key] = self.variable(int(value))
            self.constants.append((self._known[key].index, int(value)))
        return self._known[key]

    def apply(self, operation: Operation, a: AnySize, b: AnySize) -> Size:
        first, second = self.placed(a), self.placed(b)
        key = (operation, first.index, second.index)
        if key not in self._known:
            turn = max(first.turn, second.turn, key=lambda each: 0 if each is None else each.depth)
            size = self.variable(int(_compute(operation, first.hint, second.hint)), turn)
            code = self.code if turn is None else turn.code
            code.append((operation, first.index, second.index, size.index))
            self._known[key] = size
        return self._known[key]

    def decide(self, operation: Operation, a: AnySize, b: AnySize) -> bool:
        """Whether it is so in the run for which the plan is made; in others a guard sees to it."""
        size = self.apply(operation, a, b)
        truth = bool(size.hint)
        if size.index not in self._decided:
            self._decided[size.index] = truth
            guards = self.guards if size.turn is None else size.turn.guards
            guards.append((size.index, int(truth)))
        return truth
