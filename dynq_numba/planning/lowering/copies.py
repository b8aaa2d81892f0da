"""Operators that move values: Concat, Pad, Tile, Gather, Range, ConstantOfShape."""

from __future__ import annotations

from dataclasses import replace
from functools import partial

import numpy as np
import onnx_ir as ir

from ...kernels.base.status import BAD_INDEX
from ...kernels.program import copy as kernels
from ...kernels.region import axes
from ..segment import Word
from ..sizes import AnySize, Size, largest, product
from ..tensor import Expression, Tensor, dense_strides, expect, same
from ..trace import Trace, Unsupported, sources
from .base import axes_of, axis_of, call, function_of, indices_only, lengths_of


def copy_into(trace: Trace, target: Tensor, source: Tensor) -> None:
    """target[…] = source[…], of the same shape."""
    source = trace.memory(source)
    axes = merged(target.shape, target.strides, source.strides)
    if len(axes) > kernels.MOST_AXES:
        raise Unsupported(f"a copy of {len(axes)} axes")
    words: list[Word] = [target, source, target.itemsize, len(axes)]
    for axis in axes:
        words += axis
    trace.step("copy", function_of(kernels.copy), words)


#: Axes of tensors, joined where they are known to be one stretch: no guard is left.
merged = partial(axes.merged, same=same)


def numbers_in_memory(trace: Trace, tensor: Tensor, value: ir.Value | None = None) -> Tensor:
    """Known numbers, written by a step."""
    assert tensor.contents is not None
    target = (
        trace.block(tensor.dtype, tensor.shape) if value is None else trace.result(value, tensor.dtype, tensor.shape)
    )
    given = tensor.contents.reshape(-1).tolist()
    trace.step("numbers", function_of(kernels.numbers), [target, target.itemsize, len(given), *given])
    target = replace(target, contents=tensor.contents)  # they are known as before
    if value is not None:
        trace.set(value, target)
    return target


def concat(trace: Trace, node: ir.Node) -> None:
    """Concat"""
    parts = [trace.memory(trace.input(node, i)) for i in range(len(node.inputs))]
    parts = [
        part for part in parts if not (part.rank == 1 and isinstance(part.shape[0], int) and part.shape[0] == 0)
    ] or parts[:1]
    axis = axis_of(node, parts[0].rank)
    if any(part.dtype != parts[0].dtype or part.rank != parts[0].rank for part in parts):
        raise ValueError("types or ranks do not fit each other")
    total: AnySize = 0
    for part in parts:
        total = total + part.shape[axis]
        for i, length in enumerate(parts[0].shape):
            if i != axis:
                expect(part.shape[i], length, "lengths of what Concat joins")
    shape = (*parts[0].shape[:axis], total, *parts[0].shape[axis + 1 :])
    value, dtype = node.outputs[0], parts[0].dtype
    joined(trace, trace.cache(value, dtype, shape, grows=True) or trace.result(value, dtype, shape), parts, axis)


def joined(trace: Trace, target: Tensor, parts: list[Tensor], axis: int) -> None:
    """Copy parts into a target, one behind the other."""
    place: AnySize = 0
    for part in parts:
        copy_into(trace, target.view(part.shape, target.strides, place * target.strides[axis]), part)
        place = place + part.shape[axis]


def fill(trace: Trace, target: Tensor, value: np.ndarray) -> None:
    bits = int.from_bytes(value.reshape(1).astype(target.dtype).tobytes(), "little", signed=value.dtype.itemsize == 8)
    call(trace, "fill", kernels.fill, kernels.Fill, out=target, itemsize=target.itemsize, count=target.size, value=bits)


def constant_of_shape(trace: Trace, node: ir.Node) -> None:
    """ConstantOfShape"""
    attribute = node.attributes.get_tensor("value", None)
    value = np.zeros(1, np.float32) if attribute is None else attribute.numpy()
    fill(trace, trace.result(node.outputs[0], value.dtype, tuple(lengths_of(trace.ints(node, 0) or []))), value)


def range_(trace: Trace, node: ir.Node) -> None:
    """Range"""
    first = trace.input(node, 0)
    if first.dtype.name not in ("int32", "int64", "float32", "float64"):
        raise Unsupported(f"Range of {first.dtype}")
    start, limit, delta = (_whole_number(trace, node, i) for i in range(3))
    step = int(delta)
    if step == 0:
        raise Unsupported("Range by 0")
    distance = limit - start if step > 0 else start - limit
    count = largest(distance + (abs(step) - 1), 0) // abs(step)
    if first.dtype.kind == "f":
        numbers = Expression("Cast", (ramp(trace, count, start, step),), (), sources(node))
        trace.set(node.outputs[0], Tensor(first.dtype, (count,), expression=numbers))
    else:
        ramp(trace, count, start, step, trace.result(node.outputs[0], first.dtype, (count,)))


def ramp(trace: Trace, count: AnySize, start: AnySize = 0, step: int = 1, target: Tensor | None = None) -> Tensor:
    """start, start + step …, in int64 or as `target` wants it."""
    target = target or trace.block(np.dtype(np.int64), (count,))
    call(
        trace, "ramp", kernels.ramp, kernels.Ramp, out=target, itemsize=target.itemsize, count=count, start=start,
        delta=step,
    )  # fmt: skip
    return target


def _whole_number(trace: Trace, node: ir.Node, i: int) -> AnySize:
    """A number of Range; a float that is whole, or was made of an integer."""
    tensor, value = trace.input(node, i), node.inputs[i]
    if tensor.dtype.kind != "f":
        return trace.numbers(tensor).reshape(-1)[0]
    if tensor.array is not None and tensor.array.size == 1 and tensor.array == np.rint(tensor.array):
        return int(tensor.array.reshape(()))
    cast = None if value is None else value.producer()
    if cast is not None and (cast.op_type, cast.domain) == ("Cast", ""):
        source = trace.state.values.get(cast.inputs[0])  # type: ignore[arg-type]
        if source is not None and source.dtype.kind in "iu":
            return trace.numbers(source).reshape(-1)[0]
    raise Unsupported(f"Range of {tensor.dtype} that may not be whole")


def tile(trace: Trace, node: ir.Node) -> None:
    """Tile"""
    tensor = trace.memory(trace.input(node, 0))
    repeats = lengths_of(trace.ints(node, 1) or [])
    lengths: list[AnySize] = []
    strides: list[AnySize] = []
    shape: list[AnySize] = []
    for times, length, stride in zip(repeats, tensor.shape, tensor.strides, strict=True):
        lengths += [times, length]
        strides += [0, stride]
        shape.append(times * length if isinstance(length, int) else length * times)
    target = trace.result(node.outputs[0], tensor.dtype, tuple(shape))
    spread = target.view(tuple(lengths), dense_strides(lengths, tensor.itemsize))
    copy_into(trace, spread, tensor.view(tuple(lengths), tuple(strides)))


def gather(trace: Trace, node: ir.Node) -> None:
    """Gather"""
    data, indices = trace.input(node, 0), trace.input(node, 1)
    axis = axis_of(node, data.rank, 0)
    known = indices.contents
    if indices.rank == 0 and known is not None:  # one place: a view
        place = known.reshape(-1)[0]
        if place < 0:
            place = place + data.shape[axis] if isinstance(place, Size) else data.shape[axis] + place
        if place < 0 or place >= data.shape[axis]:
            raise ValueError(f"indices must be those of axis {axis}")
        data = trace.memory(data)
        left = [i for i in range(data.rank) if i != axis]
        trace.set(node.outputs[0], data.view(
            tuple(data.shape[i] for i in left), tuple(data.strides[i] for i in left), place * data.strides[axis]
        ))  # fmt: skip
        return
    indices_only(indices)
    data, indices = trace.dense(data), trace.dense(indices)
    shape = (*data.shape[:axis], *indices.shape, *data.shape[axis + 1 :])
    inner = product(data.shape[axis + 1 :]) * data.itemsize
    call(
        trace, "gather", kernels.gather, kernels.Gather, {BAD_INDEX: f"indices must be those of axis {axis}"},
        out=trace.result(node.outputs[0], data.dtype, shape), data=data, indices=indices, index_bytes=indices.itemsize,
        outer=product(data.shape[:axis]), rows=data.shape[axis], count=indices.size, inner=inner,
    )  # fmt: skip


def gather_elements(trace: Trace, node: ir.Node) -> None:
    """GatherElements"""
    data, indices = trace.memory(trace.input(node, 0)), trace.dense(trace.input(node, 1))
    indices_only(indices)
    axis = axis_of(node, data.rank, 0)
    expect(indices.rank, data.rank, "axes of data and of indices")
    for i, (length, most) in enumerate(zip(indices.shape, data.shape, strict=True)):
        if i != axis and length > most:
            raise ValueError(f"indices must be no longer than data on axis {i}")
    record: dict[str, Word] = {
        "out": trace.result(node.outputs[0], data.dtype, indices.shape), "data": data, "indices": indices,
        "index_bytes": indices.itemsize, "itemsize": data.itemsize, "count": indices.size, "rows": data.shape[axis],
        "row_bytes": data.strides[axis], "axes": data.rank, "axis": axis,
    }  # fmt: skip
    words = [record[name] for name in kernels.Pick.kinds]
    for pair in zip(indices.shape, data.strides, strict=True):
        words += pair
    errors = {BAD_INDEX: f"indices must be those of axis {axis}"}
    trace.step("pick", function_of(kernels.pick), words, errors=errors)


def pad(trace: Trace, node: ir.Node) -> None:
    """Pad"""
    tensor = trace.memory(trace.input(node, 0))
    mode, given = node.attributes.get_string("mode", "constant"), trace.ints(node, 1) or []
    axes = axes_of(trace.ints(node, 3) or range(tensor.rank), tensor.rank)
    before: list[AnySize] = [0] * tensor.rank
    after: list[AnySize] = [0] * tensor.rank
    for i, axis in enumerate(axes):
        before[axis], after[axis] = given[i], given[i + len(axes)]
    if any(n < 0 for n in (*before, *after)):
        raise Unsupported("negative pads")
    lengths_of((*before, *after))
    shape = tuple(
        a + n + b if isinstance(a, Size) else n + a + b for a, n, b in zip(before, tensor.shape, after, strict=True)
    )
    if mode == "constant":
        value = trace.optional(node, 2)
        if value is not None and value.array is None:  # before the result takes its place in memory
            value = trace.memory(value)
        target = trace.result(node.outputs[0], tensor.dtype, shape)
        if value is not None and value.array is None:
            copy_into(trace, target, value.view(shape, (0,) * len(shape)))
        else:
            fill(trace, target, np.zeros(1, tensor.dtype) if value is None or value.array is None else value.array)
        start: AnySize = 0
        for n, stride in zip(before, target.strides, strict=True):
            start = start + n * stride if isinstance(n, Size) else start + stride * n
        copy_into(trace, target.view(tensor.shape, target.strides, start), tensor)
        return
    for axis in range(tensor.rank):
        if all(isinstance(n, int) and n == 0 for n in (before[axis], after[axis])):
            continue
        parts = _padded(tensor, axis, before[axis], after[axis], mode)
        last = all(isinstance(n, int) and n == 0 for n in (*before[axis + 1 :], *after[axis + 1 :]))
        lengths = (*tensor.shape[:axis], shape[axis], *tensor.shape[axis + 1 :])
        target = trace.result(node.outputs[0], tensor.dtype, lengths) if last else trace.block(tensor.dtype, lengths)
        joined(trace, target, parts, axis)
        tensor = target
    trace.set(node.outputs[0], tensor)


def _padded(tensor: Tensor, axis: int, before: AnySize, after: AnySize, mode: str) -> list[Tensor]:
    """What lies before, in and after an axis, as views."""
    n, stride = tensor.shape[axis], tensor.strides[axis]

    def part(length: AnySize, step: AnySize, first: AnySize) -> Tensor:
        lengths = (*tensor.shape[:axis], length, *tensor.shape[axis + 1 :])
        strides = (*tensor.strides[:axis], step, *tensor.strides[axis + 1 :])
        return tensor.view(lengths, strides, first * stride)

    least = {"reflect": largest(before, after) + 1, "edge": 1, "wrap": largest(before, after)}.get(mode, 0)
    if n < least:
        raise ValueError(f"axis {axis} is too short for these pads")
    if mode == "reflect":
        return [part(before, -stride, before), tensor, part(after, -stride, n - 2)]
    if mode == "edge":
        return [part(before, 0, 0), tensor, part(after, 0, n - 1)]
    if mode == "wrap":
        return [part(before, stride, n - before), tensor, part(after, stride, 0)]
    raise Unsupported(f"Pad with mode={mode}")


LOWERINGS = {
    "Concat": concat, "ConstantOfShape": constant_of_shape, "Range": range_, "Tile": tile, "Gather": gather, "Pad": pad,
    "GatherElements": gather_elements,
}  # fmt: skip
