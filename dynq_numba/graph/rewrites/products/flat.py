"""A linear on a matrix of all rows, made for it: exporters write one so that it can be a Gemm.

    x [B, T, K] ─▶ Reshape [-1, K] ─▶ linear ─▶ Reshape [B, T, N]      ─▶      x ─▶ linear [B, T, N]

Then its activation and residual, which have three axes, go into it.
"""

from __future__ import annotations

import onnx_ir as ir

from ..base import Editor, NoMatch, Rewrite
from ..matching.shapes import is_axis, parts
from .post_ops import takes_residual


class Flat(Rewrite):
    name = "linear of a matrix"
    anchors = ("Reshape",)

    def rewrite(self, node: ir.Node, edit: Editor) -> str:
        matrix, shape = node.inputs
        linear = None if matrix is None else matrix.producer()
        if matrix is None or linear is None or not takes_residual(linear) or linear.op_type.startswith("FloatConv"):
            raise NoMatch
        rows = linear.inputs[0]
        flatten = edit.maker(rows, "Reshape")
        x = None if flatten is None else flatten.inputs[0]
        if rows is None or x is None or edit.only_user(matrix) is not node:
            raise NoMatch("no Reshape is in front of the linear, or its result is used elsewhere, too")
        given, flat, wanted = edit.dims(x), edit.dims(rows), parts(shape, edit)
        if not given or not flat or not isinstance(flat[-1], int) or given[-1] != flat[-1]:
            raise NoMatch("the Reshape in front changes the last axis, or its length is not known")
        if wanted is None or len(wanted) != len(given) or 0 in wanted:
            raise NoMatch("the Reshape behind it does not restore the axes in front")
        *leading, last = wanted
        others = [part for part in wanted if part != -1]
        whole = all(part == -1 or is_axis(part, x, axis, edit) for axis, part in enumerate(leading))
        if not whole or len(others) < len(wanted) - 1 or (last != -1 and last != (edit.dims(matrix) or (None,))[-1]):
            raise NoMatch("the Reshape behind it does not restore the axes in front")
        function = edit.model.functions[linear.op_identifier()]
        call = edit.call(linear.op_type, lambda: function, [x, *linear.inputs[1:]], linear)
        edit.replace(node.outputs, call.outputs, [call], node)
        return call.op_type
