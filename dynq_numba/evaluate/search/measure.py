"""What a recipe comes to: quantized, run on the data, timed."""

from __future__ import annotations

import sys
import tempfile
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from importlib import import_module
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from ...graph.receipt import Receipt
from ...onnx import InferenceSession, quantize
from ...onnx.observation import Observations
from ..batches import Batch
from ..fidelity import Tally

#: From the outputs by name, and the columns of the data that are no inputs, to a figure of which more is better.
Metric = Callable[[Mapping[str, np.ndarray], Mapping[str, np.ndarray]], float]
#: Timed runs; the first ones are not.
RUNS, WARM = 15, 3


class Measured(NamedTuple):
    """A recipe on some batches.

    Attributes
    ----------
    loss : float
        1 - mean cosine of the worst output to float.
    degradation : float
        The metric of float less the metric of this; the loss where there is no metric.
    bytes : int
        Of the artifact.
    ms : float
        The median of some runs on the first batch.
    """

    loss: float
    degradation: float
    bytes: int
    ms: float


class Bench:
    """A float model, its results on the data, and what measures candidates against them."""

    def __init__(
        self, model: Any, batches: Sequence[Batch], metric: Metric | None, threads: int | None, folder: str
    ) -> None:
        self.model, self.batches, self.metric = model, list(batches), metric
        self.threads, self.folder = threads, folder
        columns = set(batches[0].columns)
        other = sorted({name for batch in batches for name in columns ^ set(batch.columns)})
        if metric is not None and other:
            raise ValueError(f"data must have the same columns in all runs; {', '.join(other)} is in some of them only")
        self.observations = Observations([batch.feeds for batch in self.batches])
        session = InferenceSession(model, threads=threads)
        self.names = [each.name for each in session.get_outputs()]
        self.floats = [session.run(None, batch.feeds) for batch in self.batches]
        self.float_ms = timed(session, self.batches[0])

    def quantized(self, recipe: Mapping[str, Any], out: Path | None = None) -> Receipt:
        return quantize(self.model, out, recipe=recipe, data=self.observations)

    def measure(self, recipe: Mapping[str, Any], places: Sequence[int]) -> Measured:
        """Of the batches at these places."""
        with tempfile.TemporaryDirectory(dir=self.folder or None) as folder:
            path = Path(folder) / "candidate.onnx"
            receipt = self.quantized(recipe, path)
            session = InferenceSession(path, threads=self.threads)
            results = [session.run(None, self.batches[i].feeds) for i in places]
            ms = timed(session, self.batches[0])
        wanted = [self.floats[i] for i in places]
        loss = self.loss(wanted, results)
        degradation = loss
        if self.metric is not None:
            degradation = self.figure(wanted, places) - self.figure(results, places)
        return Measured(loss, degradation, receipt.artifact_bytes or 0, ms)

    def loss(self, wanted: Sequence[Sequence[Any]], results: Sequence[Sequence[Any]]) -> float:
        tallies = [Tally(name, decisions=False) for name in self.names]
        for one, other in zip(wanted, results, strict=True):
            for tally, a, b in zip(tallies, one, other, strict=True):
                tally.update(np.asarray(a), np.asarray(b))
        return max(float(tally.result().loss) for tally in tallies)

    def figure(self, results: Sequence[Sequence[Any]], places: Sequence[int]) -> float:
        assert self.metric is not None
        outputs = {name: _joined([each[i] for each in results]) for i, name in enumerate(self.names)}
        columns = {
            name: _joined([self.batches[i].columns[name] for i in places]) for name in self.batches[0].columns
        }
        found = float(self.metric(outputs, columns))
        if not np.isfinite(found):
            raise ValueError(f"metric must give a finite number; got {found} for {len(places)} batches")
        return found


def _joined(parts: Sequence[Any]) -> np.ndarray:
    """Rows of all runs; where runs have other lengths, an array of arrays."""
    arrays = [np.asarray(part) for part in parts]
    if len({array.shape[1:] for array in arrays}) == 1 and arrays[0].ndim:
        return np.concatenate(arrays)
    whole = np.empty(len(arrays), object)
    whole[:] = arrays
    return whole


def timed(session: InferenceSession, batch: Batch) -> float:
    """Milliseconds of a run, the median of some."""
    times = []
    for _ in range(RUNS):
        begun = time.perf_counter()
        session.run(None, batch.feeds)
        times.append(time.perf_counter() - begun)
    return float(np.median(times[WARM:]) * 1e3)


def times(model: Any, feeds: Mapping[str, Any], names: Collection[str], threads: int | None) -> dict[str, float]:
    """Microseconds of nodes of these names; where a step has several of them, each has an equal part of its time."""
    found: dict[str, float] = {}
    for step in InferenceSession(model, threads=threads).report(times=feeds):
        own = [node for node in step.nodes if node in names]
        for node in own:
            found[node] = found.get(node, 0.0) + (step.us or 0.0) / len(own)
    return found


def metric_of(name: str) -> Metric:
    """The function "package.module:function"; modules in the current folder are found, too."""
    module, _, attribute = name.partition(":")
    sys.path.insert(0, str(Path.cwd()))
    try:
        found = getattr(import_module(module), attribute) if attribute else None
    except (ImportError, AttributeError, ValueError) as error:
        raise ValueError(f"metric {name!r}: {error}") from error
    finally:
        sys.path.remove(str(Path.cwd()))
    if not callable(found):
        raise ValueError(f'metric must be "package.module:function"; got {name!r}')
    made: Metric = found
    return made
