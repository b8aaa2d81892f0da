"""A plan's stand-in with NUMBA_DISABLE_JIT=1: onnx.reference runs the whole model, functions by their bodies."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from ..files.weight_cache import WeightCache
from .objects import copied, is_object
from .segment import Segment
from .trace import Lowerings


class Interpreted:
    """Runs a graph as `Plan` does, slowly, and with other bits where a function's body is not exact."""

    is_full = False

    def __init__(
        self, model: ir.Model, lowerings: Lowerings, threads: int = 0, cache: WeightCache | None = None
    ) -> None:
        from onnx.reference import ReferenceEvaluator

        self._names = [value.name or "" for value in model.graph.inputs]
        self._outputs = [value.name for value in model.graph.outputs]
        self._evaluator = ReferenceEvaluator(ir.to_proto(model))

    def run(self, feeds: tuple[np.ndarray, ...], out: dict[int, np.ndarray]) -> list[np.ndarray]:
        """Results for feeds; `out` has arrays for some of them."""
        try:
            found = self._evaluator.run(None, dict(zip(self._names, feeds, strict=True)))
        except Exception as error:  # onnx.reference raises whatever numpy does
            raise ValueError(f"the model cannot be computed: {error}") from error
        results = [copied(each) if is_object(each) else np.array(each) for each in found]
        for position, array in out.items():
            result = results[position]
            if (array.dtype, array.shape) != (result.dtype, result.shape):
                raise ValueError(
                    f"out[{self._outputs[position]!r}] must have shape {result.shape} and type {result.dtype}; "
                    f"got {array.shape}, {array.dtype}"
                )
            array[...] = result
            results[position] = array
        return results

    def segments(self) -> list[Segment]:
        """None: nothing is planned."""
        return []
