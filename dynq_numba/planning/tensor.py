"""Values of a graph while it is planned: where they lie in memory, or what they will be computed from."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from .sizes import AnySize, Shape, Size, hint, product

#: Steps of a segment beyond any that there is: storage that a later segment reads lives that long.
FOREVER = 1 << 60


@dataclass(eq=False)
class Storage:
    """Memory: a constant, an array that Python holds, a result, or a block of the segment's arena."""

    #: Where the table has the address; of a block that of the arena.
    base: Size
    nbytes: AnySize
    is_block: bool = False
    #: Bytes from there; of a block it is known once the segment is whole.
    start: AnySize = 0
    #: The first and the last step that touch it.
    first: int = FOREVER
    last: int = -1

    def touch(self, step: int) -> None:
        self.first, self.last = min(self.first, step), max(self.last, step)


@dataclass(eq=False)
class Expression:
    """A value that is not computed yet: an elementwise operator of ONNX on others."""

    operator: str
    operands: tuple[Tensor, ...]
    #: Further operands, the same in every run: attributes.
    options: tuple[Any, ...] = ()
    #: Nodes of the graph that it stands for.
    nodes: tuple[str, ...] = ()


@dataclass(eq=False, frozen=True)
class Tensor:
    """A value: its type and shape, and at least one of storage, contents and expression."""

    dtype: np.dtype
    shape: Shape
    storage: Storage | None = None
    #: Bytes from the storage's start, and from one element to the next on each axis.
    offset: AnySize = 0
    strides: Shape = ()
    #: The numbers themselves where a plan may depend on them: an object array of ints and Sizes.
    contents: np.ndarray | None = None
    expression: Expression | None = None
    #: The numbers of a constant.
    array: np.ndarray | None = field(default=None, repr=False)

    @property
    def rank(self) -> int:
        return len(self.shape)

    @property
    def size(self) -> AnySize:
        return product(self.shape)

    @property
    def itemsize(self) -> int:
        return self.dtype.itemsize

    def is_dense(self) -> bool:
        """Whether its elements lie one behind the other."""
        return self.storage is not None and all(
            same(a, b) or is_one(n)
            for a, b, n in zip(self.strides, dense_strides(self.shape, self.itemsize), self.shape, strict=True)
        )

    def covers(self, other: Tensor) -> bool:
        """Whether both have the same elements, each once, if perhaps with axes in another order."""
        if self.storage is not other.storage or not same(self.offset, other.offset) or not other.is_dense():
            return False
        left = [pair for pair in zip(other.shape, other.strides, strict=True) if not is_one(pair[0])]
        for length, stride in zip(self.shape, self.strides, strict=True):
            if not is_one(length):
                found = next((pair for pair in left if same(pair[0], length) and same(pair[1], stride)), None)
                if found is None:
                    return False
                left = [pair for pair in left if pair is not found]
        return not left

    def has_rows(self) -> bool:
        """Whether the elements of the last axis lie one behind the other."""
        return self.storage is not None and (
            self.rank == 0 or same(self.strides[-1], self.itemsize) or is_one(self.shape[-1])
        )

    def view(self, shape: Shape, strides: Shape, offset: AnySize = 0) -> Tensor:
        """Other axes over the same memory."""
        return replace(
            self, shape=shape, strides=strides, offset=self.offset + offset, contents=None, expression=None, array=None
        )


def same(a: AnySize, b: AnySize) -> bool:
    """Whether they are known to be equal: the same number, or computed in the same way. Leaves no guard."""
    if isinstance(a, Size) or isinstance(b, Size):
        return a is b
    return a == b


def is_one(size: AnySize) -> bool:
    return isinstance(size, int) and size == 1


def dense_strides(shape: Sequence[AnySize], itemsize: int) -> Shape:
    """Bytes from element to element on each axis where they lie one behind the other."""
    strides: list[AnySize] = []
    step: AnySize = itemsize
    for length in reversed(shape):
        strides.append(step)
        step = length * step if isinstance(length, Size) else step * length
    return tuple(reversed(strides))


def is_equal(a: AnySize, b: AnySize) -> bool:
    """Whether two lengths are equal in the run for which the plan is made, and so in all runs that use it."""
    return same(a, b) or bool(a == b)


def alike(a: Shape, b: Shape) -> bool:
    """Whether two shapes are equal in all runs that use the plan."""
    return len(a) == len(b) and all(map(is_equal, a, b))


def broadcast(shapes: Sequence[Shape]) -> Shape:
    """ONNX's (and numpy's) common shape of several."""
    result: list[AnySize] = []
    for axis in range(1, max(map(len, shapes), default=0) + 1):
        lengths = [shape[-axis] for shape in shapes if len(shape) >= axis]
        chosen = next((n for n in lengths if isinstance(n, int) and n != 1), lengths[0])
        for length in lengths:
            if is_one(length) or same(length, chosen):
                continue
            if is_one(chosen) or chosen == 1:
                chosen = length
            elif not (is_equal(length, chosen) or length == 1):
                raise ValueError(f"shapes {', '.join(map(str, shapes))} do not fit each other")
        result.append(chosen)
    return tuple(reversed(result))


def expect(a: AnySize, b: AnySize, what: str) -> None:
    """Raise ValueError where two lengths that must be equal are not: kernels do not look at shapes again."""
    if not is_equal(a, b):
        raise ValueError(f"{what} must be equal; got {hint(a)} and {hint(b)}")


def broadcast_strides(tensor: Tensor, shape: Shape) -> Shape:
    """Strides with which a tensor is read as one of a larger shape: 0 where one element serves all."""
    missing = len(shape) - tensor.rank
    strides: list[AnySize] = [0] * missing
    for length, stride, wanted in zip(tensor.shape, tensor.strides, shape[missing:], strict=True):
        alone = not same(length, wanted) and (is_one(length) or length == 1)
        if not alone:
            expect(length, wanted, "lengths of axes")
        strides.append(0 if alone else stride)
    return tuple(strides)
