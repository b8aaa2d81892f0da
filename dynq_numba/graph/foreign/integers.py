"""A weight as integers and scales, and what our functions take of it.

    weight = whole · scale        whole = stored integers - zero points; scale has the same axes, each of 1 or of a
                                  divisor of the length: of all values, of a channel, of blocks

Weights of our kernels are within ±127 where a channel has one scale. uint8 less a zero point, or -128, may be beyond.
Such an integer is the sum of two: x has that column twice. Nothing is rounded.

    x · w = [x, x_k] · [[w'], [w_k - w'_k]]
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
import onnx_ir as ir

from ..constants import Constants
from ..rewrites.base import Editor, NoMatch

#: The largest magnitude of an integer of a channel.
MOST = 127
#: What differs from the file, said of a layer in reports.
PER_ROW = "activations row-wise instead of the file's per tensor"
FLOAT_BEFORE = "activations row-wise in 8 bits instead of the file's float32"


class Integers(NamedTuple):
    """whole int16 or int32, and scale float32 with as many axes."""

    whole: np.ndarray
    scale: np.ndarray

    def turned(self, *order: int) -> Integers:
        """With axes in another order."""
        return Integers(self.whole.transpose(order), self.scale.transpose(order))

    def floats(self) -> np.ndarray:
        """The float32 weight, as DequantizeLinear gives it."""
        scale = self.scale
        for axis, (length, count) in enumerate(zip(self.whole.shape, scale.shape, strict=True)):
            scale = scale if count in (1, length) else scale.repeat(-(-length // count), axis).take(range(length), axis)
        return self.whole * scale


def stored(q: np.ndarray, scale: np.ndarray, zero: np.ndarray | None, axis: int = 0) -> Integers:
    """Of the stored integers; scale and zero point of all values, of each index along an axis, or of blocks."""
    whole = q.astype(np.int16 if q.dtype.itemsize == 1 else np.int32)

    def spread(array: np.ndarray) -> np.ndarray:
        if array.ndim == q.ndim and q.ndim > 1:
            return array
        shape = [1] * q.ndim
        if array.size > 1:
            shape[axis] = array.size
        return array.reshape(shape)

    scale = spread(np.asarray(scale, np.float32))
    if zero is not None and zero.any():
        points = spread(zero.astype(whole.dtype))
        for place, (length, count) in enumerate(zip(whole.shape, points.shape, strict=True)):
            if count not in (1, length):
                points = points.repeat(-(-length // count), place).take(range(length), place)
        whole = whole - points
    return Integers(whole, scale)


def in_even_blocks(array: np.ndarray, axis: int, length: int, block: int) -> np.ndarray | None:
    """Scales or zero points of blocks, of which the last may be shorter, as those of blocks that divide the length.

    None where there are not as many as blocks.
    """
    if array.shape[axis] != -(-length // block):
        return None
    places = np.arange(0, length, math.gcd(block, length)) // block
    return array.take(places, axis) if array.shape[axis] > 1 else array


def integers_of(value: ir.Value | None, edit: Editor) -> Integers | None:
    """The integers that a constant weight is stored as: a DequantizeLinear, maybe with Transpose or Reshape behind."""
    turn = edit.maker(value, "Transpose")
    if turn is not None:
        found = integers_of(turn.inputs[0], edit)
        if found is None:
            return None
        order = turn.attributes.get_ints("perm", tuple(reversed(range(found.whole.ndim))))
        return found.turned(*order)
    shaped = edit.maker(value, "Reshape")
    if shaped is not None:
        found, shape = integers_of(shaped.inputs[0], edit), edit.array(shaped.inputs[1])
        return None if found is None or shape is None else _of_rows(found, shape)
    node = edit.maker(value, "DequantizeLinear")
    return None if node is None else dequantized(node, edit.constants)


def _of_rows(found: Integers, shape: np.ndarray) -> Integers | None:
    """In another shape that has the same rows, where a row has one scale."""
    whole, scale = found
    if whole.ndim != 2 or scale.shape not in ((len(whole), 1), (1, 1)) or shape[-1] != whole.shape[1]:
        return None
    shape = np.where(shape == 0, (*whole.shape, *shape)[: len(shape)], shape)  # 0 is as long as before
    whole = whole.reshape(shape)
    return Integers(whole, scale.reshape(*whole.shape[:-1], 1) if len(scale) > 1 else scale.reshape((1,) * whole.ndim))


def dequantized(node: ir.Node, constants: Constants) -> Integers | None:
    """What a DequantizeLinear of constants gives, where that is float32."""
    q, scale, *points = (constants.array(value) for value in node.inputs)
    if q is None or scale is None or scale.dtype != np.float32 or (points and points[0] is None and node.inputs[2]):
        return None
    if node.attributes.get_int("output_dtype", 0) not in (0, ir.DataType.FLOAT) or q.dtype.name.startswith("float"):
        return None
    axis, block = node.attributes.get_int("axis", 1) % max(q.ndim, 1), node.attributes.get_int("block_size", 0)
    given: list[np.ndarray | None] = [scale, *points[:1]]
    if block > 0 and scale.ndim == q.ndim:
        even = [None if each is None else in_even_blocks(each, axis, q.shape[axis], block) for each in given]
        if any(now is None and was is not None for was, now in zip(given, even, strict=True)):
            return None
        given = even
    steps, zero, *_ = [*given, None]
    assert steps is not None
    return stored(q, steps, zero, axis)


def within(whole: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Integers [..., K] within ±127 that sum up to `whole`, int8 [..., K'], and which columns of x the others take."""
    parts, places = [np.clip(whole, -MOST, MOST)], [np.zeros(0, np.int64)]
    rest, columns = whole - parts[0], np.arange(whole.shape[-1])
    while rest.any():
        used = rest.any(axis=tuple(range(rest.ndim - 1)))
        rest, columns = rest[..., used], columns[used]
        part = np.clip(rest, -MOST, MOST)
        parts.append(part)
        places.append(columns)
        rest = rest - part
    return np.concatenate(parts, axis=-1).astype(np.int8), np.concatenate(places)


def widened(x: ir.Value, columns: np.ndarray, axis: int, edit: Editor) -> tuple[ir.Value, list[ir.Node]]:
    """x with some of its columns, along an axis, once more behind the others; and the nodes that make it."""
    if not columns.size:
        return x, []
    again = edit.node("Gather", [x, edit.constant("columns", columns)], {"axis": axis}, like=x)
    whole = edit.node("Concat", [x, again.outputs[0]], {"axis": axis}, like=x)
    return whole.outputs[0], [again, whole]


def channel_scales(scale: np.ndarray, axis: int, count: int) -> np.ndarray:
    """One for each index along an axis [count], of scales that vary along that axis only; raises `NoMatch`."""
    if scale.size != scale.shape[axis]:
        raise NoMatch("its scales vary along the values that are summed up")
    return np.array(np.broadcast_to(scale.reshape(-1), count), np.float32)


def added(node: ir.Node, outputs: int, edit: Editor) -> tuple[ir.Node, np.ndarray | None]:
    """The Add of a constant bias [N] behind a MatMul, and that; else the node itself."""
    user = edit.only_user(node.outputs[0])
    if user is None or user.op_type != "Add" or user.domain != "":
        return node, None
    array = next((floats_of(each, edit) for each in user.inputs if each is not node.outputs[0] and each), None)
    if array is None or array.shape not in ((outputs,), (1,), ()):
        return node, None
    return user, array


def floats_of(value: ir.Value, edit: Editor) -> np.ndarray | None:
    """A constant of float32, whichever way it is stored."""
    node = edit.maker(value, "DequantizeLinear")
    if node is not None:
        found = dequantized(node, edit.constants)
        return None if found is None else found.floats()
    return edit.array(value)
