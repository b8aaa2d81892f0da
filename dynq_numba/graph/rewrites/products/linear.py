"""MatMul with a constant float32 weight, and the Add of a constant bias: a float linear.

    FloatLinear   x [..., K], weight [K, N], bias [N]    y = x · weight + bias
"""

from __future__ import annotations

from functools import partial

import numpy as np
import onnx_ir as ir

from ...functions import function
from ..base import Editor, NoMatch, Rewrite, identifier

_BODY = """
    products = MatMul (x, weight)
    y = Add (products, bias)
"""


class Linear(Rewrite):
    name = "linear"
    anchors = ("MatMul",)

    def rewrite(self, node: ir.Node, edit: Editor) -> str:
        x, weight = node.inputs
        assert x is not None and weight is not None
        if not edit.constants.is_constant(weight):
            left = edit.constants.is_constant(x)
            raise NoMatch("the constant is the left factor" if left else "both factors are computed at run time")
        shape = edit.dims(weight)
        if shape is None or len(shape) != 2:
            raise NoMatch(f"the weight has shape {shape}, not two axes")
        edit.check_float(weight)
        n = shape[1]
        assert isinstance(n, int)
        end, bias = _bias(node, n, edit)
        if bias is None:
            bias = edit.constant(f"{weight.name}.bias", np.zeros(n, np.float32))
        make = partial(function, "FloatLinear", "x, weight, bias", _BODY)
        call = edit.call("FloatLinear", make, [x, weight, bias], node)
        edit.replace(end.outputs, call.outputs, [call], end)
        return call.op_type


def _bias(node: ir.Node, n: int, edit: Editor) -> tuple[ir.Node, ir.Value | None]:
    """The Add of a constant vector behind it, and that vector [N]; else the node itself."""
    user = edit.only_user(node.outputs[0])
    if user is None or identifier(user) != "Add":
        return node, None
    pair = edit.operand(user)
    addend = None if pair is None else edit.array(pair[1])
    rank = None if node.inputs[0] is None or node.inputs[0].shape is None else len(node.inputs[0].shape)
    if pair is None or addend is None or addend.size not in (1, n) or addend.dtype != np.float32:
        return node, None
    if addend.ndim > 1 and (rank is None or addend.ndim > rank or addend.size != addend.shape[-1]):
        return node, None  # the sum has another shape
    if addend.shape == (n,):
        return user, pair[1]
    return user, edit.constant(pair[1].name or "bias", np.broadcast_to(addend.reshape(-1), n))
