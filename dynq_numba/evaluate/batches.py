"""Batches of feeds, of whole columns, of runs or of rows: checked, and of the types that a model takes."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from ..arguments import checks
from ..onnx.feeds import NodeArg

#: numpy's types by ONNX Runtime's names where they differ.
_NAMES = {"float": "float32", "double": "float64"}


@dataclass(frozen=True)
class Batch:
    """Feeds of one run, and what belongs to their rows.

    Attributes
    ----------
    feeds : dict of str to array
        For `InferenceSession.run`.
    columns : dict of str to array
        What is no input, by its name: a value for each row.
    first, rows : int
        The number of the first row in the data, and how many there are.
    """

    feeds: dict[str, np.ndarray]
    columns: dict[str, np.ndarray]
    first: int
    rows: int


@dataclass
class Reader:
    """Makes batches of arrays, runs or rows."""

    inputs: Sequence[NodeArg]
    batch: int
    #: What errors call the data.
    name: str
    known: dict[str, NodeArg] = field(init=False)

    def __post_init__(self) -> None:
        self.known = {each.name: each for each in self.inputs}
        #: Whether rows are slices of the first axis, of any number.
        self.open = bool(self.inputs) and all(each.shape and not isinstance(each.shape[0], int) for each in self.inputs)
        #: Whether a run is one row.
        self.ones = bool(self.inputs) and all(each.shape[:1] == [1] for each in self.inputs)

    def check_names(self, names: Iterable[str]) -> None:
        absent = [each for each in self.known if each not in set(names)]
        if absent:
            raise ValueError(f"{self.name} has no {', '.join(absent)}; it has {', '.join(names)}")

    def of_arrays(self, arrays: Mapping[str, Any]) -> Iterator[Batch]:
        """Batches of whole columns."""
        rows, stacked = self._layout(arrays)
        if rows is None:
            yield self._run(arrays, 0)
            return
        step = 1 if stacked or self.ones else self.batch
        for i in range(0, rows, step):
            part = {name: array if not np.ndim(array) else array[i] if stacked and name in self.known
                    else array[i : i + step] for name, array in arrays.items()}  # fmt: skip
            yield self._run(part, i, min(step, rows - i))

    def of_runs(self, runs: Iterable[Mapping[str, Any]]) -> Iterator[Batch]:
        """Batches that are given as such."""
        first = 0
        for run in runs:
            if not isinstance(run, Mapping):
                raise TypeError(f"data must be mappings of arrays; got {checks.describe(run)}")
            self.check_names(run)
            made = self._run(run, first)
            first += made.rows
            yield made

    def of_rows(self, rows: Iterable[Mapping[str, Any]]) -> Iterator[Batch]:
        """Batches of neighbouring rows of the same shapes."""
        first, shapes = 0, None
        group: list[tuple[dict[str, np.ndarray], Mapping[str, Any]]] = []
        for row in rows:
            arrays = {name: self._cast(name, np.asarray(row[name])) for name in self.known}
            found = {name: array.shape for name, array in arrays.items()}
            if group and (found != shapes or len(group) == (self.batch if self.open else 1)):
                yield self._joined(group, first)
                first, group = first + len(group), []
            shapes = found
            group.append((arrays, row))
        if group:
            yield self._joined(group, first)

    def rows_of(self, arrays: Mapping[str, Any]) -> int:
        rows, _ = self._layout(arrays)
        return self._run(arrays, 0).rows if rows is None else rows

    def _joined(self, group: list[tuple[dict[str, np.ndarray], Mapping[str, Any]]], first: int) -> Batch:
        feeds = {name: self._column(name, [arrays[name] for arrays, _ in group]) for name in self.known}
        columns = {name: _values([row[name] for _, row in group]) for name in group[0][1] if name not in feeds}
        for name, array in feeds.items():
            self._check(name, array)
        return Batch(feeds, columns, first, len(group))

    def _column(self, name: str, rows: list[np.ndarray]) -> np.ndarray:
        """Rows of an input as one array; a row may have the axis of the batch itself, with a length of 1."""
        if rows[0].ndim < len(self.known[name].shape):
            return np.stack(rows)
        if self.open and len(rows[0]) != 1:
            shape = rows[0].shape
            raise ValueError(f"rows of column {name} of {self.name} must be one row of the input each; got {shape}")
        return np.concatenate(rows) if self.open else rows[0]

    def _layout(self, arrays: Mapping[str, Any]) -> tuple[int | None, bool]:
        """How many rows whole columns have, None where all is one run; and whether runs are stacked."""
        self.check_names(arrays)
        given = {name: np.asarray(arrays[name]) for name in self.known}
        more = [name for name, each in self.known.items() if given[name].ndim == len(each.shape) + 1]
        stacked = bool(more) and len(more) == len(given)
        if not stacked and not self.open and not self.ones:
            return None, False
        lengths = {name: array.shape[0] for name, array in given.items() if array.ndim}
        others = {name: len(array) for name, array in arrays.items() if name not in given and np.ndim(array)}
        if len(set((lengths | others).values())) != 1:
            some = ", ".join(f"{name} {length}" for name, length in (lengths | others).items())
            raise ValueError(f"columns of {self.name} must have as many rows as each other; got {some}")
        return next(iter(lengths.values())), stacked

    def _run(self, arrays: Mapping[str, Any], first: int, rows: int | None = None) -> Batch:
        feeds = {name: self._cast(name, np.asarray(arrays[name])) for name in self.known}
        for name, array in feeds.items():
            self._check(name, array)
        if rows is None:
            rows = next(iter(feeds.values())).shape[0] if self.open else 1
        columns = {name: np.atleast_1d(np.asarray(array)) for name, array in arrays.items() if name not in feeds}
        return Batch(feeds, columns, first, rows)

    def _cast(self, name: str, array: np.ndarray) -> np.ndarray:
        """Of the input's type, where that loses no integer and no fraction but digits of floats."""
        kind = self.known[name].type
        if not kind.startswith("tensor(") or kind == "tensor(string)":
            return array
        short = kind[7:-1]
        dtype = dtype_of(short)
        if array.dtype == dtype:
            return array
        safe = dtype.kind == "f" and array.dtype.kind in "fiu"
        if dtype.kind in "iu" and array.dtype.kind in "iub":
            limits = np.iinfo(dtype)
            safe = not array.size or (int(array.min()) >= limits.min and int(array.max()) <= limits.max)
        if not safe:
            raise ValueError(f"{name} of {self.name} must be of type {dtype}; got {array.dtype}")
        return array.astype(dtype)

    def _check(self, name: str, array: np.ndarray) -> None:
        declared = self.known[name].shape
        fits = array.ndim == len(declared) and all(
            not isinstance(n, int) or n == length for n, length in zip(declared, array.shape, strict=True)
        )
        if not fits and self.known[name].type.startswith("tensor("):
            raise ValueError(f"{name} of {self.name} must have shape {declared}; got {list(array.shape)}")


def _values(values: Sequence[Any]) -> np.ndarray:
    """A value for each row; of lists of several lengths an array of objects."""
    try:
        return np.asarray(values)
    except ValueError:
        whole = np.empty(len(values), object)
        for i, value in enumerate(values):
            whole[i] = value
        return whole


def dtype_of(name: str) -> np.dtype:
    """numpy's type by ONNX Runtime's name of it."""
    return np.dtype(_NAMES.get(name, name))
