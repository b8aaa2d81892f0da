"""The results of a run: arrays that are made before steps fill them, callers' own, and objects."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
import onnx_ir as ir

from .caches import grown, origin
from .frame import Frame
from .objects import copied
from .segment import Segment


class Outputs:
    """What is known of a graph's results before any run.

    Attributes
    ----------
    positions : dict of value: int
        Of what steps make. Other positions are one of these again.
    """

    def __init__(self, graph: ir.Graph, caches: Iterable[int]) -> None:
        self.names = [value.name for value in graph.outputs]
        self.positions: dict[ir.Value, int] = {}
        self.twins: list[tuple[int, int]] = []
        for i, value in enumerate(map(origin, graph.outputs)):
            if self.positions.setdefault(value, i) != i:
                self.twins.append((i, self.positions[value]))
        #: Positions of those that are caches in some branch.
        self.caches = frozenset(caches)


class Results:
    """Of one run; `out` has the caller's arrays for some of them, by position."""

    def __init__(self, outputs: Outputs, out: Mapping[int, np.ndarray]) -> None:
        self._outputs, self._out = outputs, out
        self._found: list[Any] = [None] * len(outputs.names)

    def allocate(self, frame: Frame, segment: Segment, feeds: tuple[np.ndarray, ...]) -> tuple[np.ndarray, ...]:
        """The arrays that the steps of a segment write to."""
        made = []
        for result in segment.results:
            shape = tuple([frame.number(each) for each in result.shape])
            array = self._out.get(result.position) if self._out else None
            if array is not None and result.cache is None and result.position in self._outputs.caches:
                array = None  # it may have a gap, or lie where an input is: it is copied there at the end
            if array is None:
                cache = result.cache if result.grows else None
                array = np.empty(shape, result.dtype) if cache is None else grown(feeds[cache.input], shape, cache.axis)
            else:
                self._check(result.position, array, result.dtype, shape)
            self._found[result.position] = array
            made.append(array)
        return tuple(made)

    def take(self, objects: Iterable[tuple[int, Any]]) -> None:
        """Results that are objects, by position."""
        for position, each in objects:
            self._found[position] = copied(each)

    def whole(self) -> list[Any]:
        """All of them, once the run is over."""
        found = self._found
        for position, first in self._outputs.twins:
            found[position] = copied(found[first])
        for position, array in self._out.items():
            made = found[position]
            if made is not array and isinstance(made, np.ndarray):
                self._check(position, array, made.dtype, made.shape)
                array[...] = made
                found[position] = array
        return found

    def _check(self, position: int, array: np.ndarray, dtype: Any, shape: tuple[int, ...]) -> None:
        """Raise ValueError where an array of the caller's is not like a result."""
        if (array.dtype, array.shape) != (dtype, shape):
            name = self._outputs.names[position]
            raise ValueError(
                f"out[{name!r}] must have shape {shape} and type {dtype}; got {array.shape}, {array.dtype}"
            )
