"""Convolutions in float32: Conv, dynq::FloatConv, ConvTranspose."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from ...arguments.geometry import Geometry, Pair
from ...graph.functions import parse
from ...kernels.sconv import fold
from ...kernels.sconv.call import convolution_step
from ...kernels.sconv.context import FloatConv
from ...operators.sconv.pack import FloatConvWeight, way_of
from ...runtime import isa
from ...runtime.post_ops import post_ops_address
from ..sizes import AnySize, largest
from ..tensor import Tensor, dense_strides, expect
from ..trace import Trace, Unsupported
from .base import F32, attribute_ints, call, floats_only
from .copies import copy_into
from .linear import spread
from .patches import FEW, few_pixels, of_computed_weight
from .spatial import dense_image, float_image, geometry_of, lengths_of_result, pair, size_of

NONE = ((0, 0), (0, 0))


def conv(trace: Trace, node: ir.Node) -> None:
    """Conv, and dynq::FloatConv with its activation and residual"""
    tensors = [trace.optional(node, i) for i in (1, 2)]
    if node.op_type == "Conv" and any(each is not None and each.array is None for each in tensors):
        _conv_of_computed_weight(trace, node)
        return
    said, activation, residual = node, None, None
    if node.op_type != "Conv":
        name = parse(node.op_type)
        said = next(each for each in trace.weights.model.functions[node.op_identifier()] if each.op_type == "Conv")
        activation, residual = name.activation, trace.input(node, 3) if name.residual else None
    x, weight = float_image(trace, node), trace.constant(node, 1)
    floats_only(trace.input(node, 1))
    bias = None if trace.optional(node, 2) is None else trace.constant(node, 2)
    taps = pair(weight.shape[2:], 1)
    expect(x.rank, weight.ndim, "axes of x and of the weight")
    stride, padding, dilation = geometry_of(said, x, taps)
    if bias is not None:
        expect(bias.size, weight.shape[0], "the bias and the channels of the result")
    geometry = Geometry(stride, padding, dilation, said.attributes.get_int("group", 1))
    if x.shape[1] != weight.shape[1] * geometry.groups or weight.shape[0] % geometry.groups:
        raise Unsupported("the channels do not fit the weight")
    high, wide = lengths_of_result(x, taps, stride, padding, dilation)
    square = weight.reshape(*weight.shape[:2], *taps)
    if geometry.groups == 1 and residual is None and high * wide <= FEW:
        few_pixels(trace, node, x, square, bias, geometry, (high, wide), activation)
        return
    way = way_of(square.shape, geometry, (high, wide))
    w = trace.weights.packed(
        ("sconv", geometry, way), (weight, bias), lambda: FloatConvWeight(square, bias, geometry, isa.active(), way),
    )
    shape = (x.shape[0], weight.shape[0], *([high] if x.rank == 4 else []), wide)
    if residual is not None:
        residual = trace.dense(spread(trace, residual, shape))
    post_ops = post_ops_address(activation, None, residual is not None)
    _convolve(trace, w, trace.dense(x), trace.result(node.outputs[0], F32, shape), residual, post_ops)


def _conv_of_computed_weight(trace: Trace, node: ir.Node) -> None:
    x, weight, bias = float_image(trace, node), trace.input(node, 1), trace.optional(node, 2)
    floats_only(weight, bias)
    expect(x.rank, weight.rank, "axes of x and of the weight")
    taps = pair([int(n) for n in weight.shape[2:]], 1)
    stride, padding, dilation = geometry_of(node, x, taps)
    geometry = Geometry(stride, padding, dilation, node.attributes.get_int("group", 1))
    expect(x.shape[1], weight.shape[1] * geometry.groups, "channels of x and of the weight")
    expect(weight.shape[0] % geometry.groups, 0, "channels of the result beyond whole groups and 0")
    if bias is not None:
        expect(bias.size, weight.shape[0], "the bias and the channels of the result")
    of_computed_weight(trace, node, x, weight, bias, geometry, lengths_of_result(x, taps, stride, padding, dilation))


def conv_transpose(trace: Trace, node: ir.Node) -> None:
    """ConvTranspose: a product for every pixel gives its patch; patches are moved where they go, or added up there."""
    x, weight = dense_image(trace, node), trace.constant(node, 1)
    floats_only(trace.input(node, 1))
    expect(x.rank, weight.ndim, "axes of x and of the weight")
    groups, taps = node.attributes.get_int("group", 1), pair(weight.shape[2:], 1)
    if x.shape[1] != weight.shape[0] or groups < 1 or len(weight) % groups:
        raise Unsupported("the channels do not fit the weight")
    outputs = weight.shape[1] * groups
    bias = None if trace.optional(node, 2) is None else trace.constant(node, 2)
    if bias is not None:
        expect(bias.size, outputs, "the bias and the channels of the result")
    stride, padding, dilation, (high, wide) = _transposed(node, x, taps)
    apart = stride == taps and padding == NONE and dilation == (1, 1) and (high, wide) == _times(x, taps)

    def packed() -> FloatConvWeight:
        own = weight.reshape(groups, -1, *weight.shape[1:])  # of each group [C, O, …]
        matrix = np.moveaxis(own, 1, -1).reshape(-1, own.shape[1], 1, 1)
        biases = np.repeat(bias, taps[0] * taps[1]) if apart and bias is not None else None
        return FloatConvWeight(matrix, biases, Geometry((1, 1), NONE, (1, 1), groups), isa.active())

    w = trace.weights.packed(("sconv transposed", taps, groups, apart), (weight, bias), packed)
    n, (height, width) = x.shape[0], size_of(x)
    patches = trace.block(F32, (n, len(w.weight), height, width))
    _convolve(trace, w, x, patches, None, 0)
    out = trace.result(node.outputs[0], F32, (n, outputs, *([high] if x.rank == 4 else []), wide))
    if apart:
        a, b, c, d, e, f = dense_strides((n, outputs, *taps, height, width), F32.itemsize)
        moved = (n, outputs, height, taps[0], width, taps[1])
        target = out.view(moved, dense_strides(moved, F32.itemsize))
        copy_into(trace, target, patches.view(moved, (a, b, e, c, f, d)))
        return
    call(
        trace, "fold", fold.fold, fold.Fold, patches=patches, out=out,
        bias=None if bias is None else np.ascontiguousarray(bias, np.float32), images=n, outputs=outputs, height=height,
        width=width, out_height=high, out_width=wide, k_high=taps[0], k_wide=taps[1], step_y=stride[0],
        step_x=stride[1], dilate_y=dilation[0], dilate_x=dilation[1], top=padding[0][0], left=padding[1][0],
    )  # fmt: skip


def _times(x: Tensor, taps: Pair) -> tuple[AnySize, AnySize]:
    high, wide = size_of(x)
    return high * taps[0], wide * taps[1]


def _transposed(
    node: ir.Node, x: Tensor, taps: Pair
) -> tuple[Pair, tuple[Pair, Pair], Pair, tuple[AnySize, AnySize]]:
    """Stride, padding, dilation and the lengths of the result of a transposed convolution."""
    axes = x.rank - 2
    stride, padding, dilation = geometry_of(node, x, taps, transposed=True)
    more, wanted = (attribute_ints(node, name) for name in ("output_padding", "output_shape"))
    extra = pair(more or [0] * axes, 0)
    same = node.attributes.get_string("auto_pad", "NOTSET").startswith("SAME")
    if wanted is not None:
        wanted = wanted[-axes:]
    lengths: list[AnySize] = []
    around: list[Pair] = []
    for i, n in enumerate(size_of(x)):
        before, after = padding[i]
        whole = (n - 1) * stride[i] + extra[i] + (dilation[i] * (taps[i] - 1) + 1)
        if i == 0 and axes == 1:
            lengths.append(1)
        elif wanted is not None or same:
            length = n * stride[i] if wanted is None else pair(wanted, 1)[i]
            total = int(largest(whole - length, 0))
            less = total // 2
            upper = node.attributes.get_string("auto_pad", "NOTSET") == "SAME_UPPER"
            before, after = (less, total - less) if upper else (total - less, less)
            lengths.append(length)
        else:
            lengths.append(whole - (before + after))
        around.append((before, after))
    if any(n < 1 for n in lengths):
        raise Unsupported("a result without a pixel")
    return stride, (around[0], around[1]), dilation, (lengths[0], lengths[1])


def _convolve(
    trace: Trace, w: FloatConvWeight, x: Tensor, out: Tensor, residual: Tensor | None, post_ops: int
) -> None:
    """The step."""
    call(
        trace, w.operation, convolution_step, FloatConv, **w.fields, x=x, images=x.shape[0], height=size_of(x)[0],
        width=x.shape[-1], out=out, residual=residual, post_ops=post_ops,
    )  # fmt: skip


LOWERINGS = {"Conv": conv, "dynq::FloatConv": conv, "ConvTranspose": conv_transpose}
