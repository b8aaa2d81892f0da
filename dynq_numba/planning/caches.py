"""Caches of decoders: results that are an input and more behind it, in memory with room to grow.

    past [B, H, T, D] ─┐
                       Concat ─▶ present [B, H, T + S, D]
    new  [B, H, S, D] ─┘

    memory of a head  │ 0 … T - 1 │ T … T + S - 1 │ room              │   for C positions, twice those of the first run
                      past ───────▶
                      present ────────────────────▶

`present` is a view of its first positions. Where it is fed as `past`, and nobody has written behind it, the next run
writes only what is new, behind it: what past holds does not change. In all other cases past is copied: to new memory
where it was grown from twice (two beams), was not made here, or has no room left.

Such arrays are dense but for a *gap* behind the axis that grows: bytes from one stretch of it to the next.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple, cast

import numpy as np
import onnx_ir as ir

from ..graph.model import DOMAIN
from ..kernels.base.memory import ALIGN
from .objects import holds_objects
from .sizes import AnySize, Shape
from .tensor import dense_strides

#: The fewest positions that there is memory for.
LEAST = 64


class Cache(NamedTuple):
    """Of a graph: the input past, the result present, and the axis along which it grows."""

    input: int
    output: int
    axis: int
    #: What the result is another name of: in a branch, if a branch gives it.
    value: ir.Value
    #: Whether a caller may let the result lie where the input is: what the input holds does not change, or nobody else
    #: reads it.
    in_place: bool


def caches(graph: ir.Graph) -> list[Cache]:
    """Results of a graph that are an input, of any length, with something behind it or in it."""
    inputs = {value: i for i, value in enumerate(graph.inputs)}
    found: list[Cache] = []
    for position, result in enumerate(graph.outputs):
        for value in _origins(result):
            node = value.producer()
            given = _axis(node)
            past = None if node is None or given is None else node.inputs[0]
            if past is None or given is None or past not in inputs or not past.shape or holds_objects(past):
                continue
            axis = given % len(past.shape)
            if axis and not isinstance(past.shape[axis], int) and all(each.input != inputs[past] for each in found):
                in_place = node is not None and (node.op_type == "Concat" or _is_alone(node, past))
                found.append(Cache(inputs[past], position, axis, value, in_place))
    return found


def _is_alone(node: ir.Node, past: ir.Value) -> bool:
    """Whether no other node reads numbers of an input, and it is no result itself."""
    others = [each for each, _ in past.uses() if each is not node and each.op_type not in ("Shape", "Size")]
    return not others and [*node.inputs].count(past) == 1 and not past.is_graph_output()


def _axis(node: ir.Node | None) -> int | None:
    """Of a node whose result begins with its first input, or is that with something written into it, the axis."""
    if node is not None and (node.domain, node.op_type) == ("", "Concat") and len(node.inputs) == 2:
        return node.attributes.get_int("axis")
    if node is not None and (node.domain, node.op_type) == ("", "TensorScatter"):
        return node.attributes.get_int("axis", -2)
    return 2 if node is not None and (node.domain, node.op_type) == (DOMAIN, "Append") else None


def _origins(value: ir.Value) -> list[ir.Value]:
    """What a value is another name of, in each branch."""
    value = origin(value)
    node = value.producer()
    if node is None or (node.domain, node.op_type) != ("", "If"):
        return [value]
    place = list(node.outputs).index(value)
    branches = [node.attributes[name].as_graph() for name in ("then_branch", "else_branch")]
    return [each for branch in branches for each in _origins(branch.outputs[place])]


def origin(value: ir.Value) -> ir.Value:
    """What a value is another name of: results are often Identity of what a graph works with."""
    while True:
        node = value.producer()
        source = node.inputs[0] if node is not None and (node.domain, node.op_type) == ("", "Identity") else None
        if source is None or source.producer() is None or source.graph is not value.graph:
            return value
        value = source


class Room(np.ndarray[Any, Any]):
    """Memory, in bytes, with the arrays in it: views of the first positions."""

    #: How many positions are taken, in a list of one, which is empty while somebody takes more: no lock that a forked
    #: child could find closed.
    taken: list[int]
    #: Positions that there are; where the first one is, and the strides of the views.
    capacity: int
    start: int
    view_strides: Shape
    #: The axis along which they are.
    axis: int


def grown(past: np.ndarray, shape: tuple[int, ...], axis: int) -> np.ndarray:
    """An array of a shape that begins with past along an axis: in its memory where that may be, else in new memory."""
    room, length = past.base, shape[axis]
    fits = type(room) is Room and (room.axis, room.view_strides) == (axis, past.strides)
    if fits and _take(cast("Room", room), past.shape[axis], length):
        return _view(cast("Room", room), past.dtype, shape)
    capacity = max(LEAST, 2 * length)
    whole = (*shape[:axis], capacity, *shape[axis + 1 :])
    room = Room(math.prod(whole) * past.itemsize + ALIGN, np.uint8)
    room.taken, room.capacity, room.axis = [length], capacity, axis
    room.start, room.view_strides = -room.ctypes.data % ALIGN, dense_strides(whole, past.itemsize)
    return _view(room, past.dtype, shape)


def _take(room: Room, there: int, length: int) -> bool:
    """Take the positions from `there` to `length`, if they are free. Of several threads one gets them."""
    try:
        taken = room.taken.pop()
    except IndexError:
        return False
    free = taken == there and length <= room.capacity
    room.taken.append(length if free else taken)
    return free


def _view(room: Room, dtype: np.dtype, shape: tuple[int, ...]) -> np.ndarray:
    return np.ndarray(shape, dtype, room, room.start, cast("tuple[int, ...]", room.view_strides))


def has_gap(array: np.ndarray, axis: int) -> bool:
    """Whether an array is dense but for a gap behind an axis, as views of caches are."""
    step, shape, strides = array.itemsize, array.shape, array.strides
    free = True  # the gap may be in the next stride
    for i in range(array.ndim - 1, -1, -1):
        if shape[i] != 1:
            if i < axis and free and strides[i] >= step:
                step, free = strides[i], False
            if strides[i] != step:
                return False
        step *= shape[i]
    return True


def begins_with(array: np.ndarray, past: np.ndarray, axis: int) -> bool:
    """Whether what an array begins with is past, in the same memory."""
    if array.ndim != past.ndim or array.dtype != past.dtype or array.ctypes.data != past.ctypes.data:
        return False
    other = [i for i in range(array.ndim) if i != axis]
    return all(array.shape[i] == past.shape[i] for i in other) and gap_of(array, axis) == gap_of(past, axis)


def gap_of(array: np.ndarray, axis: int) -> int:
    """Bytes from one stretch of an axis to the next, as `kernels.program.run.gap` has it."""
    return next((array.strides[i] for i in range(axis - 1, -1, -1) if array.shape[i] > 1), 0)


def gap_strides(shape: Shape, itemsize: int, axis: int, gap: AnySize) -> Shape:
    """The strides of a tensor with a gap behind an axis."""
    inner, outer = dense_strides(shape[axis:], itemsize), []
    for length in reversed(shape[:axis]):
        outer.append(gap)
        gap = gap * length
    return (*reversed(outer), *inner)
