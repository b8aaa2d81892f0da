"""Softmax over the last axis of a matrix made for it, as onnx raises those of opset 12 and older.

    x ─▶ Flatten (rank - 1) ─▶ Softmax ─▶ Reshape (to the shape of x)      ─▶      x ─▶ Softmax (-1)
"""

from __future__ import annotations

import onnx_ir as ir

from ..base import Editor, NoMatch, Rewrite


class Flattened(Rewrite):
    name = "softmax of a matrix"
    anchors = ("Softmax", "LogSoftmax")

    def rewrite(self, node: ir.Node, edit: Editor) -> str:
        flatten = edit.maker(node.inputs[0], "Flatten")
        reshape = edit.only_user(node.outputs[0])
        if flatten is None or reshape is None or reshape.op_type != "Reshape":
            raise NoMatch
        x, shape = flatten.inputs[0], reshape.inputs[1]
        assert x is not None
        rank = edit.rank(x)
        if flatten.attributes.get_int("axis", 1) not in (-1, rank - 1) or node.attributes.get_int("axis", -1) == 0:
            raise NoMatch("it is over more than the last axis")
        source, target = edit.maker(shape, "Shape"), edit.array(shape)
        if source is not None and (source.inputs[0] is not x or len(source.attributes) > 0):
            source = None
        if source is None and (target is None or tuple(target) != edit.dims(x)):
            raise NoMatch("the Reshape behind it does not restore the shape")
        made = edit.node(node.op_type, [x], {"axis": -1}, like=reshape.outputs[0])
        made.name = node.name
        edit.replace(reshape.outputs, made.outputs, [made], reshape)
        return made.op_type
