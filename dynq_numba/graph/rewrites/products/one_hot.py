"""A linear of one-hot rows is a lookup: row i of the table is what the linear gives for the one-hot row of i.

    Equal (ids [..., 1], 0 … K-1) ─▶ Cast ─▶ linear     ─▶     Gather (table [K + 1, N], ids where 0 ≤ ids < K, else K)

The table is computed by the body of the linear's function: with exact zeros beside one factor no sum has a rounding of
its own, and a quantized linear's are integers. So results keep their bits. The last row is for ids beyond, of which no
value is 1.
"""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from ...constants import run_function
from ..base import Editor, NoMatch, Rewrite

#: K up to which a table is computed: it takes K products of K by N.
MOST = 1024


class OneHot(Rewrite):
    name = "one-hot"
    anchors = ("dynq.FloatLinear", "dynq.Linear")

    def rewrite(self, node: ir.Node, edit: Editor) -> str:
        cast = edit.maker(node.inputs[0], "Cast")
        equal = None if cast is None else edit.maker(cast.inputs[0], "Equal")
        pair = None if equal is None else edit.operand(equal)
        if pair is None:
            raise NoMatch
        ids, numbers = pair[0], edit.constants.weight(pair[1])
        k = numbers.size
        dims = edit.dims(ids)
        if numbers.dtype.kind not in "iu" or not np.array_equal(numbers.reshape(-1), np.arange(k)):
            raise NoMatch(f"{ids.name} is not compared with 0, 1, 2 …")
        if not dims or dims[-1] != 1 or numbers.shape[-1:] != (k,) or numbers.ndim > len(dims):
            raise NoMatch(f"{ids.name} is not one number for each row")
        if k > MOST:
            raise NoMatch(f"{k} numbers; at most {MOST}")
        rows = np.concatenate([np.eye(k, dtype=np.float32), np.zeros((1, k), np.float32)])
        arrays = [rows, *(edit.constants.weight(each) for each in node.inputs[1:] if each is not None)]
        table = run_function(edit.model.functions[node.op_identifier()], arrays)[0]
        zero, end = (edit.constant("id", np.array(each, numbers.dtype)) for each in (0, k))
        last = edit.constant("last", np.array([-1]))
        nodes = [edit.node("Squeeze", [ids, last], like=ids)]
        flat = nodes[0].outputs[0]
        nodes += [edit.node("GreaterOrEqual", [flat, zero]), edit.node("Less", [flat, end])]
        nodes += [edit.node("And", [each.outputs[0] for each in nodes[1:]])]
        nodes += [edit.node("Where", [nodes[-1].outputs[0], flat, end], like=flat)]
        weight = edit.constant(f"{node.inputs[1].name}.rows" if node.inputs[1] is not None else "rows", table)
        nodes += [edit.node("Gather", [weight, nodes[-1].outputs[0]], {"axis": 0}, like=node.outputs[0])]
        nodes[-1].name = node.name
        edit.replace(node.outputs, nodes[-1].outputs, nodes, node)
        return "Gather"
