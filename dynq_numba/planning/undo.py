"""Dictionaries that can return to what they were: a lowering may give up half-way.

What a change replaces is noted, so that a mark costs nothing, however much is known by then.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from typing import TypeVar

import onnx_ir as ir

from .tensor import Storage, Tensor

K = TypeVar("K")


class Tensors(dict[K, Tensor]):
    """Tensors by what they stand for. They are set one by one, and never None."""

    def __init__(self, given: Mapping[K, Tensor] | None = None) -> None:
        super().__init__()
        self._replaced: list[tuple[K, Tensor | None]] = []
        for key, tensor in (given or {}).items():
            self[key] = tensor

    def __setitem__(self, key: K, tensor: Tensor) -> None:
        self._replaced.append((key, self.get(key)))
        self._put(key, tensor)

    def drop(self, keys: Iterable[K]) -> None:
        """Forget some, of which not all need be known."""
        for key in keys:
            if key in self:
                self._replaced.append((key, self[key]))
                self._put(key, None)

    def mark(self) -> int:
        """The place that `return_to` takes."""
        return len(self._replaced)

    def return_to(self, mark: int) -> None:
        """Take back all changes since a mark."""
        while len(self._replaced) > mark:
            self._put(*self._replaced.pop())

    def _put(self, key: K, tensor: Tensor | None) -> None:
        if tensor is None:
            del self[key]
        else:
            super().__setitem__(key, tensor)


class Values(Tensors[ir.Value]):
    """The tensors of a graph's values."""

    def __init__(self, given: Mapping[ir.Value, Tensor] | None = None) -> None:
        self._lying: dict[Storage, list[ir.Value]] = defaultdict(list)
        super().__init__(given)

    def lying_in(self, storage: Storage) -> list[ir.Value]:
        """The values whose tensors are views of it."""
        return self._lying[storage]

    def _put(self, key: ir.Value, tensor: Tensor | None) -> None:
        before = self.get(key)
        if before is not None and before.storage is not None:
            self._lying[before.storage].remove(key)
        if tensor is not None and tensor.storage is not None:
            self._lying[tensor.storage].append(key)
        super()._put(key, tensor)
