"""Data for models, in any form: arrays in files or in Python, or drawn from a seed, as batches of feeds.

| source | rows |
|---|---|
| FILE.npz, or a mapping of arrays | an array for each input, and for each other column |
| folder of NAME.npy | the same, mapped, so that only what is used is read |
| folder of FILE.npz | each is a run |
| FILE.parquet | each row of the table; lists are axes. Needs pyarrow |
| iterable of mappings | each is a run |
| None | a synthetic probe, drawn from a seed |

A row is a slice of the first axis of every input, where models leave its length open. Where they do not, an array
either has one more axis in front, of runs, or is one run. Columns that are no inputs, such as labels and slices, are
given beside the feeds.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np
import onnx_ir as ir

from ..arguments import checks
from ..arguments.extras import load
from ..onnx.feeds import NodeArg

#: Rows of a batch.
BATCH = 64
#: Of a synthetic probe: rows, and lengths of axes that models leave open, of images (4 axes) and of others.
ROWS, IMAGE, LENGTH = 64, 64, 16
#: Where integers of a probe end, if no table says how many rows it has.
_INTEGERS = 2
#: numpy's types by ONNX Runtime's names where they differ.
_TYPES = {"float": "float32", "double": "float64"}
#: What passes integers on to a table.
_PASSING = ("Cast", "Reshape", "Unsqueeze", "Squeeze", "Identity", "Transpose", "Flatten", "Clip", "Concat", "Slice")
#: What `read_data` takes.
Source = str | PathLike[str] | Mapping[str, Any] | Iterable[Mapping[str, Any]] | None


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
class Data:
    """Batches of feeds, and where they come from.

    Attributes
    ----------
    description : str
        Such as the name of a file. A synthetic probe says that it is one.
    synthetic : bool
    seed : int or None
        What a synthetic probe was drawn from.
    batches : iterable of Batch
        Read as it is walked; more than once, unless it was made from an iterator.
    rows : int or None
        Where it is known before all is read.
    """

    description: str
    synthetic: bool
    batches: Iterable[Batch]
    seed: int | None = None
    rows: int | None = None

    def __iter__(self) -> Iterator[Batch]:
        return iter(self.batches)


def read_data(
    source: Source, inputs: Sequence[NodeArg], *, model: ir.Model | None = None, batch: int = BATCH, seed: int = 0
) -> Data:
    """Read feeds for a model with these inputs.

    Parameters
    ----------
    source : path, mapping, iterable of mappings or None
        See the table above.
    inputs : sequence of NodeArg
        As `InferenceSession.get_inputs` gives them.
    model : onnx_ir.Model, optional
        In which a synthetic probe looks for the tables that integers are taken from.
    batch : int
        The most rows of a batch.
    seed : int
        Of a synthetic probe.

    Raises
    ------
    TypeError, ValueError
        Where it is something else, where an input is missing, and where types or lengths do not fit.
    OSError
        From reading.
    ImportError
        Of a parquet file without pyarrow.
    """
    if isinstance(batch, bool) or not isinstance(batch, int) or batch < 1:
        raise ValueError(f"batch must be a positive integer; got {batch!r}")
    if source is None:
        arrays, found = _probe(inputs, model, seed), _Reader(inputs, batch, "the synthetic probe")
        what = f"a synthetic probe of random numbers (seed {seed}), not real data"
        return Data(what, True, _Batches(lambda: found.of_arrays(arrays)), seed, found.rows_of(arrays))
    if isinstance(source, (str, PathLike)):
        return _from_path(Path(source), inputs, batch)
    reader = _Reader(inputs, batch, "data")
    if isinstance(source, Mapping):
        return Data("arrays", False, _Batches(lambda: reader.of_arrays(source)), rows=reader.rows_of(source))
    if isinstance(source, Iterable) and not isinstance(source, np.ndarray):
        runs = source
        again = _Batches(lambda: reader.of_runs(runs)) if iter(runs) is not runs else reader.of_runs(runs)
        return Data("an iterable of feeds", False, again)
    raise TypeError(
        f"data must be a path, a mapping of arrays, an iterable of mappings or None; got {checks.describe(source)}"
    )


@dataclass
class _Batches:
    """Walks a source from its beginning, every time."""

    begin: Any

    def __iter__(self) -> Iterator[Batch]:
        return iter(self.begin())


def _from_path(path: Path, inputs: Sequence[NodeArg], batch: int) -> Data:
    reader, name = _Reader(inputs, batch, path.name), path.name
    if path.is_dir():
        arrays = {each.stem: each for each in sorted(path.glob("*.npy"))}
        if arrays:
            mapped = {key: np.load(each, mmap_mode="r", allow_pickle=False) for key, each in arrays.items()}
            return Data(name, False, _Batches(lambda: reader.of_arrays(mapped)), rows=reader.rows_of(mapped))
        files = sorted(path.glob("*.npz"))
        if not files:
            raise ValueError(f"data must be a folder of .npy or .npz files; {path} has none")
        return Data(name, False, _Batches(lambda: reader.of_runs(_arrays(each) for each in files)))
    if path.suffix in (".parquet", ".pq"):
        return _from_parquet(path, reader)
    if path.suffix == ".npz":
        found = _arrays(path)
        return Data(name, False, _Batches(lambda: reader.of_arrays(found)), rows=reader.rows_of(found))
    path.open("rb").close()  # an error of the system's, if it cannot be read
    raise ValueError(f"data must be .npz, .parquet or a folder of .npy or .npz files; got {path}")


def _arrays(path: Path) -> dict[str, np.ndarray]:
    try:
        with np.load(path, allow_pickle=False) as file:
            return {name: file[name] for name in file.files}
    except (TypeError, AttributeError, ValueError) as error:
        raise ValueError(f"data must be an .npz file of plain arrays; {path} is none: {error}") from error


def _from_parquet(path: Path, reader: _Reader) -> Data:
    parquet = load("pyarrow.parquet", "evaluate", "reading parquet")
    try:
        file = parquet.ParquetFile(path)
    except ValueError as error:  # pyarrow's are such
        raise ValueError(f"data must be a parquet file; {path} is none: {error}") from error
    names, count = list(file.schema_arrow.names), file.metadata.num_rows
    reader.check_names(names)

    def rows() -> Iterator[dict[str, Any]]:
        for part in parquet.ParquetFile(path).iter_batches(1024):
            columns = {name: part.column(name).to_pylist() for name in names}
            for i in range(part.num_rows):
                yield {name: columns[name][i] for name in names}

    return Data(path.name, False, _Batches(lambda: reader.of_rows(rows())), rows=count)


@dataclass
class _Reader:
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
            part = {name: array[i] if stacked and name in self.known else array[i : i + step]
                    for name, array in arrays.items()}  # fmt: skip
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
        feeds = {name: np.stack([arrays[name] for arrays, _ in group]) for name in self.known}
        feeds = {name: array[0] if array.ndim == len(self.known[name].shape) + 1 else array
                 for name, array in feeds.items()}  # fmt: skip
        columns = {name: np.asarray([row[name] for _, row in group]) for name in group[0][1] if name not in feeds}
        for name, array in feeds.items():
            self._check(name, array)
        return Batch(feeds, columns, first, len(group))

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
        dtype = np.dtype(_TYPES.get(short, short))
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


def _probe(inputs: Sequence[NodeArg], model: ir.Model | None, seed: int) -> dict[str, np.ndarray]:
    """Random numbers for inputs: normal ones, row numbers of tables, and masks of ones."""
    rng, made = np.random.default_rng(seed), {}
    values = {} if model is None else {value.name: value for value in model.graph.inputs}
    for each in inputs:
        if not each.type.startswith("tensor(") or each.type == "tensor(string)":
            raise ValueError(f"{each.name} is {each.type}: a probe has numbers only; give data")
        other = IMAGE if len(each.shape) == 4 else LENGTH
        lengths = [n if isinstance(n, int) else ROWS if axis == 0 else other for axis, n in enumerate(each.shape)]
        short = each.type[7:-1]
        dtype = np.dtype(_TYPES.get(short, short))
        if dtype.kind == "f":
            made[each.name] = rng.standard_normal(lengths).astype(dtype)
        elif dtype.kind == "b" or "mask" in each.name.lower():
            made[each.name] = np.ones(lengths, dtype)
        else:
            below = _table_rows(values.get(each.name)) or _INTEGERS
            made[each.name] = rng.integers(0, min(below, np.iinfo(dtype).max), lengths).astype(dtype)
    return made


def _table_rows(value: ir.Value | None) -> int | None:
    """Rows of the smallest table that integers are taken from."""
    found: list[int] = []
    left, seen = [] if value is None else [value], set[ir.Value]()
    while left:
        each = left.pop()
        if each in seen:
            continue
        seen.add(each)
        for use in each.uses():
            node = use.node
            if node.op_type == "Gather" and use.idx == 1:
                shape = None if node.inputs[0] is None else node.inputs[0].shape
                axis = node.attributes.get_int("axis", 0)
                rows = None if shape is None else shape[axis]
                if isinstance(rows, int):
                    found.append(rows)
            elif node.op_type in _PASSING:
                left += node.outputs
    return min(found, default=None)
