"""Relu as a maximum, as JAX writes it.

    Max (x, 0)  ─▶  Relu (x)
"""

from __future__ import annotations

import onnx_ir as ir

from ..base import Editor, NoMatch, Rewrite


class Relu(Rewrite):
    name = "relu"
    anchors = ("Max",)

    def rewrite(self, node: ir.Node, edit: Editor) -> str:
        pair = edit.operand(node)
        if pair is None or edit.scalar(pair[1]) != 0 or not edit.may_equal(pair[0], node.outputs[0]):
            raise NoMatch
        edit.check_float(pair[0])
        made = edit.node("Relu", [pair[0]], like=node.outputs[0])
        made.name = node.name
        edit.replace(node.outputs, made.outputs, [made], node)
        return "Relu"
