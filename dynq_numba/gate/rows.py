"""What both models predict for each row of the data, and how long they take."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from importlib import import_module
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np

from ..evaluate import Batch, read_data
from ..graph.quantizer import Progress
from ..onnx import InferenceSession
from ..onnx.feeds import NodeArg
from .config import Config, ConfigError

#: Rounds of latency, batches in each, and seconds after which no further round begins.
ROUNDS, BATCHES, PATIENCE = 15, 4, 20.0
#: Axes of an array that no column reaches: arrays before `preprocess` may have any shape.
_ANY = 9


@dataclass
class Rows:
    """Rows of the data, and what became of them.

    Attributes
    ----------
    reference, candidate : array [rows, ...] or list of arrays
        Predictions: rows of an output, or what `postprocess` made of it.
    truth : array, list or None
        Labels.
    columns : dict of str to array [rows]
        Those of `slices`.
    latency_ratios : array [rounds] or None
        Time of the candidate over that of the reference.
    """

    reference: Any
    candidate: Any
    truth: Any = None
    columns: dict[str, np.ndarray] | None = None
    latency_ratios: np.ndarray | None = None

    def __len__(self) -> int:
        return len(self.reference)


def function_of(config: Config, key: str, name: str) -> Callable[..., Any]:
    """A function "module:function"; modules beside the file are found, too."""
    module, _, attribute = name.partition(":")
    folder = config.path.parent.resolve()
    sys.path.insert(0, str(folder))
    try:
        found = getattr(_module(folder / f"{module}.py", module), attribute)
    except (ImportError, AttributeError) as error:
        raise ConfigError([f"{config.path.name}: {key} = {name!r}: {error}"]) from error
    finally:
        sys.path.remove(str(folder))
    if not callable(found):
        raise ConfigError([f"{config.path.name}: {key} = {name!r} is no function"])
    return found


def _module(path: Path, name: str) -> ModuleType:
    """The file beside the goals; modules of that name that other goals have are others."""
    spec = spec_from_file_location(name, path) if path.is_file() else None
    if spec is None or spec.loader is None:
        return import_module(name)
    module = module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


class Runner:
    """Both sessions, and the way from a batch to predictions."""

    def __init__(self, config: Config) -> None:
        self.config = config
        self.sessions = [
            InferenceSession(path, threads=config.threads, semantics=config.semantics)
            for path in (config.reference, config.candidate)
        ]
        inputs, others = ([each.name for each in session.get_inputs()] for session in self.sessions)
        if inputs != others:
            raise ConfigError([f"{config.path.name}: the models must have the same inputs; got {inputs} and {others}"])
        self.outputs = [each.name for each in self.sessions[0].get_outputs()]
        self.output = config.output or self.outputs[0]
        if any(self.output not in [each.name for each in session.get_outputs()] for session in self.sessions):
            raise ConfigError([f"{config.path.name}: data.output must be one of {self.outputs}; got {self.output!r}"])
        self.before, self.after = (
            function_of(config, f"data.{key}", name) if (name := getattr(config, key)) else None
            for key in ("preprocess", "postprocess")
        )

    def batches(self) -> Iterable[Batch]:
        """The data, with feeds by the names of the columns."""
        inputs: Sequence[NodeArg]
        if self.before:
            inputs = [NodeArg(column, "column", ["rows"] + [None] * _ANY) for column in self.config.inputs.values()]
        else:
            given = self.sessions[0].get_inputs()
            unknown = sorted(set(self.config.inputs) - {each.name for each in given})
            if unknown:
                names = ", ".join(each.name for each in given)
                where = f"{self.config.path.name}: data.inputs"
                raise ConfigError([f"{where}: the model has no input {', '.join(unknown)}; it has {names}"])
            inputs = [each._replace(name=self.config.inputs.get(each.name, each.name)) for each in given]
        return read_data(self.config.data, inputs, batch=self.config.batch)

    def feeds(self, batch: Batch) -> dict[str, Any]:
        if self.before:
            return dict(self.before({**batch.columns, **batch.feeds}))
        names = self.config.inputs
        return {each.name: batch.feeds[names.get(each.name, each.name)] for each in self.sessions[0].get_inputs()}

    def predictions(self, session: InferenceSession, feeds: dict[str, Any], batch: Batch) -> Sequence[Any]:
        """One for each row of a batch."""
        names = [each.name for each in session.get_outputs()] if self.after else [self.output]
        results = dict(zip(names, session.run(names, feeds), strict=True))
        if self.after:
            made = self.after(results, {**batch.columns, **batch.feeds})
        else:
            made = results[self.output]
            made = made if np.ndim(made) and len(made) == batch.rows else [made]
        if len(made) != batch.rows:
            what = "postprocess" if self.after else f"output {self.output}"
            raise ValueError(f"{what} must give a prediction for each of {batch.rows} rows; got {len(made)}")
        return made


def predict(config: Config, *, latency: bool, progress: Progress | None = None) -> Rows:
    """Run both models on all rows.

    Raises
    ------
    ConfigError
        Where the file names what models or data do not have.
    ValueError, OSError
        Of models and data.
    """
    runner = Runner(config)
    made: list[list[Sequence[Any]]] = [[], []]
    kept: list[dict[str, Any]] = []
    wanted = [*dict.fromkeys([*config.slices, *([config.label] if config.label else [])])]
    columns: dict[str, list[Any]] = {name: [] for name in wanted}
    rows = 0
    for batch in runner.batches():
        given = {**batch.columns, **batch.feeds}
        for name in wanted:
            if name not in given:
                raise ConfigError([f"{config.path.name}: the data has no column {name!r}; it has {', '.join(given)}"])
            columns[name].append(given[name])
        feeds = runner.feeds(batch)
        kept += [feeds] if latency and len(kept) < BATCHES else []
        for session, found in zip(runner.sessions, made, strict=True):
            found.append(runner.predictions(session, feeds, batch))
        rows += batch.rows
        if progress:
            progress(rows, 0, "both models")
    if not rows:
        raise ValueError(f"the data has no rows: {config.data}")
    joined = {name: _joined(parts) for name, parts in columns.items()}
    truth = joined[config.label] if config.label else None
    slices = {name: np.asarray(joined[name]) for name in config.slices}
    for name, values in slices.items():
        if values.ndim != 1:
            raise ConfigError([f"{config.path.name}: column {name!r} must have one value a row to be a slice"])
    times = _latency(runner.sessions, kept) if latency else None
    return Rows(_joined(made[0]), _joined(made[1]), truth, slices, times)


def _joined(parts: Sequence[Any]) -> Any:
    """An array where all rows have one shape; else a list of arrays."""
    shapes = {np.shape(row) for part in parts for row in part}
    if len(shapes) == 1:
        return np.concatenate([np.asarray(part) for part in parts])
    return [np.asarray(row) for part in parts for row in part]


def _latency(sessions: Sequence[InferenceSession], feeds: Sequence[dict[str, Any]]) -> np.ndarray:
    """Both in turn, on the same batches; everything has run once before."""
    ratios, begun = list[float](), time.monotonic()
    while len(ratios) < ROUNDS and (len(ratios) < 3 or time.monotonic() - begun < PATIENCE):
        taken = []
        for session in sessions:
            start = time.perf_counter()
            for each in feeds:
                session.run(None, each)
            taken.append(time.perf_counter() - start)
        ratios.append(taken[1] / taken[0])
    return np.array(ratios)
