"""Constants that are still integers behind the other rewrites: floats, as DequantizeLinear gives them."""

from __future__ import annotations

import onnx_ir as ir

from ..rewrites.base import Editor, NoMatch, Rewrite


class Floats(Rewrite):
    name = "dequantized constant"
    anchors = ("DequantizeLinear",)

    def rewrite(self, node: ir.Node, edit: Editor) -> str:
        given = [edit.array(value) for value in node.inputs]
        if any(array is None and value is not None for array, value in zip(given, node.inputs, strict=True)):
            raise NoMatch
        value = node.outputs[0]
        if value.is_graph_output():
            raise NoMatch
        constant = edit.constant(value.name or node.op_type, edit.constants.folded(node, given)[0])
        edit.replace([value], [constant], [], node)
        return str(constant.dtype)
