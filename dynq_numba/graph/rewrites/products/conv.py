"""Conv with a constant float32 weight, and a Pad of zeros in front: a float convolution.

    FloatConv_⟨attributes⟩   x [N, C, …], weight [O, C/g, …], bias [O]    y = conv(x) + bias

The geometry is what the attributes strides, dilations, pads and group of the Conv in the body say; all four are there.
"""

from __future__ import annotations

import hashlib
from functools import partial

import numpy as np
import onnx_ir as ir

from ...functions import function
from ..base import Editor, NoMatch, Rewrite


class Conv(Rewrite):
    name = "conv"
    anchors = ("Conv",)

    def rewrite(self, node: ir.Node, edit: Editor) -> str:
        x, weight = node.inputs[:2]
        assert x is not None and weight is not None
        bias = node.inputs[2] if len(node.inputs) > 2 else None
        shape = edit.dims(weight)
        if not edit.constants.is_constant(weight) or (bias is not None and not edit.constants.is_constant(bias)):
            raise NoMatch("its weight or bias is computed at run time")
        if shape is None or not all(isinstance(each, int) for each in shape):
            raise NoMatch("the shape of its weight is not known")
        edit.check_float(weight)
        axes, outputs = len(shape) - 2, int(shape[0] or 0)
        pads = _pads(node, axes)
        pad = edit.maker(x, "Pad")
        if pad is not None and (more := _zeros_around(pad, axes, edit)) is not None and pad.inputs[0] is not None:
            x, pads = pad.inputs[0], [a + b for a, b in zip(pads, more, strict=True)]
        if bias is None:
            bias = edit.constant(f"{weight.name}.bias", np.zeros(outputs, np.float32))
        ones = [1] * axes
        geometry: dict[str, list[int] | int] = {
            "strides": list(node.attributes.get_ints("strides", ones)),
            "dilations": list(node.attributes.get_ints("dilations", ones)),
            "pads": pads,
            "group": node.attributes.get_int("group", 1),
        }
        name = f"FloatConv_{hashlib.sha256(repr(geometry).encode()).hexdigest()[:8]}"
        call = edit.call(name, partial(_function, name, geometry), [x, weight, bias], node)
        edit.replace(node.outputs, call.outputs, [call], node)
        return call.op_type


def _function(name: str, geometry: dict[str, list[int] | int]) -> ir.Function:
    made = function(name, "x, weight, bias", "    y = Conv (x, weight, bias)\n")
    made[0].attributes.update({each.name: each for each in ir.convenience.convert_attributes(geometry)})
    return made


def _pads(node: ir.Node, axes: int) -> list[int]:
    """All starts, then all ends."""
    if (auto := node.attributes.get_string("auto_pad", "NOTSET")) not in ("NOTSET", "VALID"):
        raise NoMatch(f"auto_pad={auto}")
    return list(node.attributes.get_ints("pads", [0] * (2 * axes)))


def _zeros_around(pad: ir.Node, axes: int, edit: Editor) -> list[int] | None:
    """What a Pad adds to the spatial axes, if it adds zeros, and to nothing else."""
    amounts = edit.array(pad.inputs[1])
    value = pad.inputs[2] if len(pad.inputs) > 2 else None
    if len(pad.inputs) > 3 and pad.inputs[3] is not None:
        return None
    if pad.attributes.get_string("mode", "constant") != "constant" or (value is not None and edit.scalar(value) != 0):
        return None
    if amounts is None or amounts.size != 2 * (axes + 2) or (amounts < 0).any():
        return None
    starts, ends = np.split(amounts, 2)
    return None if starts[:2].any() or ends[:2].any() else [int(each) for each in (*starts[2:], *ends[2:])]
