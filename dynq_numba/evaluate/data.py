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
from dataclasses import dataclass
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np
import onnx_ir as ir

from ..arguments import checks
from ..arguments.extras import load
from ..onnx.feeds import NodeArg
from .batches import Batch, Reader
from .probe import probe

#: Rows of a batch.
BATCH = 64
#: What `read_data` takes.
Source = str | PathLike[str] | Mapping[str, Any] | Iterable[Mapping[str, Any]] | None


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
        arrays, found = probe(inputs, model, seed), Reader(inputs, batch, "the synthetic probe")
        what = f"a synthetic probe of random numbers (seed {seed}), not real data"
        return Data(what, True, _Batches(lambda: found.of_arrays(arrays)), seed, found.rows_of(arrays))
    if isinstance(source, (str, PathLike)):
        return _from_path(Path(source), inputs, batch)
    reader = Reader(inputs, batch, "data")
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
    reader, name = Reader(inputs, batch, path.name), path.name
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


def _from_parquet(path: Path, reader: Reader) -> Data:
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
