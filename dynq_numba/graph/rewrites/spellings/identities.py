"""Nodes that change nothing: Identity, Dropout outside of training, Cast to the type that a value has."""

from __future__ import annotations

import onnx_ir as ir

from ..base import Editor, NoMatch, Rewrite


class Identities(Rewrite):
    name = "identity"
    anchors = ("Identity", "Dropout", "Cast", "CastLike", "Transpose")

    def rewrite(self, node: ir.Node, edit: Editor) -> str:
        x, y = node.inputs[0], node.outputs[0]
        assert x is not None
        if y.is_graph_output():
            raise NoMatch(f"{y.name} is a result of the graph")
        if node.op_type == "Dropout":
            training = node.inputs[2] if len(node.inputs) > 2 else None
            if training is not None and edit.scalar(training) != 0:
                raise NoMatch("it may be in training mode")
            if len(node.outputs) > 1 and (node.outputs[1].uses() or node.outputs[1].is_graph_output()):
                raise NoMatch("its mask is used")
        if node.op_type == "Cast" and (x.dtype is None or x.dtype != node.attributes.get_int("to")):
            raise NoMatch
        if node.op_type == "CastLike" and (
            x.dtype is None or node.inputs[1] is None or x.dtype != node.inputs[1].dtype
        ):
            raise NoMatch
        perm = list(node.attributes.get_ints("perm", ()))
        if node.op_type == "Transpose" and (x.shape is None or not perm or perm != list(range(len(x.shape)))):
            raise NoMatch
        edit.replace([y], [x], [], node)
        return x.name or ""
