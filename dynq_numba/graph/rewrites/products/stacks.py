"""Products of stacks of matrices, made for a product of three axes: tf2onnx writes every Einsum of attention so.

    q [B, H, T, 1, D] ─▶ Reshape [B·H, T, D] ─┐
                                              MatMul ─▶ Reshape [B, H, T, S, 1]      ─▶      MatMul (q, k) [B, H, T, S]
    k [B, H, 1, D, S] ─▶ Reshape [B·H, D, S] ─┘

Axes of length 1 may be anywhere in q and k, and last in the result. H must be known: then B is the same, too.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import onnx_ir as ir

from ..base import Editor, NoMatch, Rewrite
from ..matching.shapes import Part, is_axis, parts

#: Operators that stand between the products of attention; a result of more heads than one has as many as any operand.
_KEEP_HEADS = ("Mul", "Div", "Add", "Where", "Softmax", "Unsqueeze")


class _Side(NamedTuple):
    """A stack: what it was made of, which of its axes are not of length 1, and whether its matrices are turned."""

    source: ir.Value
    axes: list[int]
    turned: bool

    def axis(self, place: int) -> int:
        """Of the source, which is axis 2 or 3 of the matrices as the product takes them."""
        return self.axes[5 - place if self.turned else place]


class Stacks(Rewrite):
    name = "product of stacks"
    anchors = ("MatMul",)

    def rewrite(self, node: ir.Node, edit: Editor) -> str:
        behind = edit.only_user(node.outputs[0])
        left, right = (_side(value, edit) for value in node.inputs)
        if left is None or right is None or behind is None or behind.op_type != "Reshape" or behind.domain != "":
            raise NoMatch
        heads = [(edit.dims(side.source) or ())[side.axes[1]] for side in (left, right)]
        if not isinstance(heads[0], int) or heads[0] != heads[1]:
            raise NoMatch(f"of the axes that were joined, the second is {heads[0]} and {heads[1]}")
        ones = _ones(behind, left, right, edit)
        nodes: list[ir.Node] = []
        factors = [_matrices(side, nodes, edit) for side in (left, right)]
        product = edit.node("MatMul", factors, like=node.outputs[0])
        product.name = node.name
        nodes.append(product)
        lengths = [*_lengths(left)[:3], _lengths(right)[3]]
        added = list(range(4, 4 + ones))
        squeeze = edit.only_user(behind.outputs[0])
        last = behind
        if added and squeeze is not None and squeeze.op_type == "Squeeze" and _axes(squeeze, 4 + ones, edit) == added:
            last = squeeze
        elif added:
            axes = edit.constant("axes", np.array(added))
            nodes.append(edit.node("Unsqueeze", [product.outputs[0], axes], like=node.outputs[0]))
        edit.replace(last.outputs, nodes[-1].outputs, nodes, last)
        product.outputs[0].shape = ir.Shape(lengths)
        if heads[0] > 1:
            _tell_heads(product.outputs[0], heads[0], edit)
        return "MatMul"


def _side(value: ir.Value | None, edit: Editor) -> _Side | None:
    transpose = edit.maker(value, "Transpose")
    turned = transpose is not None and list(transpose.attributes.get_ints("perm", ())) == [0, 2, 1]
    if turned and transpose is not None:
        value = transpose.inputs[0]
    reshape = edit.maker(value, "Reshape")
    join = None if reshape is None else edit.maker(reshape.inputs[1], "Concat")
    source = None if reshape is None else reshape.inputs[0]
    dims = None if source is None else edit.dims(source)
    if source is None or join is None or dims is None or len(join.inputs) != 3:
        return None
    axes = [axis for axis, dim in enumerate(dims) if dim != 1]
    joined = edit.maker(join.inputs[0], "ReduceProd")
    if len(axes) != 4 or joined is None or not _are(parts(joined.inputs[0], edit), source, axes[:2], edit):
        return None
    rows, columns = (parts(each, edit) for each in join.inputs[1:])
    open_rows = rows == [-1] and _are(columns, source, axes[3:], edit)
    open_columns = columns == [-1] and _are(rows, source, axes[2:3], edit)
    return _Side(source, axes, turned) if open_rows or open_columns else None


def _are(found: list[Part] | None, source: ir.Value, axes: list[int], edit: Editor) -> bool:
    """Whether parts of a shape are these dimensions of a value; 1 may be among them."""
    rest = [part for part in found or () if part != 1]
    return len(rest) == len(axes) and all(
        is_axis(part, source, axis, edit) for part, axis in zip(rest, axes, strict=True)
    )


def _ones(behind: ir.Node, left: _Side, right: _Side, edit: Editor) -> int:
    """How many axes of length 1 the Reshape behind the product adds at the end."""
    join = edit.maker(behind.inputs[1], "Concat")
    if join is None or not join.inputs:
        raise NoMatch("the Reshape behind the product has a shape that is not joined of parts")
    batch, *others = join.inputs
    largest = edit.maker(batch, "Max")
    sides = [batch] * 2 if largest is None else list(largest.inputs)
    rest: list[Part] = []
    for value in others:
        rest += parts(value, edit) or [0]
    whole = len(sides) == 2 and all(
        _are(parts(value, edit), side.source, side.axes[:2], edit)
        for value, side in zip(sides, (left, right), strict=True)
    )
    rows = bool(rest) and is_axis(rest[0], left.source, left.axis(2), edit)
    columns = len(rest) > 1 and is_axis(rest[1], right.source, right.axis(3), edit)
    if not (whole and rows and columns and all(part == 1 for part in rest[2:])):
        raise NoMatch("the Reshape behind the product does not restore the axes that were joined")
    return len(rest) - 2


def _tell_heads(value: ir.Value, heads: int, edit: Editor) -> None:
    """Put the length of axis 1, which no inference saw, into what scales, masks and a softmax make of a value."""
    for use in value.uses():
        result = use.node.outputs[0]
        dims = None if result.shape is None else list(result.shape)
        if use.node.op_type not in _KEEP_HEADS or use.node.domain != "" or dims is None or len(dims) < 4:
            continue
        if use.node.op_type == "Unsqueeze" and min(_axes(use.node, len(dims), edit) or [0]) < 2:
            continue
        if dims[1] != heads:
            dims[1] = heads
            result.shape = ir.Shape(dims)
            _tell_heads(result, heads, edit)


def _lengths(side: _Side) -> list[int | ir.SymbolicDim]:
    shape = side.source.shape
    assert shape is not None
    lengths = [shape[axis] for axis in side.axes]
    return [*lengths[:2], lengths[3], lengths[2]] if side.turned else lengths


def _matrices(side: _Side, nodes: list[ir.Node], edit: Editor) -> ir.Value:
    """The stack with four axes."""
    value, rank = side.source, len(side.source.shape or ())
    ones = [axis for axis in range(rank) if axis not in side.axes]
    unsqueeze = edit.maker(value, "Unsqueeze")
    if unsqueeze is not None and unsqueeze.inputs[0] is not None and _axes(unsqueeze, rank, edit) == ones:
        value = unsqueeze.inputs[0]
    elif ones:
        nodes.append(edit.node("Squeeze", [value, edit.constant("axes", np.array(ones))], like=value))
        value = nodes[-1].outputs[0]
        value.shape = ir.Shape(_lengths(side._replace(turned=False)))
    if side.turned:
        nodes.append(edit.node("Transpose", [value], {"perm": [0, 1, 3, 2]}, like=value))
        value = nodes[-1].outputs[0]
        value.shape = ir.Shape(_lengths(side))
    return value


def _axes(node: ir.Node, rank: int, edit: Editor) -> list[int] | None:
    """Of a Squeeze or Unsqueeze, as axes of the longer of its values."""
    array = edit.array(node.inputs[1]) if len(node.inputs) > 1 else None
    return None if array is None else sorted(int(axis) % rank for axis in array.reshape(-1))
