"""What a chain's steps take and give, in which groups they run, and where what is between them lies."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from ...arguments import checks
from ...kernels.linear.many import MOST
from ...runtime.arena import Life, arena
from .base import ChainStep


class Place(NamedTuple):
    """A value: how wide its rows are, and at which byte of a row of scratch it begins (-1: an array of the call)."""

    number: int
    width: int
    room: int


class Plan:
    """Steps that were looked at.

    Attributes
    ----------
    steps : list of (name, step, name of its x)
        Norms with weights of their own as float32.
    groups : list of lists of positions in `steps`
        Linears that share their x, or one step.
    arguments, returns : tuples of names
    widths : dict from names to columns
    places : dict from names to `Place`; arguments first, then what is returned
    row_bytes : int
        Bytes of scratch that a row takes.
    """

    def __init__(self, steps: Any, returns: Any):
        if not isinstance(steps, Mapping) or not steps:
            raise TypeError(f"steps must be a mapping of names to steps, one at least; got {checks.describe(steps)}")
        self.widths: dict[str, int] = {}
        self.steps: list[tuple[str, ChainStep, str]] = []
        arguments: list[str] = []
        sums = [(name, each.sum) for name, each in steps.items() if getattr(each, "sum", None) is not None]
        for name, result in (*((name, name) for name in steps), *sums):
            if not _is_name(result):
                raise TypeError(f"steps must give values with names like Python's; got {result!r} of {name!r}")
        self._given = {*steps, *(result for _, result in sums)}
        before: str | None = None
        for name, each in steps.items():
            if not isinstance(each, ChainStep):
                raise TypeError(f"steps must map names to steps of dq.step; got {name!r}: {checks.describe(each)}")
            each = each.checked(f"steps[{name!r}]")
            source = (before or "x") if each.x is None else each.x
            try:
                takes, gives = each.columns(self.widths.get(source))
            except ValueError as error:
                raise ValueError(f"steps[{name!r}]: {error}; got {source!r}") from None
            self._take(name, "x", source, takes, arguments)
            if each.beside is not None:
                self._take(name, *each.beside, gives, arguments)
            self.steps.append((name, each, source))
            for result in self._made(-1):
                if result in self.widths:
                    raise ValueError(f"steps[{name!r}]: there is a value {result!r} already")
                self.widths[result] = gives
            before = name
        self.arguments = tuple(arguments)
        self.returns = self._returned(returns, before)
        self.groups = self._grouped()
        self.places, self.row_bytes = self._placed()

    def _take(self, name: str, what: str, wanted: str, width: int, arguments: list[str]) -> None:
        if not _is_name(wanted):
            raise TypeError(f"steps[{name!r}]: {what} must be the name of a value; got {checks.describe(wanted)}")
        if wanted not in self.widths:
            if wanted in self._given:
                raise ValueError(f"steps[{name!r}]: {what} must be given by an earlier step; {wanted!r} comes later")
            arguments.append(wanted)
            self.widths[wanted] = width
        if self.widths[wanted] != width:
            raise ValueError(f"steps[{name!r}]: {what} must have {width} columns; {wanted!r} has {self.widths[wanted]}")

    def _returned(self, returns: Any, last: str | None) -> tuple[str, ...]:
        names = last if returns is None else returns
        chosen = (names,) if isinstance(names, str) else tuple(names) if isinstance(names, Sequence) else ()
        plain = chosen and all(isinstance(name, str) and name in self._given for name in chosen)
        if not plain or len(set(chosen)) < len(chosen):
            raise ValueError(f"returns must name steps or sums, each once; got {checks.describe(returns)}")
        return chosen

    def _grouped(self) -> list[list[int]]:
        """Linears behind each other that have the same x and take nothing of each other run as one step."""
        groups: list[list[int]] = []
        for i, (_, each, source) in enumerate(self.steps):
            _, leader, shared = self.steps[groups[-1][0]] if groups else (None, None, None)
            names = {self.steps[j][0] for j in groups[-1]} if groups else set()
            beside = each.beside[1:] if each.beside else ()
            if (
                leader is not None and source == shared and not names & {source, *beside}
                and len(groups[-1]) < MOST and each.joins(leader)
            ):  # fmt: skip
                groups[-1].append(i)
            else:
                groups.append([i])
        return groups

    def _placed(self) -> tuple[dict[str, Place], int]:
        """Every value's place: arrays of the call, and scratch for what is between the steps."""
        last = {value: number for number, group in enumerate(self.groups) for i in group for value in self._used(i)}
        names = (*self.arguments, *self.returns)
        places = {name: Place(number, self.widths[name], -1) for number, name in enumerate(names)}
        lives = {
            value: Life(number, last[value], 4 * self.widths[value])
            for number, group in enumerate(self.groups) for i in group for value in self._made(i) if value not in places
        }  # fmt: skip
        rooms, total = arena(list(lives.values()))
        for value, room in zip(lives, rooms, strict=True):
            places[value] = Place(len(places), self.widths[value], room)
        return places, total

    def _made(self, i: int) -> list[str]:
        """Names of what a step gives."""
        name, each, _ = self.steps[i]
        return [name] if each.total is None else [name, each.total]

    def _used(self, i: int) -> list[str]:
        """Names of all values that a step reads or writes."""
        _, each, source = self.steps[i]
        return [*self._made(i), source, *([each.beside[1]] if each.beside else [])]


def _is_name(value: Any) -> bool:
    """Whether a value may be called so: as an argument, too, of which `threads` is one already."""
    return isinstance(value, str) and value.isidentifier() and value != "threads"
