"""Gemm with a constant B becomes MatMul, and Add where there is a C.

    alpha · A' · B' + beta · C  ─▶  MatMul (A', alpha·B') ─▶ Add (beta · C)
"""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from ..base import Editor, NoMatch, Rewrite


class Gemm(Rewrite):
    name = "gemm"
    anchors = ("Gemm",)

    def rewrite(self, node: ir.Node, edit: Editor) -> str:
        a, b = node.inputs[:2]
        c = node.inputs[2] if len(node.inputs) > 2 else None
        weight = edit.array(b)
        assert a is not None and b is not None
        if weight is None:
            raise NoMatch("its second factor is computed at run time")
        if weight.dtype != np.float32:
            raise NoMatch(f"its weight is {weight.dtype}")
        alpha, beta = (np.float32(node.attributes.get_float(each, 1.0)) for each in ("alpha", "beta"))
        added = []
        if node.attributes.get_int("transA", 0):
            added.append(edit.node("Transpose", [a], {"perm": [1, 0]}))
            a = added[-1].outputs[0]
        if alpha != 1 or node.attributes.get_int("transB", 0):
            turned = weight.T if node.attributes.get_int("transB", 0) else weight
            b = edit.constant(f"{b.name}.T", turned if alpha == 1 else turned * alpha)
        product = edit.node("MatMul", [a, b], like=node.outputs[0])
        product.name = node.name
        added.append(product)
        if c is not None:
            addend = None if beta == 1 else edit.array(c)
            if addend is not None:
                c = edit.constant(f"{c.name}.scaled", addend * beta)
            elif beta != 1:
                added.append(edit.node("Mul", [c, edit.constant("beta", beta)]))
                c = added[-1].outputs[0]
            added.append(edit.node("Add", [product.outputs[0], c], like=node.outputs[0]))
        edit.replace(node.outputs, added[-1].outputs, added, node)
        return "MatMul"
