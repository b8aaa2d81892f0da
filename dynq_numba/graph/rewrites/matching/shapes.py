"""What a computed shape consists of: numbers, and dimensions of values, wherever it was sliced and joined."""

from __future__ import annotations

import math

import numpy as np
import onnx_ir as ir

from ...names import nodes
from ..base import Editor, identifier

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
    if kind in _SAME or (kind == "Reshape" and node.outputs[0].shape is not None and len(node.outputs[0].shape) == 1):
        return parts(node.inputs[0], edit)
    if kind == "Where":
        return _chosen(node, edit)
    if kind in ("Slice", "Gather"):
        whole, arrays = parts(node.inputs[0], edit), [edit.array(value) for value in node.inputs[1:]]
        if whole is None or any(array is None for array in arrays):
            return None
        numbers = np.arange(len(whole))
        if kind == "Gather":  # onnx.reference takes a while to import, and most models need it for these only
            places = np.take(numbers, np.asarray(arrays[0], np.int64), mode="raise")
        else:
            places = edit.constants.folded(node, [numbers, *arrays])[0]
        return [whole[place] for place in places.reshape(-1)]
    return None


def _chosen(node: ir.Node, edit: Editor) -> list[Part] | None:
    """Of Where (Equal (shape, numbers), …), as exporters write for lengths of -1."""
    equal = edit.maker(node.inputs[0], "Equal")
    sides = [] if equal is None else [parts(value, edit) for value in equal.inputs]
    choices = [parts(value, edit) for value in node.inputs[1:]]
    if len(sides) != 2 or None in (*sides, *choices):
        return None
    found: list[Part] = []
    for a, b, then, otherwise in zip(*(each or () for each in (*sides, *choices)), strict=False):
        if isinstance(a, int) and isinstance(b, int):
            found.append(then if a == b else otherwise)
        elif (isinstance(a, int) and a < 0) or (isinstance(b, int) and b < 0):  # no length is
            found.append(otherwise)
        else:
            return None
    return found


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


def settle(edit: Editor) -> bool:
    """Put numbers for the -1 of Reshapes, where lengths known by name cancel; whether there were some.

        [B, S, 32] ─▶ Reshape (B, S, -1, 8)      ─▶      Reshape (B, S, 4, 8)
    """
    found = False
    for node in list(nodes(edit.model)):
        if node.op_type == "Reshape" and node.domain == "":
            number, shape = _missing(node, edit), node.inputs[1]
            pieces = edit.maker(shape, "Concat")
            given = [shape] if pieces is None else list(pieces.inputs)
            arrays = [edit.array(value) for value in given]
            place = next((i for i, each in enumerate(arrays) if each is not None and (each == -1).any()), None)
            if number is None or place is None:
                continue
            array = arrays[place]
            assert array is not None
            given[place] = edit.constant("shape", np.where(array == -1, number, array))
            if pieces is None:
                node.replace_input_with(1, given[0])
            else:
                made = edit.node("Concat", given, {"axis": 0}, like=shape)
                assert node.graph is not None
                node.graph.insert_before(node, [made])
                node.replace_input_with(1, made.outputs[0])
                edit.drop(pieces)
            found = True
    return found


def _missing(node: ir.Node, edit: Editor) -> int | None:
    """The number that -1 stands for in a Reshape."""
    x, shape = node.inputs[0], parts(node.inputs[1], edit)
    dims = None if x is None else edit.dims(x)
    if x is None or dims is None or shape is None or shape.count(-1) != 1:
        return None
    if node.attributes.get_int("allowzero", 0) != 0 and 0 in shape:
        return None
    left = [_dimension((x, i), edit) for i in range(len(dims))]
    wanted = [_dimension((x, i) if part == 0 else part, edit) for i, part in enumerate(shape) if part != -1]
    for each in list(wanted):
        if each in left:
            left.remove(each)
            wanted.remove(each)
    if not all(isinstance(each, int) and each > 0 for each in (*left, *wanted)):
        return None
    number, rest = divmod(math.prod(left), math.prod(wanted))  # type: ignore[arg-type]
    return None if rest else number


def _dimension(part: Part, edit: Editor) -> Part | str | None:
    """A number, a symbol, or the axis itself where neither is known."""
    if not isinstance(part, tuple):
        return part
    dims = edit.dims(part[0])
    return None if dims is None or part[1] >= len(dims) else part if dims[part[1]] is None else dims[part[1]]
