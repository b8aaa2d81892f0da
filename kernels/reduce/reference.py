"""The numpy reference of reductions: it defines every result, bit for bit.

    ReduceSum ReduceMean ReduceSumSquare ReduceL1 ReduceL2 ReduceMax ReduceMin ReduceProd

The values of a result, in ascending order of the reduced axes, the first of them outermost, are v_0 … v_(K-1). They are
combined in one of two orders, which depends on the axes alone, not on strides, threads or the instruction set:

    the last axis is reduced   value k goes to lane k % LANES, each in the order of k; then lanes are combined half to
                               half (as rowwise/reference.row_sum, which calls them streams and lanes)
    it is kept                 in the order of k

Both begin with the neutral element, which is the result of no values. `ReduceMax` and `ReduceMin` give NaN where a
value is NaN; of equal values (±0) the last one stays. Integers wrap.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..region.reference import maximum, minimum

LANES = 64

#: Arrays of numpy, or the lanes of isa/traced.py.
Values = Any


def _largest(kind: Any) -> Any:
    return np.inf if np.dtype(kind).kind == "f" else np.iinfo(kind).max


def _least(kind: Any) -> Any:
    return -np.inf if np.dtype(kind).kind == "f" else np.iinfo(kind).min


@dataclass(frozen=True)
class Reduction:
    """What is combined, how, the neutral element of a type, and what is made of the total, with K as a float."""

    combine: Callable[[Values, Values], Values]
    neutral: Callable[[Any], Any]
    before: Callable[[Values], Values] = lambda x: x
    after: Callable[[Values, Values], Values] | None = None


def _zero(kind: Any) -> int:
    return 0


def _one(kind: Any) -> int:
    return 1


#: By ONNX's name.
REDUCTIONS: dict[str, Reduction] = {
    "ReduceSum": Reduction(np.add, _zero),
    "ReduceMean": Reduction(np.add, _zero, after=lambda total, count: total / count),
    "ReduceSumSquare": Reduction(np.add, _zero, lambda x: x * x),
    "ReduceL1": Reduction(np.add, _zero, np.abs),
    "ReduceL2": Reduction(np.add, _zero, lambda x: x * x, lambda total, count: np.sqrt(total)),
    "ReduceMax": Reduction(maximum, _least),
    "ReduceMin": Reduction(minimum, _largest),
    "ReduceProd": Reduction(np.multiply, _one),
}
#: Types of the largest and the least; the first of all reductions. Booleans are bytes.
TYPES = ("float32", "int64", "int32", "float64", "uint32", "uint64", "uint8", "int8")
_ALL, _REAL, _ORDERED = TYPES[:6], ("float32", "float64"), ("ReduceMax", "ReduceMin")


def refused(name: str, kind: str) -> str:
    """Why there is no kernel; "" where there is one."""
    if name not in REDUCTIONS:
        return f"there is no kernel for reduction {name}"
    types = _REAL if REDUCTIONS[name].after is not None else TYPES if name in _ORDERED else _ALL
    if kind not in types or (name == "ReduceL1" and kind.startswith("u")):
        return f"{name} of {kind}: types are {', '.join(types)}"
    return ""


def _half_to_half(reduction: Reduction, parts: np.ndarray) -> np.ndarray:
    """[N, LANES] to [N]."""
    while parts.shape[1] > 1:
        low, high = np.split(parts, 2, axis=1)
        parts = reduction.combine(low, high)
    return parts[:, 0]


@np.errstate(all="ignore")
def reduce(name: str, x: np.ndarray, axes: Sequence[int]) -> np.ndarray:
    """`x` without `axes`."""
    reduction = REDUCTIONS[name]
    axes = sorted(axis % x.ndim for axis in axes)
    kept = [axis for axis in range(x.ndim) if axis not in axes]
    shape = [x.shape[axis] for axis in kept]
    count = int(np.prod([x.shape[axis] for axis in axes]))
    values = reduction.before(x.transpose(*kept, *axes).reshape(int(np.prod(shape)), count))
    lanes = LANES if x.ndim - 1 in axes else 1
    total = np.full((values.shape[0], lanes), reduction.neutral(x.dtype), x.dtype)
    for first in range(0, count, lanes):
        some = values[:, first : first + lanes]
        total[:, : some.shape[1]] = reduction.combine(total[:, : some.shape[1]], some)
    result = _half_to_half(reduction, total)
    if reduction.after is not None:
        result = reduction.after(result, x.dtype.type(np.float32(count)))
    return result.reshape(shape)
