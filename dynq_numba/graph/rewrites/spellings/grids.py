"""GatherND at the points of a grid, as torch.export writes mask[batch, key]: a Gather along each axis.

    GatherND (x [B, T], Concat (b [B', 1, 1, 1], t [1, 1, 1, T']))    ─▶    Gather (Gather (x, b), t) ─▶ [B', 1, 1, T']

An axis of which all places are taken, in their order, needs no Gather: 0 ≤ Range < its length. Indices of one axis only
are those of a Gather.
"""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from ..base import Editor, NoMatch, Rewrite
from ..matching.shapes import is_axis, parts

#: What exporters give values to for their common shape.
_JOINS = ("Max", "Min", "Add", "Sum", "Mul")


class Grids(Rewrite):
    name = "gather of a grid"
    anchors = ("GatherND",)

    def rewrite(self, node: ir.Node, edit: Editor) -> str:
        x, indices = node.inputs
        assert x is not None and indices is not None
        edit.rank(x)
        dims = edit.dims(indices)
        if node.attributes.get_int("batch_dims", 0) or not dims or not isinstance(dims[-1], int):
            raise NoMatch("it has batches, or how many axes its indices are of is not known")
        if dims[-1] == 1:
            nodes = [edit.node("Squeeze", [indices, edit.constant("last", _ints(-1))], like=indices)]
            nodes.append(edit.node("Gather", [x, nodes[0].outputs[0]], {"axis": 0}, like=node.outputs[0]))
        else:
            nodes = _gathers(x, indices, dims, node, edit)
        edit.replace(node.outputs, nodes[-1].outputs, nodes, node)
        return " and ".join(dict.fromkeys(each.op_type for each in nodes))


def _gathers(
    x: ir.Value, indices: ir.Value, dims: tuple[int | str | None, ...], node: ir.Node, edit: Editor
) -> list[ir.Node]:
    rank, join = len(dims), edit.maker(indices, "Concat")
    if join is None or len(join.inputs) != dims[-1] or join.attributes.get_int("axis", 0) not in (-1, rank - 1):
        raise NoMatch("its indices are not joined of one for each axis")
    places = [_place(value, rank, edit) for value in join.inputs]
    if any(spread and not spread <= set(places) for spread in (_spread(value, edit) for value in join.inputs)):
        raise NoMatch("its indices are spread to a shape that is not their own")
    axes = [_axis(value, edit) for value in places]
    if axes != sorted(set(axes)) or any(dims[i] != 1 for i in range(rank - 1) if i not in axes):
        raise NoMatch("its indices are no grid whose axes have the order of those of its input")
    nodes, y = [], x
    for axis, (value, own) in enumerate(zip(places, axes, strict=True)):
        if _is_all(value, x, axis, edit):
            continue
        others = [i for i in range(rank - 1) if i != own]
        nodes.append(edit.node("Squeeze", [value, edit.constant("axes", _ints(*others))], like=value))
        nodes.append(edit.node("Gather", [y, nodes[-1].outputs[0]], {"axis": axis}, like=node.outputs[0]))
        y = nodes[-1].outputs[0]
    added = [i for i in range(rank - 1) if i not in axes]
    nodes.append(edit.node("Unsqueeze", [y, edit.constant("axes", _ints(*added))], like=node.outputs[0]))
    return nodes


def _ints(*numbers: int) -> np.ndarray:
    return np.array(numbers, np.int64)


def _place(value: ir.Value | None, rank: int, edit: Editor) -> ir.Value:
    """Indices of an axis before they were spread over the others: [1, n, 1]."""
    column = edit.maker(value, "Unsqueeze")
    axes = None if column is None else edit.array(column.inputs[1])
    place = None if column is None else column.inputs[0]
    if place is None or axes is None or axes.reshape(-1).tolist() not in ([-1], [rank - 1]):
        raise NoMatch("its indices are not joined of one for each axis")
    expand = edit.maker(place, "Expand")
    return place if expand is None or expand.inputs[0] is None else expand.inputs[0]


def _spread(value: ir.Value | None, edit: Editor) -> set[ir.Value | None]:
    """The values to whose common shape indices were spread; none where they were not, {None} where it is another."""
    column = edit.maker(value, "Unsqueeze")
    expand = None if column is None else edit.maker(column.inputs[0], "Expand")
    if expand is None:
        return set()
    shape = edit.maker(expand.inputs[1], "Shape")
    cut = shape is None or shape.attributes.get_int("start", 0) != 0 or "end" in shape.attributes
    whole = None if cut or shape is None else edit.maker(shape.inputs[0], *_JOINS)
    return {None} if whole is None else set(whole.inputs)


def _axis(value: ir.Value, edit: Editor) -> int:
    """The axis along which indices differ."""
    long = [axis for axis, dim in enumerate(edit.dims(value) or ()) if dim != 1]
    if len(long) != 1:
        raise NoMatch(f"{value.name} differs along several axes")
    return long[0]


def _is_all(value: ir.Value, x: ir.Value, axis: int, edit: Editor) -> bool:
    """Whether indices are 0, 1 … n - 1 of an axis of length n."""
    given: ir.Value | None = value
    while (node := edit.maker(given, "Unsqueeze", "Squeeze")) is not None:
        given = node.inputs[0]
    ramp = edit.maker(given, "Range")
    if ramp is None or edit.scalar(ramp.inputs[0]) != 0 or edit.scalar(ramp.inputs[2]) != 1:
        return False
    length = parts(ramp.inputs[1], edit)
    return length is not None and len(length) == 1 and is_axis(length[0], x, axis, edit)
