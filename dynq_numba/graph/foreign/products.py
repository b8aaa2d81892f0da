"""Products of integers that are quantized at run time, as ONNX Runtime's quantize_dynamic writes them.

    x ─▶ DynamicQuantizeLinear ─▶ MatMulInteger, ConvInteger ─▶ Cast ─▶ Mul(scales) ─▶ Add(bias)    ─▶   Linear, Conv
                          └ scale ──────────── Mul(weight's) ────────────┘
"""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from ..rewrites.base import FLOAT, Editor, NoMatch, Rewrite
from .calls import conv_call, float_call, linear_call
from .integers import PER_ROW, stored

#: Operators that only move values, and may stand between.
_MOVES = ("Transpose", "Reshape", "Squeeze", "Unsqueeze", "Flatten", "Identity", "Slice")


class Products(Rewrite):
    name = "integer product"
    anchors = ("MatMulInteger", "ConvInteger")

    def rewrite(self, node: ir.Node, edit: Editor) -> str:
        is_conv = node.op_type == "ConvInteger"
        moves, source = _source(node, edit)
        q, zero = (edit.array(node.inputs[i]) if i < len(node.inputs) else None for i in (1, 3))
        if q is None or (zero is None and len(node.inputs) > 3 and node.inputs[3] is not None):
            raise NoMatch("its weight or zero point is computed at run time")
        if q.ndim < 3 if is_conv else q.ndim != 2:
            raise NoMatch(f"its weight has {q.ndim} axes")
        outputs = q.shape[0] if is_conv else q.shape[1]
        end, scale = _scaled(node, source.outputs[1], outputs, q.ndim - 2 if is_conv else 0, edit)
        weight = stored(q, scale, zero, 0 if is_conv else 1)
        end, bias = _biased(end, outputs, q.ndim - 2 if is_conv else 0, edit)
        nodes, x = [], source.inputs[0]
        assert x is not None
        for move in moves:
            nodes.append(edit.node(move.op_type, [x, *move.inputs[1:]], dict(move.attributes), like=move.outputs[0]))
            nodes[-1].outputs[0].dtype = FLOAT
            x = nodes[-1].outputs[0]
        try:
            nodes += (conv_call if is_conv else linear_call)(x, weight, bias, node, PER_ROW, edit)
        except NoMatch:
            nodes += float_call(x, weight, bias, node, edit)
        edit.replace(end.outputs[:1], nodes[-1].outputs[:1], nodes, end)
        return nodes[-1].op_type


def _source(node: ir.Node, edit: Editor) -> tuple[list[ir.Node], ir.Node]:
    """What moves the bytes of x, first to last, and the DynamicQuantizeLinear in front of it."""
    moves, value = [], node.inputs[0]
    while (move := edit.maker(value, *_MOVES)) is not None:
        moves.append(move)
        value = move.inputs[0]
    source = edit.maker(value, "DynamicQuantizeLinear")
    point = node.inputs[2] if len(node.inputs) > 2 else None
    if source is None or value is not source.outputs[0] or point is None or point is not source.outputs[2]:
        raise NoMatch("its activations are not from a DynamicQuantizeLinear")
    return moves[::-1], source


def _scaled(node: ir.Node, x_scale: ir.Value, outputs: int, axes: int, edit: Editor) -> tuple[ir.Node, np.ndarray]:
    """The Mul that gives the product its scale, and the weight's scale, () or [outputs]."""
    cast = edit.only_user(node.outputs[0])
    if cast is None or cast.op_type != "Cast" or cast.attributes.get_int("to", 0) != FLOAT:
        raise NoMatch("its sums are not cast to float32, alone")
    end = cast
    found: list[ir.Value] = []
    while x_scale not in found and (user := edit.only_user(end.outputs[0])) is not None and user.op_type == "Mul":
        other = next(value for value in user.inputs if value is not end.outputs[0])
        assert other is not None
        product = edit.maker(other, "Mul")
        found += [other] if product is None else [value for value in product.inputs if value is not None]
        end = user
    rest = [value for value in found if value is not x_scale]
    if len(rest) == len(found):
        raise NoMatch("its sums are not multiplied by the scale of its activations")
    if not rest:
        user = edit.only_user(end.outputs[0])
        pair = None if user is None or user.op_type != "Mul" else edit.operand(user)
        if user is None or pair is None:
            raise NoMatch("its sums are not multiplied by the scale of its weight")
        rest, end = [pair[1]], user
    scale = edit.array(rest[0]) if len(rest) == 1 else None
    if scale is None:
        raise NoMatch("the scale of its weight is computed at run time")
    return end, _channels(scale, outputs, axes, "scale")


def _channels(array: np.ndarray, outputs: int, axes: int, what: str) -> np.ndarray:
    """One value, or one for each output, which has `axes` behind it."""
    if array.size == 1:
        return array.reshape(())
    if array.size != outputs or array.shape[array.ndim - 1 - axes :] != (outputs, *(1,) * axes):
        raise NoMatch(f"its {what} is no value for each output: {array.shape}")
    return array.reshape(-1)


def _biased(end: ir.Node, outputs: int, axes: int, edit: Editor) -> tuple[ir.Node, np.ndarray | None]:
    """The Add of a constant bias, and that; else the node itself."""
    user = edit.only_user(end.outputs[0])
    pair = None if user is None or user.op_type != "Add" else edit.operand(user)
    array = None if pair is None else edit.array(pair[1])
    if user is None or array is None or array.ndim > 2 + axes:
        return end, None
    try:
        return user, np.broadcast_to(_channels(array, outputs, axes, "bias"), outputs)
    except NoMatch:
        return end, None
