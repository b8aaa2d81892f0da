"""Conv with a constant weight, where it is asked for: dq.conv. Depthwise ones stay float32.

    Conv_⟨attributes⟩   x [N, C, …], uint8 weight [O, C/g, …] (integers + 128), scale, sums, bias [O, 1, …]    exact

x is padded with zeros before it is quantized: they become the zero point exactly, so the sum over the kernel of
zero point times weight is the same for every pixel.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Any

import numpy as np
import onnx_ir as ir

from ...operators.conv.api import conv
from ...operators.conv.packed import pack_conv
from ...operators.sconv.pack import MOST_DEPTHWISE
from ..constants import Constants, run_node
from ..functions import BYTES, DEQUANTIZE, MOST_K, QUANTIZE, function
from ..recipe import Scheme
from .base import Found, LayerKind, Probe, Replacement, Roles, Unfit
from .linear_body import biased

_BODY = """
    pads = Constant <value_ints: ints = [PADS]> ()
    unpadded_zero = Constant <value_float: float = 0.0> ()
    x = Pad (image, pads, unpadded_zero)
    axes = Constant <value_ints: ints = [AXES]> ()
""" + QUANTIZE + BYTES + """
    products = ConvInteger (bytes, weight, none, middle)
    excess = Mul (zero_points, weight_sum)
    sums = Sub (products, excess)
""" + DEQUANTIZE  # fmt: skip


class Conv(LayerKind):
    op_types = ("Conv",)

    def find(self, node: ir.Node, constants: Constants) -> Found | None:
        weight = node.inputs[1]
        if weight is None or not constants.is_constant(weight):
            return None
        bias = constants.array(node.inputs[2]) if len(node.inputs) > 2 else None
        return Found(node, (weight,), (), None if bias is None else np.asarray(bias, np.float32))

    def replace(self, found: Found, arrays: Sequence[np.ndarray], scheme: Scheme, constants: Constants) -> Replacement:
        node, weight = found.node, arrays[0]
        x = node.inputs[0]
        assert x is not None
        if (scheme.bits, scheme.granularity, scheme.x_bits) != (8, "per_channel", 8):
            raise Unfit(f"convolutions have 8 bits per channel; not {scheme.words()}")
        if len(node.inputs) > 2 and node.inputs[2] is not None and found.bias is None:
            raise Unfit("the bias is computed at run time")
        if (auto := node.attributes.get_string("auto_pad", "NOTSET")) not in ("NOTSET", "VALID"):
            raise Unfit(f"auto_pad={auto}")
        if is_depthwise(weight, node.attributes.get_int("group", 1)):
            raise Unfit("depthwise: it has few bytes, and float32 is faster")
        if weight[0].size > MOST_K:
            raise Unfit(f"{weight[0].size} values for each output; at most {MOST_K}")
        packed = pack_conv(weight, found.bias, **_geometry(node, weight.ndim - 2))
        bias = np.zeros(len(weight), np.float32) if found.bias is None else found.bias
        made, inputs = of_integers(packed.qweight.reshape(weight.shape), packed.scale, bias, node)
        return Replacement(made, [x, *inputs], packed, "int8_per_channel")

    def probe(self, found: Found, arrays: Sequence[np.ndarray], packed: Any, constants: Constants) -> Probe:
        weight = arrays[0]
        geometry = _geometry(found.node, weight.ndim - 2)
        size = [taps * step + 8 for taps, step in zip(weight.shape[2:], geometry["dilation"], strict=True)]
        channels = weight.shape[1] * geometry["groups"]
        x = np.random.default_rng(0).standard_normal((1, channels, *size), np.float32)
        floats = run_node(found.node, [x, weight, found.bias][: len(found.node.inputs)], constants.opset)
        return Probe(floats, [conv(x, packed)])


def of_integers(q: np.ndarray, scale: np.ndarray, bias: np.ndarray, node: ir.Node) -> tuple[ir.Function, Roles]:
    """The function of integers [O, C/g, …] within ±127, scales [O] and bias [O], and what it takes behind x.

    `node` has the attributes of a convolution.
    """
    outputs, ones = len(q), (1,) * (q.ndim - 2)
    inputs: Roles = [
        ("weight", biased(q)),
        ("scale", scale.reshape(outputs, *ones)),
        ("sums", q.sum(axis=tuple(range(1, q.ndim)), dtype=np.int32).reshape(outputs, *ones)),
        ("bias", bias.reshape(outputs, *ones)),
    ]
    return _function(node, q.ndim - 2), inputs


def is_depthwise(weight: np.ndarray, groups: int) -> bool:
    """Whether every channel goes by itself, through the float32 kernel for that."""
    return groups > 1 and weight.shape[1] == 1 and len(weight) // groups <= MOST_DEPTHWISE


def _geometry(node: ir.Node, axes: int) -> dict[str, Any]:
    """As dq.pack_conv takes it."""
    ones = [1] * axes
    pads = list(node.attributes.get_ints("pads", [0] * (2 * axes)))
    return {
        "stride": tuple(node.attributes.get_ints("strides", ones)),
        "padding": tuple(zip(pads[:axes], pads[axes:], strict=True)),
        "dilation": tuple(node.attributes.get_ints("dilations", ones)),
        "groups": node.attributes.get_int("group", 1),
    }


def _function(node: ir.Node, axes: int) -> ir.Function:
    """The body with the node's attributes as constants."""
    geometry = _geometry(node, axes)
    before, after = zip(*geometry["padding"], strict=True)
    pads = [0, 0, *before, 0, 0, *after]
    text = _BODY.replace("PADS", ", ".join(map(str, pads)))
    text = text.replace("AXES", ", ".join(map(str, range(1, axes + 2))))
    name = f"Conv_{hashlib.sha256(repr(geometry).encode()).hexdigest()[:8]}"
    made = function(name, "image, weight, weight_scale, weight_sum, bias", text)
    for each in made.graph:
        if each.op_type == "ConvInteger":
            each.attributes["strides"] = ir.AttrInt64s("strides", geometry["stride"])
            each.attributes["dilations"] = ir.AttrInt64s("dilations", geometry["dilation"])
            each.attributes["group"] = ir.AttrInt64("group", geometry["groups"])
    return made
