"""The sum in front of a norm goes into it: dq.layer_norm(residual=, sum_out=), dq.rms_norm.

    LayerNorm_residual         x, residual [..., K], weight [K], bias [K], eps []    y, sum = x + residual
    LayerNorm_plain_residual   x, residual [..., K], eps []                      y, sum
    RmsNorm_residual           x, residual [..., K], weight [K], eps []              y, sum

A sum that a linear takes as its residual does not come here (products/post_ops.py).
"""

from __future__ import annotations

from functools import partial

import onnx_ir as ir

from ..base import Editor, NoMatch, Rewrite
from .norms import NORMS, norm


class ResidualNorms(Rewrite):
    name = "residual of a norm"
    anchors = tuple(f"dynq.{name}" for name in NORMS)

    def rewrite(self, node: ir.Node, edit: Editor) -> str:
        total, *parameters = node.inputs
        add = edit.maker(total, "Add")
        if add is None or total is None or add.graph is not node.graph:
            raise NoMatch("no Add is in front of it")
        x, residual = add.inputs
        assert x is not None and residual is not None
        if any(map(edit.constants.is_constant, (x, residual))) or not edit.may_equal(x, residual):
            raise NoMatch(f"one of {x.name} and {residual.name} is constant, or their shapes differ")
        inputs = [x, residual, *(each for each in parameters if each is not None)]
        make = partial(norm, node.op_type, residual=True)
        call = edit.call(f"{node.op_type}_residual", make, inputs, node)
        edit.replace([node.outputs[0], total], call.outputs, [call], add)
        return call.op_type
