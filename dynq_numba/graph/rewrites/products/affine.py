"""What multiplies or shifts the channels of a Conv by constants goes into its weight and bias.

    y = conv(x) · g + h    ─▶    weight · g,  bias · g + h        of a quantized one: scale · g, the integers stay

BatchNormalization:  g = scale / √(var + eps),  h = beta - mean · g.  Mul, Div, Add, Sub with a number, or with one for
each channel.  The new weight and bias are computed in float64 and rounded once.
"""

from __future__ import annotations

import re

import numpy as np
import onnx_ir as ir

from ...model import DOMAIN
from ..base import Editor, NoMatch, Rewrite, identifier

_CONSTANT = "its parameters or those of the Conv in front are computed at run time"


class Affine(Rewrite):
    name = "scale and shift of a conv"
    anchors = ("BatchNormalization", "Mul", "Div", "Add", "Sub")

    def rewrite(self, node: ir.Node, edit: Editor) -> str:
        pair = (node.inputs[0], None) if node.op_type == "BatchNormalization" else edit.operand(node)
        conv = None if pair is None or pair[0] is None else pair[0].producer()
        if conv is None or not (identifier(conv) == "Conv" or is_quantized(conv)):
            raise NoMatch("no Conv is in front of it, or nothing of it is constant")
        if edit.only_user(conv.outputs[0]) is not node:
            raise NoMatch("the result of the Conv in front is used elsewhere, too")
        if is_quantized(conv):
            return _quantized(node, conv, edit)
        weight = edit.array(conv.inputs[1])
        given = conv.inputs[2] if len(conv.inputs) > 2 else None
        bias = np.zeros(1, np.float32) if given is None else edit.array(given)
        if weight is None or bias is None:
            raise NoMatch(_CONSTANT)
        factor, shift = _factor_and_shift(node, weight.ndim, len(weight), edit)
        if any(array.size not in (1, len(weight)) for array in (bias, factor, shift)):
            raise NoMatch(f"a number for each of {len(weight)} channels is wanted; the shapes contradict each other")
        scaled = weight.astype(np.float64) * factor.reshape(-1, *(1,) * (weight.ndim - 1))
        moved = np.broadcast_to(bias.astype(np.float64) * factor + shift, len(weight))
        name = "weight" if conv.inputs[1] is None else conv.inputs[1].name
        made = edit.node("Conv", [
            conv.inputs[0],
            edit.constant(f"{name}.scaled", scaled.astype(weight.dtype)),
            edit.constant(f"{name}.bias", moved.astype(weight.dtype)),
        ], like=node.outputs[0])  # fmt: skip
        made.name = conv.name
        made.attributes.update(conv.attributes)
        edit.replace(node.outputs[:1], made.outputs, [made], node)
        return "Conv"


def is_quantized(node: ir.Node) -> bool:
    """Whether it is a call of a Conv of layers/conv.py that has no activation yet."""
    return node.domain == DOMAIN and re.fullmatch("Conv_[0-9a-f]+", node.op_type) is not None


def _quantized(node: ir.Node, conv: ir.Node, edit: Editor) -> str:
    """The same call with another scale and bias, [O, 1, …] both, as many ones as an image has axes."""
    x, weight, scale, sums, bias = conv.inputs
    arrays = [edit.array(each) for each in (scale, bias)]
    if arrays[0] is None or arrays[1] is None:
        raise NoMatch(_CONSTANT)
    scales, biases = (np.float64(array).reshape(-1) for array in arrays)
    factor, shift = _factor_and_shift(node, 1 + arrays[0].ndim, len(scales), edit)
    if any(array.size not in (1, len(scales)) for array in (factor, shift)):
        raise NoMatch(f"a number for each of {len(scales)} channels is wanted; the shapes contradict each other")
    name = "weight" if weight is None else weight.name
    changed = {"scale": scales * factor, "bias": np.broadcast_to(biases * factor + shift, len(scales))}
    scale, bias = (
        edit.constant(f"{name}.{part}", np.float32(values).reshape(arrays[0].shape))
        for part, values in changed.items()
    )
    function = edit.model.functions[conv.op_identifier()]
    made = edit.call(conv.op_type, lambda: function, [x, weight, scale, sums, bias], conv)
    edit.replace(node.outputs[:1], made.outputs, [made], node)
    return made.op_type


def _factor_and_shift(node: ir.Node, rank: int, channels: int, edit: Editor) -> tuple[np.ndarray, np.ndarray]:
    """g and h, float64 [channels] or [1], all finite: inf · 0 in a weight is NaN, where the result was infinite."""
    with np.errstate(all="ignore"):
        found = _computed(node, rank, channels, edit)
    if not all(np.isfinite(each).all() for each in found):
        raise NoMatch("a factor or a shift is not finite")
    return found


def _computed(node: ir.Node, rank: int, channels: int, edit: Editor) -> tuple[np.ndarray, np.ndarray]:
    one, zero = np.ones(1), np.zeros(1)
    if node.op_type == "BatchNormalization":
        arrays = [edit.array(each) for each in node.inputs[1:]]
        if node.attributes.get_int("training_mode", 0) or any(array is None for array in arrays):
            raise NoMatch(_CONSTANT)
        if len({array.size for array in arrays if array is not None}) > 1:
            raise NoMatch("its parameters have different lengths")
        scale, beta, mean, variance = (np.float64(array) for array in arrays)
        factor = scale / np.sqrt(variance + node.attributes.get_float("epsilon", 1e-5))
        return factor, beta - mean * factor
    pair = edit.operand(node)
    assert pair is not None
    array = edit.constants.weight(pair[1])
    if array.size != 1 and (array.size != channels or array.ndim < rank - 1 or array.shape[1 - rank] != channels):
        raise NoMatch(f"{pair[1].name} has shape {array.shape}: not one number, nor one for each channel")
    if array.ndim > rank:
        raise NoMatch(f"{pair[1].name} has {array.ndim} axes, the Conv {rank}")
    values, swapped = array.astype(np.float64).reshape(-1), pair[1] is node.inputs[0]
    if node.op_type == "Mul":
        return values, zero
    if node.op_type == "Div":
        if swapped:
            raise NoMatch("it divides by the result of the Conv")
        return 1 / values, zero
    if node.op_type == "Add":
        return one, values
    return (-one, values) if swapped else (one, -values)
