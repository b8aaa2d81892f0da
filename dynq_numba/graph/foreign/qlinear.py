"""Products of which all is integers, as conversions around those of floats: other rewrites then find the weights.

    QLinearMatMul, QLinearConv     ─▶   DequantizeLinear ─▶ MatMul, Conv ─▶ QuantizeLinear
"""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from ..rewrites.base import FLOAT, Editor, NoMatch, Rewrite


class QLinear(Rewrite):
    name = "product of integers"
    anchors = ("QLinearMatMul", "QLinearConv")

    def rewrite(self, node: ir.Node, edit: Editor) -> str:
        x, x_scale, x_zero, w, w_scale, w_zero, y_scale, y_zero, *bias = node.inputs
        is_conv, steps = node.op_type == "QLinearConv", edit.array(w_scale)
        if steps is None or steps.ndim > 1:
            raise NoMatch("the scales of its second factor are computed at run time, or no vector")
        axis = 0 if is_conv else 1
        given = _of(edit, "DequantizeLinear", [x, x_scale, x_zero])
        weight = _of(edit, "DequantizeLinear", [w, w_scale, w_zero], {"axis": axis} if steps.size > 1 else {})
        inputs, nodes = [given.outputs[0], weight.outputs[0]], [given, weight]
        if bias and bias[0] is not None:
            array, step = edit.array(bias[0]), edit.array(x_scale)
            if array is None or step is None:
                raise NoMatch("its bias is computed at run time")
            inputs.append(edit.constant(bias[0].name or "bias", (array * (step * steps)).astype(np.float32)))
        attributes = dict(node.attributes)
        product = edit.node("Conv" if is_conv else "MatMul", inputs, attributes, like=node.outputs[0])
        product.name = node.name
        product.outputs[0].dtype = FLOAT
        end = _of(edit, "QuantizeLinear", [product.outputs[0], y_scale, y_zero], like=node.outputs[0])
        edit.replace(node.outputs, end.outputs, [*nodes, product, end], node)
        return product.op_type


def _of(
    edit: Editor, kind: str, inputs: list[ir.Value | None], attributes: dict | None = None, like: ir.Value | None = None
) -> ir.Node:
    made = edit.node(kind, inputs, attributes, like=like)
    if kind == "DequantizeLinear":
        made.outputs[0].dtype = FLOAT
    return made
