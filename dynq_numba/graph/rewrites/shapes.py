"""What a computed shape consists of: numbers, and dimensions of values, wherever it was sliced and joined."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from ..constants import folded
from .base import Editor, identifier

#: A number, or an axis of a value.
Part = int | tuple[ir.Value, int]
_SAME = ("Unsqueeze", "Squeeze", "Cast", "Identity")


def parts(shape: ir.Value | None, edit: Editor) -> list[Part] | None:
    """The parts of a vector of integers, or None where something else is in it."""
    array = edit.array(shape)
    if array is not None:
        return [int(each) for each in array.reshape(-1)]
    node = None if shape is None else shape.producer()
    kind = None if node is None else identifier(node)
    if node is None:
        return None
    if kind == "Shape" and node.inputs[0] is not None and (dims := edit.dims(node.inputs[0])) is not None:
        start, end = node.attributes.get_int("start", 0), node.attributes.get_int("end", len(dims))
        axes: list[Part] = [(node.inputs[0], axis) for axis in range(len(dims))]
        return axes[start:end]
    if kind == "Concat":
        each = [parts(value, edit) for value in node.inputs]
        return None if any(part is None for part in each) else [one for part in each for one in part or ()]
    if kind in _SAME:
        return parts(node.inputs[0], edit)
    if kind in ("Slice", "Gather"):
        whole, arrays = parts(node.inputs[0], edit), [edit.array(value) for value in node.inputs[1:]]
        if whole is None or any(array is None for array in arrays):
            return None
        places = folded(node, [np.arange(len(whole)), *arrays], edit.opset)[0]
        return [whole[place] for place in places.reshape(-1)]
    return None


def known(part: Part | None, edit: Editor) -> int | None:
    """The number that a part is, where it is known."""
    if not isinstance(part, tuple):
        return part
    dims = edit.dims(part[0])
    found = None if dims is None else dims[part[1]]
    return found if isinstance(found, int) else None


def is_axis(part: Part, value: ir.Value, axis: int, edit: Editor) -> bool:
    """Whether a part is that dimension of the value."""
    dims = edit.dims(value)
    assert dims is not None
    if isinstance(part, int):
        return part == dims[axis]
    theirs = edit.dims(part[0])
    same = theirs is not None and dims[axis] is not None and theirs[part[1]] == dims[axis]
    return same or (part[0] is value and part[1] == axis % len(dims))
