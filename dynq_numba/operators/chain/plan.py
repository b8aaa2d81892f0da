"""What a chain's steps take and give, in which groups they run, and where what is between them lies."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np

from ...arguments import checks
from ...arguments.checks import F32
from ...kernels.activations.reference import ACTIVATIONS
from ...kernels.linear.many import MOST
from ..linear.packed import PackedLinear
from . import step


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
        self.steps: list[tuple[str, Any, str]] = []
        arguments: list[str] = []
        sums = [(name, each.sum) for name, each in steps.items() if getattr(each, "sum", None) is not None]
        for name, result in (*((name, name) for name in steps), *sums):
            if not _is_name(result):
                raise TypeError(f"steps must give values with names like Python's; got {result!r} of {name!r}")
        self._given = {*steps, *(result for _, result in sums)}
        before: str | None = None
        for name, each in steps.items():
            if not isinstance(each, step.Step):
                raise TypeError(f"steps must map names to steps of dq.step; got {name!r}: {checks.describe(each)}")
            each = _looked_at(f"steps[{name!r}]", each)
            source = (before or "x") if each.x is None else each.x
            takes, gives = self._columns(name, each, source)
            self._take(name, "x", source, takes, arguments)
            for what, wanted in _others(each):
                self._take(name, what, wanted, gives, arguments)
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

    def _columns(self, name: str, each: Any, source: str) -> tuple[int, int]:
        """Columns of a step's x and result."""
        if isinstance(each, step.Linear):
            return each.w.shape[1], each.w.shape[0]
        if isinstance(each, step.SwiGLU):
            if source not in self.widths:
                raise ValueError(f"steps[{name!r}]: x must be given or taken by an earlier step; got {source!r}")
            return self.widths[source], self.widths[source]
        return len(each.weight), len(each.weight)

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
            head = self.steps[groups[-1][0]] if groups else None
            names = {self.steps[j][0] for j in groups[-1]} if groups else set()
            if (
                head is not None and isinstance(each, step.Linear) and isinstance(head[1], step.Linear)
                and source == head[2] and not names & {source, each.residual}
                and len(groups[-1]) < MOST and _alike(each.w, head[1].w)
            ):  # fmt: skip
                groups[-1].append(i)
            else:
                groups.append([i])
        return groups

    def _placed(self) -> tuple[dict[str, Place], int]:
        """Every value's place. Scratch that was read for the last time is taken again by later groups."""
        last = {value: number for number, group in enumerate(self.groups) for i in group for value in self._used(i)}
        places: dict[str, Place] = {}
        for name in (*self.arguments, *self.returns):
            places[name] = Place(len(places), self.widths[name], -1)
        held: dict[str, tuple[int, int]] = {}  # bytes and begin of the room of a value
        free: list[tuple[int, int]] = []
        total = 0
        for number, group in enumerate(self.groups):
            for value in (value for i in group for value in self._made(i) if value not in places):
                size = 4 * self.widths[value]
                room = next((room for room in sorted(free) if room[0] >= size), None)
                if room is None:
                    room, total = (size, total), total + size
                else:
                    free.remove(room)
                held[value], places[value] = room, Place(len(places), self.widths[value], room[1])
            free += [held.pop(value) for value in list(held) if last[value] == number]
        return places, total

    def _made(self, i: int) -> list[str]:
        """Names of what a step gives."""
        name, each, _ = self.steps[i]
        total = getattr(each, "sum", None)
        return [name] if total is None else [name, total]

    def _used(self, i: int) -> list[str]:
        """Names of all values that a step reads or writes."""
        _, each, source = self.steps[i]
        return [*self._made(i), source, *(value for _, value in _others(each))]


def _is_name(value: Any) -> bool:
    """Whether a value may be called so: as an argument, too, of which `threads` is one already."""
    return isinstance(value, str) and value.isidentifier() and value != "threads"


def _looked_at(where: str, each: Any) -> Any:
    """A step whose fields were looked at, arrays as float32."""
    if isinstance(each, step.SwiGLU):
        return each
    if isinstance(each, step.Linear):
        if type(each.w) is not PackedLinear:
            raise TypeError(f"{where}: w must be a PackedLinear from pack_linear; got {checks.describe(each.w)}")
        if each.w.x_granularity != "per_token":
            raise ValueError(f'{where}: w must be packed with x_granularity="per_token"; got {each.w.x_granularity!r}')
        if each.activation is not None:
            checks.choice(f"{where}: activation", each.activation, ACTIVATIONS)
        return each
    weight, eps = _vector(f"{where}: weight", each.weight), _number(f"{where}: eps", each.eps)
    if each.sum is not None and each.residual is None:
        raise ValueError(f"{where}: sum must go with a residual; got {each.sum!r} without")
    if isinstance(each, step.RMSNorm):
        return replace(each, weight=weight, eps=eps)
    bias = None if each.bias is None else _vector(f"{where}: bias", each.bias)
    if bias is not None and len(bias) != len(weight):
        raise ValueError(f"{where}: bias must have the {len(weight)} values of weight; got {len(bias)}")
    return replace(each, weight=weight, bias=bias, eps=eps)


def _others(each: Any) -> list[tuple[str, str]]:
    """(parameter, name of a value) of what a step takes beside x; as wide as its result."""
    if isinstance(each, step.SwiGLU):
        return [("up", each.up)]
    return [] if each.residual is None else [("residual", each.residual)]


def _alike(a: PackedLinear, b: PackedLinear) -> bool:
    """Whether two weights of one x may run as one step (kernels/linear/many.py, `together`)."""
    mine, theirs = ((w.bits, w.group_size, w.symmetric, w.rotate, w.outliers) for w in (a, b))
    return mine == theirs


def _vector(where: str, value: Any) -> np.ndarray:
    array = checks.float_array(where, value, ndim=1)
    return np.array(array)  # the chain's own


def _number(where: str, value: Any) -> float:
    if isinstance(value, (bool, np.bool_)) or not isinstance(value, (int, float, np.integer, np.floating)):
        raise TypeError(f"{where} must be a number; got {checks.describe(value)}")
    if not 0 <= value <= float(np.finfo(F32).max):
        raise ValueError(f"{where} must be finite in float32 and not negative; got {value}")
    return float(value)
