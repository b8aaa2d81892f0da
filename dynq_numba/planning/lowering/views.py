"""Operators that only look at the same memory in another way, and those that only name numbers of shapes."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import onnx_ir as ir

from ..sizes import AnySize, Shape, largest, product, smallest
from ..tensor import Tensor, broadcast, broadcast_strides, dense_strides, expect, is_one, same
from ..trace import Trace, Unsupported
from .base import BOOL, I64, attribute_ints, axes_of, axis_of, dtype_of, lengths_of
from .numbers import number_tensor


def shape(trace: Trace, node: ir.Node) -> None:
    """Shape"""
    lengths = trace.input(node, 0).shape[node.attributes.get_int("start", 0) : node.attributes.get_int("end", None)]
    trace.set(node.outputs[0], number_tensor(np.array([None, *lengths], object)[1:], I64))


def size(trace: Trace, node: ir.Node) -> None:
    """Size"""
    total = np.empty((), object)
    total[()] = product(trace.input(node, 0).shape)
    trace.set(node.outputs[0], number_tensor(total, I64))


def identity(trace: Trace, node: ir.Node) -> None:
    """Identity, Dropout"""
    if any(map(trace.is_read, node.outputs[1:])):
        raise Unsupported("the mask of Dropout")
    if node.op_type == "Dropout" and trace.optional(node, 2) is not None and trace.constant(node, 2).any():
        raise Unsupported("training")
    assert node.inputs[0] is not None
    trace.give(node.outputs[0], node.inputs[0])


def bit_cast(trace: Trace, node: ir.Node) -> None:
    """BitCast"""
    tensor, to = trace.memory(trace.input(node, 0)), dtype_of(node.attributes.get_int("to", 0))
    if to.itemsize != tensor.itemsize or to.hasobject:
        raise ValueError(f"BitCast must be to a type of {tensor.itemsize} bytes; got {to}")
    trace.set(node.outputs[0], replace(tensor.view(tensor.shape, tensor.strides), dtype=to))


def optional(trace: Trace, node: ir.Node) -> None:
    """OptionalGetElement, OptionalHasElement, of a tensor or of nothing"""
    if node.op_type == "OptionalGetElement":
        trace.set(node.outputs[0], trace.input(node, 0))
        return
    there = np.empty((), object)
    there[()] = int(trace.optional(node, 0) is not None)
    trace.set(node.outputs[0], number_tensor(there, BOOL))


def reshaped(trace: Trace, tensor: Tensor, shape: Shape) -> Tensor:
    """The tensor's elements in order, with other axes."""
    if len(shape) == tensor.rank and all(map(same, shape, tensor.shape)):
        return tensor
    dense = trace.dense(tensor)
    return dense.view(shape, dense_strides(shape, dense.itemsize))


def reshape(trace: Trace, node: ir.Node) -> None:
    """Reshape"""
    tensor = trace.input(node, 0)
    wanted = trace.ints(node, 1) or []
    if not node.attributes.get_int("allowzero", 0):
        wanted = [tensor.shape[i] if n == 0 else n for i, n in enumerate(wanted)]
    unknown = [i for i, n in enumerate(wanted) if n < 0]
    if len(unknown) > 1:
        raise ValueError(f"one length may be -1; got {wanted}")
    if unknown:
        given, total = list(tensor.shape), [n for i, n in enumerate(wanted) if i != unknown[0]]
        for n in tuple(total):  # what is in both is not divided: lengths may be 0, and codes stay short
            found = next((i for i, other in enumerate(given) if same(n, other)), None)
            if found is not None:
                del given[found]
                total.remove(n)
        left, right = product(given), product(total)
        wanted[unknown[0]] = left if is_one(right) else left // right
        if not is_one(right):
            expect(wanted[unknown[0]] * right, left, "elements before and after Reshape")
    else:
        expect(product(wanted), tensor.size, "elements before and after Reshape")
    trace.set(node.outputs[0], reshaped(trace, tensor, tuple(wanted)))


def flatten(trace: Trace, node: ir.Node) -> None:
    """Flatten"""
    tensor = trace.input(node, 0)
    axis = node.attributes.get_int("axis", 1)
    axis += tensor.rank if axis < 0 else 0
    trace.set(node.outputs[0], reshaped(trace, tensor, (product(tensor.shape[:axis]), product(tensor.shape[axis:]))))


def _axes(trace: Trace, node: ir.Node) -> list[int] | None:
    given = trace.ints(node, 1)
    return attribute_ints(node, "axes") if given is None else [int(n) for n in given]


def unsqueeze(trace: Trace, node: ir.Node) -> None:
    """Unsqueeze"""
    tensor = trace.memory(trace.input(node, 0))
    axes = _axes(trace, node) or []
    rank = tensor.rank + len(axes)
    lengths, strides = list(tensor.shape), list(tensor.strides)
    for axis in sorted(axes_of(axes, rank)):
        lengths.insert(axis, 1)
        strides.insert(axis, 0)
    trace.set(node.outputs[0], tensor.view(tuple(lengths), tuple(strides)))


def squeeze(trace: Trace, node: ir.Node) -> None:
    """Squeeze"""
    tensor = trace.memory(trace.input(node, 0))
    axes = _axes(trace, node)
    if axes is None:
        gone = {i for i, n in enumerate(tensor.shape) if n == 1}
    else:
        gone = set(axes_of(axes, tensor.rank))
        for axis in gone:
            expect(tensor.shape[axis], 1, "an axis that Squeeze removes and 1")
    left = [i for i in range(tensor.rank) if i not in gone]
    trace.set(
        node.outputs[0], tensor.view(tuple(tensor.shape[i] for i in left), tuple(tensor.strides[i] for i in left))
    )


def transpose(trace: Trace, node: ir.Node) -> None:
    """Transpose"""
    tensor = trace.memory(trace.input(node, 0))
    order = attribute_ints(node, "perm") or list(range(tensor.rank))[::-1]
    if sorted(order) != list(range(tensor.rank)):
        raise ValueError(f"perm must have each of {tensor.rank} axes once; got {order}")
    trace.set(
        node.outputs[0], tensor.view(tuple(tensor.shape[i] for i in order), tuple(tensor.strides[i] for i in order))
    )


def expand(trace: Trace, node: ir.Node) -> None:
    """Expand"""
    tensor = trace.memory(trace.input(node, 0))
    wanted = broadcast([tensor.shape, tuple(lengths_of(trace.ints(node, 1) or []))])
    trace.set(node.outputs[0], tensor.view(wanted, broadcast_strides(tensor, wanted)))


def _bounded(place: AnySize, length: AnySize, least: AnySize, most: AnySize) -> AnySize:
    """A start or end of a slice: counted from the end where it is negative, moved into the axis."""
    if isinstance(place, int) and place >= 0 and is_zero(least):
        return smallest(place, most) if place else 0
    if isinstance(place, int) and place < 0:
        return largest(place + length, least)
    return smallest(largest(place + length if place < 0 else place, least), most)


def is_zero(size: AnySize) -> bool:
    return isinstance(size, int) and size == 0


def slice_(trace: Trace, node: ir.Node) -> None:
    """Slice"""
    tensor = trace.memory(trace.input(node, 0))
    starts, ends = trace.ints(node, 1) or [], trace.ints(node, 2) or []
    axes = axes_of(trace.ints(node, 3) or range(len(starts)), tensor.rank)
    steps = [int(n) for n in trace.ints(node, 4) or [1] * len(starts)]
    if 0 in steps or len(set(axes)) < len(axes):
        raise ValueError(f"steps must not be 0, and axes all different; got {steps} and {axes}")
    lengths, strides = list(tensor.shape), list(tensor.strides)
    offset: AnySize = 0
    for start, end, axis, step in zip(starts, ends, axes, steps, strict=True):
        n = tensor.shape[axis]
        if step > 0:
            first, last = _bounded(start, n, 0, n), _bounded(end, n, 0, n)
            count = largest(last - first + (step - 1), 0) // step
            if same(first, 0) and same(last, n) and step == 1:
                count = n
        else:
            first, last = (smallest(_bounded(place, n, low, n - 1), n - 1) for place, low in ((start, 0), (end, -1)))
            count = largest(first - last + (-step - 1), 0) // -step
        lengths[axis] = count
        offset = offset + first * tensor.strides[axis]
        strides[axis] = step * tensor.strides[axis]
    trace.set(node.outputs[0], tensor.view(tuple(lengths), tuple(strides), offset))


def split(trace: Trace, node: ir.Node) -> None:
    """Split"""
    tensor = trace.memory(trace.input(node, 0))
    axis = axis_of(node, tensor.rank, 0)
    parts = trace.ints(node, 1)
    if parts is None:
        count = node.attributes.get_int("num_outputs", len(node.outputs))
        each = (tensor.shape[axis] + (count - 1)) // count
        n = tensor.shape[axis]
        parts = [smallest(each, largest(n - each * i, 0)) for i in range(count)]
    place: AnySize = 0
    for value, length in zip(node.outputs, lengths_of(parts), strict=True):
        lengths = (*tensor.shape[:axis], length, *tensor.shape[axis + 1 :])
        trace.set(value, tensor.view(lengths, tensor.strides, place * tensor.strides[axis]))
        place = place + length
    expect(place, tensor.shape[axis], "the parts of Split together and its axis")


LOWERINGS = {
    "Shape": shape, "Size": size, "Identity": identity, "Dropout": identity, "Reshape": reshape, "Flatten": flatten,
    "Unsqueeze": unsqueeze, "Squeeze": squeeze, "Transpose": transpose, "Expand": expand, "Slice": slice_,
    "Split": split, "BitCast": bit_cast, "OptionalGetElement": optional, "OptionalHasElement": optional,
}  # fmt: skip
