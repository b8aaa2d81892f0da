"""A choice by products, as tf2onnx writes TensorFlow's SelectV2.

    Cast (c) · a + Cast (Not (c)) · b  ─▶  Where (c, a, b)

Numbers that are finite are the same; of an infinite one that is not chosen the product made NaN.
"""

from __future__ import annotations

import onnx_ir as ir

from ..base import Editor, NoMatch, Rewrite


class Select(Rewrite):
    name = "choice"
    anchors = ("Add",)

    def rewrite(self, node: ir.Node, edit: Editor) -> str:
        terms = [list(_chosen(value, edit)) for value in node.inputs]
        for condition, a in terms[0]:
            for other, b in terms[1]:
                for no, yes, choices in ((other, condition, [a, b]), (condition, other, [b, a])):
                    inverse = edit.maker(no, "Not")
                    if inverse is not None and inverse.inputs[0] is yes:
                        made = edit.node("Where", [yes, *choices], like=node.outputs[0])
                        made.name = node.name
                        edit.replace(node.outputs, made.outputs, [made], node)
                        return "Where"
        raise NoMatch


def _chosen(value: ir.Value | None, edit: Editor) -> list[tuple[ir.Value, ir.Value]]:
    """Of a product the factors that are booleans as numbers, and the other."""
    product = edit.maker(value, "Mul")
    found = []
    for i, factor in enumerate(() if product is None else product.inputs):
        cast = edit.maker(factor, "Cast")
        condition = None if cast is None else cast.inputs[0]
        other = None if product is None else product.inputs[1 - i]
        if condition is not None and other is not None and condition.dtype == ir.DataType.BOOL:
            found.append((condition, other))
    return found
