"""Weights that are stored as integers and become floats in front of a layer: the layer computes with the integers.

    DequantizeLinear(weight) [─▶ Transpose] ─▶ MatMul, Gemm, Conv      ─▶   Linear, Conv
"""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from ..rewrites.base import Editor, NoMatch, Rewrite
from .calls import conv_call, linear_call
from .integers import FLOAT_BEFORE, PER_ROW, added, floats_of, integers_of


class Weights(Rewrite):
    name = "integer weight"
    anchors = ("MatMul", "Gemm", "Conv")

    def rewrite(self, node: ir.Node, edit: Editor) -> str:
        x = node.inputs[0]
        weight = integers_of(node.inputs[1], edit)
        if x is None or weight is None:
            raise NoMatch
        differs = PER_ROW if edit.maker(x, "DequantizeLinear") is not None else FLOAT_BEFORE
        if node.op_type == "Conv":
            nodes = conv_call(x, weight, _vector(node, edit), node, differs, edit)
            edit.replace(node.outputs, nodes[-1].outputs, nodes, node)
            return nodes[-1].op_type
        if weight.whole.ndim != 2:
            raise NoMatch(f"its weight has {weight.whole.ndim} axes")
        before: list[ir.Node] = []
        bias, end = None, node
        if node.op_type == "Gemm":
            bias = _vector(node, edit)
            for name in ("alpha", "beta"):
                if node.attributes.get_float(name, 1.0) != 1:
                    raise NoMatch(f"it has {name}")
            if node.attributes.get_int("transB", 0):
                weight = weight.turned(1, 0)
            if node.attributes.get_int("transA", 0):
                before = [edit.node("Transpose", [x], {"perm": [1, 0]}, like=x)]
                x = before[0].outputs[0]
        else:
            end, bias = added(node, weight.whole.shape[1], edit)
        nodes = before + linear_call(x, weight, bias, node, differs, edit)
        edit.replace(end.outputs, nodes[-1].outputs, nodes, end)
        return nodes[-1].op_type


def _vector(node: ir.Node, edit: Editor) -> np.ndarray | None:
    """The bias of a Gemm or Conv, stored as floats or as integers."""
    value = node.inputs[2] if len(node.inputs) > 2 else None
    if value is None:
        return None
    array = floats_of(value, edit)
    if array is None:
        raise NoMatch("its bias is computed at run time")
    if array.size != (array.shape or (1,))[-1]:  # a column is a value for each row
        raise NoMatch(f"its bias is no row: {array.shape}")
    return array.reshape(-1)
