"""The mean of a sentence's tokens, those that a mask leaves out excepted, as sentence encoders end.

    MeanPool   x [B, T, K], mask [B, T], least []    y [B, K] = Σ_t mask · x / max(Σ_t mask, least)

Exporters expand the mask to the shape of x, and sum that, too. A region of x and a mask is this if it has its values on
random numbers.
"""

from __future__ import annotations

from functools import partial

import numpy as np
import onnx_ir as ir

from ..functions import function
from .base import Editor, NoMatch, Rewrite
from .computed import TOLERANCE, Numbers, regions_of

_UNDERSTOOD = {
    "Mul", "Div", "ReduceSum", "Clip", "Max", "Unsqueeze", "Expand", "Cast", "Shape", "Concat", "Reshape", "Gather",
    "Slice", "Where", "Equal", "ConstantOfShape",
}  # fmt: skip
_BODY = """
    last = Constant <value_ints: ints = [2]> ()
    tokens = Constant <value_ints: ints = [1]> ()
    floats = Cast <to: int = 1> (mask)
    column = Unsqueeze (floats, last)
    masked = Mul (x, column)
    sums = ReduceSum <keepdims: int = 0> (masked, tokens)
    counts = ReduceSum <keepdims: int = 0> (column, tokens)
    divisors = Max (counts, least)
    y = Div (sums, divisors)
"""


class MeanPool(Rewrite):
    name = "mean of tokens"
    anchors = ("Div",)

    def rewrite(self, node: ir.Node, edit: Editor) -> str:
        if edit.constants.is_constant(node.inputs[1]):
            raise NoMatch
        for values, nodes in regions_of(node, 2, _UNDERSTOOD, edit):
            if not any(each.op_type == "ReduceSum" for each in nodes):
                continue
            for x, mask in (values, values[::-1]):
                least = _least(x, mask, nodes, edit)
                if least is not None:
                    edit.check_float(x)
                    inputs = [x, mask, edit.constant(f"{x.name}.least", np.float32(least))]
                    call = edit.call("MeanPool", partial(function, "MeanPool", "x, mask, least", _BODY), inputs, node)
                    edit.replace(node.outputs, call.outputs, [call], node)
                    return call.op_type
        raise NoMatch("it divides no masked sum over tokens by the sum of the mask")


def _least(x: ir.Value, mask: ir.Value, nodes: list[ir.Node], edit: Editor) -> float | None:
    """The constant of the nodes with which they are this function of x and mask, or None."""
    if len(edit.dims(x) or ()) != 3 or len(edit.dims(mask) or ()) != 2:
        return None
    numbers = Numbers(x, [x, mask], edit)
    arrays = numbers.arrays
    if arrays[mask].shape != arrays[x].shape[:2]:
        return None
    arrays[mask][0] = 0  # a sentence without tokens
    arrays[mask][1:, 0] = 1
    got = numbers.compute(nodes)
    found = (edit.scalar(each) for node in nodes for each in node.inputs if each is not None)
    sums, counts = (arrays[mask][..., None] * arrays[x]).sum(1), arrays[mask].sum(1)[:, None]
    for least in sorted({each for each in found if each is not None and 0 < each < 1}):
        wanted = sums / np.maximum(counts, least)
        if got is not None and got.shape == wanted.shape and (np.abs(got - wanted) <= TOLERANCE).all():
            return least
    return None
