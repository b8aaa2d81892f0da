"""DynamicQuantizeLSTM as it is written: x is quantized as a whole, h as a whole in every step.

    x, h ─▶ DynamicQuantizeLinear ─▶ MatMulInteger(W, R) ─▶ Cast ─▶ Mul(scales)       in the Scan of an LSTM's body

(ONNX Runtime quantizes the h of those rows together that a thread has; on one thread this is all of them.)
"""

from __future__ import annotations

import numpy as np
import onnx_ir as ir
from onnx_ir.passes import common

from ..functions import function
from ..layers import recurrent_body
from ..model import DOMAIN
from ..rewrites.base import Editor, NoMatch, Rewrite
from .recurrent import DYNAMIC, constant_of, form_of, plain_node, states_of

#: Names of functions that take the place of a node, and that are then inlined.
PREFIX = "AsWritten"
#: In the place of the columns' sums there are their zero points.
_LINEAR = f"{PREFIX}Linear"
_BODY = """
    q, scale, zero = DynamicQuantizeLinear (x)
    sums = MatMulInteger (q, weight, zero, weight_zero)
    floats = Cast <to: int = 1> (sums)
    factor = Mul (scale, weight_scale)
    scaled = Mul (floats, factor)
    y = Add (scaled, bias)
"""


class DynamicLSTM(Rewrite):
    name = "dynamic LSTM"
    anchors = (DYNAMIC,)

    def rewrite(self, node: ir.Node, edit: Editor) -> str:
        plain = plain_node(node)
        bias, peepholes = (constant_of(node, i, name, edit) for i, name in ((3, "B"), (7, "P")))
        weights = [array for i in (1, 2) if (array := edit.array(node.inputs[i])) is not None]
        if len(weights) < 2:
            raise NoMatch("W or R is computed at run time")
        count, rows = weights[0].shape[0], weights[0].shape[2]
        states = states_of(plain, node)
        more = {} if peepholes is None else {"peepholes": edit.constant("peepholes", peepholes)}
        linear = edit.function(_LINEAR, lambda: function(_LINEAR, "x, weight, weight_scale, weight_zero, bias", _BODY))
        form, name = form_of(plain, count, rows, peepholes), edit.names.unused(f"{PREFIX}LSTM")
        made = edit.function(name, lambda: recurrent_body.function(name, form, [*states, *more], linear))
        inputs = [node.inputs[0]]
        for i, q in zip((1, 2), weights, strict=True):
            scale, zero = (edit.array(node.inputs[place]) for place in (6 + 2 * i, 7 + 2 * i))
            if scale is None or (zero is None and node.inputs[7 + 2 * i] is not None):
                raise NoMatch("its scales or zero points are computed at run time")
            zero = np.zeros(count, q.dtype) if zero is None else zero
            inputs += [node.inputs[i], *(edit.constant(what, np.ascontiguousarray(np.broadcast_to(
                array.reshape(count, -1), (count, rows)))) for what, array in (("scales", scale), ("zeros", zero)))]
        inputs.append(edit.constant("B", np.zeros((count, 2 * rows), np.float32) if bias is None else bias))
        call = edit.call(made.name, lambda: made, [*inputs, *states.values(), *more.values()], node)
        edit.replace(node.outputs, call.outputs[: len(node.outputs)], [call], node)
        return "Scan"


def inlined(model: ir.Model) -> None:
    """Put the bodies of these functions in the place of their calls."""
    common.InlinePass(lambda function: function.domain == DOMAIN and function.name.startswith(PREFIX))(model)
