"""The mean of a sentence's tokens, those that a mask leaves out excepted, as sentence encoders end.

    MeanPool   x [B, T, K], mask [B, T], least []    y [B, K] = Σ_t mask · x / max(Σ_t mask, least)

Exporters expand the mask to the shape of x, and sum that, too. A region of x and a mask is this if it has its values on
random numbers: with masks of any numbers, with one that is empty, and with NaN where the mask is 0 (a Where hides it,
the product does not).
"""

from __future__ import annotations

from functools import partial

import numpy as np
import onnx_ir as ir

from ...functions import function
from ..base import Editor, NoMatch, Rewrite
from ..matching.computed import TOLERANCE, Numbers, regions_of

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
            least = _least(nodes, edit)
            for x, mask in (values, values[::-1]):
                if least is not None and _is_mean(x, mask, least, nodes, edit):
                    edit.check_float(x)
                    inputs = [x, mask, edit.constant(f"{x.name}.least", np.float32(least))]
                    call = edit.call("MeanPool", partial(function, "MeanPool", "x, mask, least", _BODY), inputs, node)
                    edit.replace(node.outputs, call.outputs, [call], node)
                    return call.op_type
        raise NoMatch("it divides no masked sum over tokens by the sum of the mask")


def _least(nodes: list[ir.Node], edit: Editor) -> float | None:
    """The number below which no divisor is: the constant of the one Max, or of a Clip without an upper bound."""
    bounds = [node for node in nodes if node.op_type in ("Max", "Clip")]
    if len(bounds) != 1 or (bounds[0].op_type == "Clip" and len(bounds[0].inputs) > 2 and bounds[0].inputs[2]):
        return None
    found = [each for each in map(edit.scalar, bounds[0].inputs) if each is not None]
    return found[0] if len(found) == 1 and 0 < found[0] < 1 else None


def _is_mean(x: ir.Value, mask: ir.Value, least: float, nodes: list[ir.Node], edit: Editor) -> bool:
    """Whether the nodes are this function of x and mask."""
    if len(edit.dims(x) or ()) != 3 or len(edit.dims(mask) or ()) != 2:
        return False
    numbers = Numbers(x, [x, mask], edit)
    arrays = numbers.arrays
    if arrays[mask].shape != arrays[x].shape[:2]:
        return False
    some = np.abs(arrays[mask]) if arrays[mask].dtype.kind == "f" else arrays[mask]
    many = some * 3 if some.dtype.kind in "iu" else some
    hidden, whole = some.copy(), arrays[x].copy()
    hidden[:, -1], whole[:, -1] = 0, np.nan
    for weights, tokens in ((np.ones_like(some), arrays[x]), (many, arrays[x]), (some * 0, arrays[x]), (hidden, whole)):
        arrays[mask], arrays[x] = weights.astype(some.dtype), tokens
        sums, counts = (weights[..., None] * tokens).sum(1), weights.sum(1)[:, None]
        got, wanted = numbers.compute(nodes), sums / np.maximum(counts, least)
        if got is None or got.shape != wanted.shape:
            return False
        if not np.allclose(got, wanted, rtol=TOLERANCE, atol=TOLERANCE, equal_nan=True):
            return False
    return True
