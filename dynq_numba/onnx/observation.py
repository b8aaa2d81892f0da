"""What values of a model are like over some data: quantizing with smoothing, outliers or gptq wants it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import onnx_ir as ir

from ..arguments import checks
from ..graph.layers.base import Observed
from ..graph.model import infer_shapes
from .session import InferenceSession

#: Data as `quantize` takes them: the arrays of one run by the names of inputs, or an iterable of such mappings.
Data = Mapping[str, Any] | Iterable[Mapping[str, Any]]
#: Rows of a run that layers are tried on, and of all runs.
TRIED, MOST_TRIED = 64, 512


class Observations:
    """What values of one model are over the same data; each is looked at once.

    Parameters
    ----------
    data : mapping of str to array, or iterable of such mappings
        One run, or several. An iterable is read once and kept.
    """

    def __init__(self, data: Data) -> None:
        if isinstance(data, Mapping):
            data = [data]
        elif isinstance(data, (str, bytes)) or not isinstance(data, Iterable):
            raise TypeError(f"data must be a mapping of names to arrays, or several; got {checks.describe(data)}")
        self.feeds = list(data)
        if not self.feeds:
            raise ValueError("data must hold at least one run; it is empty")
        self._found: dict[str, Observed] = {}

    def of(self, model: ir.Model, names: Sequence[str]) -> Mapping[str, Observed]:
        """Run the float model; the values of these names, where they are float32 of at least one axis."""
        missing = [name for name in names if name not in self._found]
        if missing:
            self._look(model, missing)
        return {name: self._found[name] for name in names if name in self._found}

    def _look(self, model: ir.Model, names: Sequence[str]) -> None:
        model = model.clone()
        infer_shapes(model)
        graph, values = model.graph, {value.name: value for value in model.graph.inputs}
        values |= {value.name: value for node in graph for value in node.outputs}
        inputs = {value.name for value in graph.inputs}
        wanted = [name for name in names if name not in inputs and _has_shape(values.get(name))]
        known = {value.name for value in graph.outputs}
        graph.outputs.extend(values[name] for name in wanted if name not in known)
        session = InferenceSession(model)
        taken = [name for name in names if name in inputs]
        asked = wanted or [session.get_outputs()[0].name]  # a run says what is wrong with feeds
        for i, feeds in enumerate(self.feeds, 1):
            results = dict(zip(asked, session.run(asked, feeds), strict=True))
            values_of = {name: results[name] for name in wanted}
            values_of |= {name: np.asarray(feeds[name]) for name in taken if name in feeds}
            for name, array in values_of.items():
                if array.dtype == np.float32 and array.ndim and array.size:
                    if not np.isfinite(array).all():
                        raise ValueError(f"data must give finite values; {name} has NaN or infinite ones in run {i}")
                    self._add(name, array.reshape(-1, array.shape[-1]))

    def _add(self, name: str, rows: np.ndarray) -> None:
        amax, wide = np.abs(rows).max(axis=0), rows.astype(np.float64)
        gram, some = wide.T @ wide, rows[:: -(-len(rows) // TRIED)].copy()
        before = self._found.get(name)
        if before is not None:
            amax, gram = np.maximum(amax, before.amax), gram + before.gram
            some = before.rows if len(before.rows) >= MOST_TRIED else np.concatenate([before.rows, some])
        self._found[name] = Observed(amax, gram, some)


def _has_shape(value: ir.Value | None) -> bool:
    """Whether it can be an output."""
    return value is not None and value.type is not None and value.shape is not None
