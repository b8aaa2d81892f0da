"""Constants of a model as tensors, and what lowerings have packed of them: what all threads share."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import onnx_ir as ir

from ..files.pages import release
from ..files.weight_cache import WeightCache, packing
from ..graph.constants import Constants
from .sizes import Sizes
from .tensor import Storage, Tensor, dense_strides

#: Constants up to this many elements are looked at for shapes and axes.
SMALL = 4096


class Weights:
    """Of a plan: constants as tensors, and what lowerings have packed of them."""

    def __init__(self, model: ir.Model, sizes: Sizes, cache: WeightCache | None = None) -> None:
        self.model, self.sizes, self._cache = model, sizes, cache
        self.opset = model.opset_imports.get("", 0)
        self.constants = Constants(model)
        #: Words of the table that are the same in every frame: where constants are.
        self.addresses: list[tuple[int, int]] = []
        self._tensors: dict[ir.Value, Tensor] = {}
        self._packed: dict[Any, Any] = {}
        self._rooms: dict[ir.Node, tuple[ir.Value, ir.Value]] = {}

    def tensor(self, value: ir.Value) -> Tensor:
        if value not in self._tensors:
            self._tensors[value] = self.tensor_of(self.constants.weight(value))
        return self._tensors[value]

    def tensor_of(self, array: np.ndarray) -> Tensor:
        """A constant. The array is kept."""
        array = in_memory(array)
        contents = None
        if array.size <= SMALL and array.dtype.kind in "iub":
            contents = array.astype(object)
        base = self.sizes.variable(0)
        tensor = Tensor(
            array.dtype, array.shape, Storage(base, array.nbytes), 0, dense_strides(array.shape, array.itemsize),
            contents=contents, array=array,
        )  # fmt: skip
        self.addresses.append((base.index, array.ctypes.data))
        return tensor

    def room_of(self, node: ir.Node) -> tuple[ir.Value, ir.Value]:
        """Values that are in no graph: all that a node may give, and how many it gives (`Trace.counted`)."""
        if node not in self._rooms:
            self._rooms[node] = ir.Value(name="room"), ir.Value(name="count")
        return self._rooms[node]

    def packed(self, kind: Any, arrays: Sequence[np.ndarray | None], make: Callable[[], Any]) -> Any:
        """What `make` gives for constants, made once.

        They are told apart by identity: a value of the graph may stand for other constants in another branch.
        """
        key = (kind, *map(id, arrays))
        if key not in self._packed:
            lasting = isinstance(kind, (str, tuple))  # a node is told apart in this process only
            with packing(self._cache if lasting else None, repr(kind), arrays):
                self._packed[key] = make(), tuple(arrays)  # which must not be freed while their ids count
            for array in arrays:  # most are not read again
                release(array)
        return self._packed[key][0]


def in_memory(array: np.ndarray) -> np.ndarray:
    """The array as steps take it."""
    if array.dtype.hasobject:  # steps copy bytes, and count no references
        raise ValueError("texts cannot be held, only numbers")
    return np.require(array, requirements=["C", "A"])
