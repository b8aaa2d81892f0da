"""Quantized convolutions: dynq::Conv_…."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from ...graph.functions import parse
from ...kernels.conv import rows
from ...kernels.conv import step as kernels
from ...operators.conv.packed import PackedConv, convolution_geometry
from ...operators.linear.packed import PackedLinear
from ...runtime.post_ops import post_ops_address
from ..sizes import AnySize
from ..tensor import Tensor, expect
from ..trace import Trace
from .base import F32, attribute_ints, call, floats_only
from .patches import FEW, channels_last, patch_fields


def conv(trace: Trace, node: ir.Node) -> None:
    """dynq::Conv_⟨attributes⟩"""
    x = trace.input(node, 0)
    floats_only(x)
    name = parse(node.op_type)  # which says the geometry: others may have the same weight
    weight = trace.weights.packed(("conv", name.base), trace.constants(node, 1, 2, 3, 4), lambda: _pack(trace, node))
    geometry, shape = weight._geometry, weight._shape_2d
    expect(x.rank, len(weight.shape), "axes of x and of the weight")
    expect(x.shape[1], weight.shape[1] * geometry.groups, "channels of x and of the weight")
    spatial = x.shape[2:]
    high, wide = (1, *spatial) if len(spatial) == 1 else spatial
    lengths = geometry.output((high, wide), shape[2:])
    if any(length < 1 for length in lengths):
        raise ValueError("the kernel of a convolution must not be larger than the image")
    post_ops = post_ops_address(name.activation, None, False)
    if geometry.groups == 1 and lengths[0] * lengths[1] <= FEW:
        _few_pixels(trace, node, x, weight, lengths, post_ops)
        return
    x = trace.dense(x)
    out = trace.result(node.outputs[0], F32, (x.shape[0], weight.shape[0], *lengths[4 - x.rank :]))
    call(
        trace, "conv int8", kernels.conv_step, kernels.ConvStep, x=x, images=x.shape[0], height=high, width=wide,
        out=out, weight=weight._layout().descriptor, post_ops=post_ops,
    )  # fmt: skip


def _few_pixels(
    trace: Trace, node: ir.Node, x: Tensor, weight: PackedConv, lengths: tuple[AnySize, AnySize], post_ops: int
) -> None:
    """The step of a convolution without groups, as a product of patches whose channels are last."""
    product_weight = trace.weights.packed("conv rows", trace.constants(node, 1, 2, 3, 4), lambda: _as_linear(weight))
    layout = product_weight._step_layout()
    x = trace.memory(x)
    if not x.is_dense() and not _has_channels_last(x):
        x = trace.dense(x)
    fields = patch_fields(trace, x, weight._shape_2d, weight._geometry, lengths, last=True)
    out = channels_last(trace, node, x.shape[0], lengths[4 - x.rank :], layout.n)
    m = fields["rows"].shape[:1]
    call(
        trace, "conv int8 rows", rows.rows_step, rows.RowsStep, **fields, scales=trace.block(F32, m),
        zeros=trace.block(np.dtype(np.int32), m), weight=layout.descriptor, out=out, post_ops=post_ops,
    )  # fmt: skip


def _has_channels_last(x: Tensor) -> bool:
    """Whether it lies in memory as [N, …, C] without gaps."""
    order = (0, *range(2, x.rank), 1)
    return x.view(tuple(x.shape[i] for i in order), tuple(x.strides[i] for i in order)).is_dense()


def _as_linear(weight: PackedConv) -> PackedLinear:
    """[O, taps · C], channel by channel in every tap."""
    q = np.ascontiguousarray(np.moveaxis(weight.qweight, 1, -1)).reshape(weight.shape[0], -1)
    return PackedLinear(q, weight.scale[:, None], weight.bias, 8, "per_channel", None, "per_token")


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
