"""What a segment begins with: arrays, and the numbers of those that shapes are made of, which compiled code reads."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import numpy as np
import onnx_ir as ir

from .caches import gap_of, gap_strides
from .segment import Given
from .tensor import Storage, Tensor, dense_strides
from .trace import Trace

#: An array whose numbers are read has so many at most.
MOST = 64


def begin(
    trace: Trace,
    values: Sequence[ir.Value] | Tensor,
    arrays: Sequence[np.ndarray],
    objects: Iterable[ir.Value],
    read: set[int],
    gaps: Mapping[ir.Value, int],
) -> tuple[Given, dict[Storage, int]]:
    """Tell a trace what the arrays are, values or the tensor it wanted to know, and the numbers of those in `read`.

    Values that are objects are no arrays. `gaps`: the axis of those that may have a gap behind one.
    Gives that, and which arrays may be read, by their storage.
    """
    sizes, numbers, contents = trace.sizes, [], {}
    for i in sorted(read):
        array = arrays[i]
        known = [sizes.variable(number) for number in array.reshape(-1).tolist()]
        contents[i] = np.array([None, *known], object)[1:].reshape(array.shape)
        if known:
            numbers.append((i, known[0].index, array.size, array.itemsize, int(array.dtype.kind == "i")))
    trace.state.objects |= {value: value for value in objects}
    if isinstance(values, Tensor):
        trace.learn(values, contents[0])
        return Given([], numbers), {}
    bound, places = [], {}
    known_ones = [value for value in values if value not in trace.state.objects]
    for i, (value, array) in enumerate(zip(known_ones, arrays, strict=True)):
        storage = Storage(sizes.variable(0), 0)
        lengths = tuple([sizes.variable(length) for length in array.shape])
        shape, axis = array.shape if i in read else lengths, gaps.get(value, -1)
        if axis < 0:
            strides = dense_strides(shape, array.itemsize)
        else:
            strides = gap_strides(shape, array.itemsize, axis, sizes.variable(gap_of(array, axis)))
        trace.set(value, Tensor(array.dtype, shape, storage, 0, strides, contents=contents.get(i)))
        bound.append((storage.base.index, array.ndim, axis))
        if array.size <= MOST and array.dtype.kind in "iub" and axis < 0:
            places[storage] = i
    return Given(bound, numbers), places


def behind(tensor: Tensor, places: dict[Storage, int]) -> set[int]:
    """Of which arrays, by their storage, the numbers of a tensor are made; none where it depends on more."""
    if tensor.storage is not None:
        return {places[tensor.storage]} if tensor.storage in places else set()
    found: set[int] = set()
    for each in () if tensor.expression is None else tensor.expression.operands:
        if each.contents is None and each.array is None:
            part = behind(each, places)
            if not part:
                return set()
            found |= part
    return found
