"""Quantized convolutions: dynq::Conv_…."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from ...kernels.conv import step as kernels
from ...operators.conv.packed import PackedConv, convolution_geometry
from ...runtime.post_ops import post_ops_address
from ..functions import parse
from ..tensor import expect
from ..trace import Trace
from .base import F32, attribute_ints, call, floats_only


def conv(trace: Trace, node: ir.Node) -> None:
    """dynq::Conv_⟨attributes⟩"""
    x = trace.input(node, 0)
    floats_only(x)
    weight = trace.weights.packed("conv", trace.constants(node, 1, 2, 3, 4), lambda: _pack(trace, node))
    x = trace.dense(x)
    expect(x.rank, len(weight.shape), "axes of x and of the weight")
    expect(x.shape[1], weight.shape[1] * weight._geometry.groups, "channels of x and of the weight")
    spatial = x.shape[2:]
    high, wide = (1, *spatial) if len(spatial) == 1 else spatial
    geometry, taps = weight._geometry, weight._shape_2d[2:]
    along = zip((high, wide), geometry.padding, taps, geometry.dilation, geometry.stride, strict=True)
    lengths = [(n + (sum(around) - d * (k - 1) - 1)) // step + 1 for n, around, k, d, step in along]
    if any(length < 1 for length in lengths):
        raise ValueError("the kernel of a convolution must not be larger than the image")
    if len(spatial) == 1:
        lengths = lengths[1:]
    out = trace.result(node.outputs[0], F32, (x.shape[0], weight.shape[0], *lengths))
    call(
        trace, "conv int8", kernels.conv_step, kernels.ConvStep, x=x, images=x.shape[0], height=high, width=wide,
        out=out, weight=weight._layout().descriptor,
        post_ops=post_ops_address(parse(node.op_type).activation, None, False),
    )  # fmt: skip


def _pack(trace: Trace, node: ir.Node) -> PackedConv:
    stored, scale, bias = (trace.constant(node, i) for i in (1, 2, 4))
    q = (stored ^ np.uint8(128)).view(np.int8)
    function = trace.weights.model.functions[node.op_identifier()]
    inner = {each.op_type: each for each in function}
    product = inner["ConvInteger"]
    axes = q.ndim - 2
    pads = [
        int(n)
        for n in next(each for each in function if each.outputs[0].name == "pads").attributes["value_ints"].as_ints()
    ]
    rank = axes + 2
    around = list(zip(pads[2:rank], pads[rank + 2 :], strict=True))
    ones = [1] * axes
    geometry = convolution_geometry(
        q.shape, attribute_ints(product, "strides", ones), around, attribute_ints(product, "dilations", ones),
        product.attributes.get_int("group", 1),
    )  # fmt: skip
    return PackedConv(q, scale.reshape(-1).copy(), np.array(bias.reshape(-1), np.float32), geometry)


LOWERINGS = {"dynq::Conv": conv}
