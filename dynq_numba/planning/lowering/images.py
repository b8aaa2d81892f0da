"""Images in float32: Conv, ConvTranspose, dynq::FloatConv, MaxPool, AveragePool, the global ones, Resize."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx_ir as ir

from ...arguments.geometry import Geometry, Pair
from ...graph.functions import parse
from ...kernels.pooling import call as pooling
from ...kernels.pooling import places
from ...kernels.pooling.context import GlobalPooling, Pooling
from ...kernels.sconv import fold
from ...kernels.sconv.call import convolution_step
from ...kernels.sconv.context import FloatConv
from ...operators.sconv.pack import FloatConvWeight, way_of
from ...runtime import isa, kernel_table, scratch, threads
from ...runtime.post_ops import post_ops_address
from ..sizes import AnySize, largest, product
from ..tensor import Tensor, dense_strides, expect
from ..trace import Trace, Unsupported
from .base import F32, I64, attribute_ints, call, floats_only
from .copies import copy_into
from .linear import spread
from .patches import FEW, few_pixels, of_computed_weight

#: Of strides, dilations and pads.
MOST = 1 << 20
NONE = ((0, 0), (0, 0))
#: Coordinates and rounding with which pixel o, for a whole factor, is that of o // factor.
TO_NEAREST = {
    ("asymmetric", "floor"), ("half_pixel", "round_prefer_floor"), ("half_pixel", "round_prefer_ceil"),
}  # fmt: skip


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
    x, weight = _floats(trace, node), trace.constant(node, 1)
    floats_only(trace.input(node, 1))
    bias = None if trace.optional(node, 2) is None else trace.constant(node, 2)
    taps = _pair(weight.shape[2:], 1)
    expect(x.rank, weight.ndim, "axes of x and of the weight")
    stride, padding, dilation = _geometry(said, x, taps)
    if bias is not None:
        expect(bias.size, weight.shape[0], "the bias and the channels of the result")
    geometry = Geometry(stride, padding, dilation, said.attributes.get_int("group", 1))
    if x.shape[1] != weight.shape[1] * geometry.groups or weight.shape[0] % geometry.groups:
        raise Unsupported("the channels do not fit the weight")
    high, wide = _lengths(x, taps, stride, padding, dilation)
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
    x, weight, bias = _floats(trace, node), trace.input(node, 1), trace.optional(node, 2)
    floats_only(weight, bias)
    expect(x.rank, weight.rank, "axes of x and of the weight")
    taps = _pair([int(n) for n in weight.shape[2:]], 1)
    stride, padding, dilation = _geometry(node, x, taps)
    geometry = Geometry(stride, padding, dilation, node.attributes.get_int("group", 1))
    expect(x.shape[1], weight.shape[1] * geometry.groups, "channels of x and of the weight")
    expect(weight.shape[0] % geometry.groups, 0, "channels of the result beyond whole groups and 0")
    if bias is not None:
        expect(bias.size, weight.shape[0], "the bias and the channels of the result")
    of_computed_weight(trace, node, x, weight, bias, geometry, _lengths(x, taps, stride, padding, dilation))


def conv_transpose(trace: Trace, node: ir.Node) -> None:
    """ConvTranspose: a product for every pixel gives its patch; patches are moved where they go, or added up there."""
    x, weight = _image(trace, node), trace.constant(node, 1)
    floats_only(trace.input(node, 1))
    expect(x.rank, weight.ndim, "axes of x and of the weight")
    groups, taps = node.attributes.get_int("group", 1), _pair(weight.shape[2:], 1)
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
    n, (height, width) = x.shape[0], _size(x)
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
    high, wide = _size(x)
    return high * taps[0], wide * taps[1]


def _transposed(
    node: ir.Node, x: Tensor, taps: Pair
) -> tuple[Pair, tuple[Pair, Pair], Pair, tuple[AnySize, AnySize]]:
    """Stride, padding, dilation and the lengths of the result of a transposed convolution."""
    axes = x.rank - 2
    stride, padding, dilation = _geometry(node, x, taps, transposed=True)
    more, wanted = (attribute_ints(node, name) for name in ("output_padding", "output_shape"))
    extra = _pair(more or [0] * axes, 0)
    same = node.attributes.get_string("auto_pad", "NOTSET").startswith("SAME")
    if wanted is not None:
        wanted = wanted[-axes:]
    lengths: list[AnySize] = []
    around: list[Pair] = []
    for i, n in enumerate(_size(x)):
        before, after = padding[i]
        whole = (n - 1) * stride[i] + extra[i] + (dilation[i] * (taps[i] - 1) + 1)
        if i == 0 and axes == 1:
            lengths.append(1)
        elif wanted is not None or same:
            length = n * stride[i] if wanted is None else _pair(wanted, 1)[i]
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
        trace, w.operation, convolution_step, FloatConv, **w.fields, x=x, images=x.shape[0], height=_size(x)[0],
        width=x.shape[-1], out=out, residual=residual, post_ops=post_ops,
    )  # fmt: skip


def pool(trace: Trace, node: ir.Node) -> None:
    """MaxPool, AveragePool"""
    x, taken = _image(trace, node), attribute_ints(node, "kernel_shape") or []
    expect(len(taken), x.rank - 2, "axes of the kernel and of the image")
    taps = _pair(taken, 1)
    stride, padding, dilation = _geometry(node, x, taps)
    ceil_mode = bool(node.attributes.get_int("ceil_mode", 0))
    high, wide = _lengths(x, taps, stride, padding, dilation, ceil_mode)
    shape = (*x.shape[:2], *([high] if x.rank == 4 else []), wide)
    fields = _common("pooling", node) | {
        "slots": scratch.ADDRESS, "x": x, "out": trace.result(node.outputs[0], F32, shape),
        "planes": product(x.shape[:2]), "height": _size(x)[0], "width": x.shape[-1], "out_height": high,
        "out_width": wide, "k_high": taps[0], "k_wide": taps[1], "step_y": stride[0], "step_x": stride[1],
        "top": padding[0][0], "bottom": padding[0][1], "left": padding[1][0], "right": padding[1][1],
        "dilate_y": dilation[0], "dilate_x": dilation[1],
        "count_padding": node.attributes.get_int("count_include_pad", 0),
    }  # fmt: skip
    if not any(map(trace.is_read, node.outputs[1:])):
        call(trace, "pooling", pooling.pooling_step, Pooling, **fields)
        return
    indices, by_columns = trace.result(node.outputs[1], I64, shape), node.attributes.get_int("storage_order", 0)
    call(
        trace, "pooling", places.placed_pooling, places.PlacedPooling, **fields, places=indices, by_columns=by_columns
    )


def global_pool(trace: Trace, node: ir.Node) -> None:
    """GlobalMaxPool, GlobalAveragePool"""
    x = trace.input(node, 0)
    floats_only(x)
    if x.rank < 3:
        raise Unsupported(f"{x.rank} axes")
    x = trace.dense(x)
    values = product(x.shape[2:])
    if values == 0:
        raise Unsupported("images without a pixel")
    out = trace.result(node.outputs[0], F32, (*x.shape[:2], *(1,) * (x.rank - 2)))
    call(
        trace, "global_pooling", pooling.global_pooling_step, GlobalPooling, **_common("global_pooling", node), x=x,
        out=out, planes=product(x.shape[:2]), values=values,
    )  # fmt: skip


def resize(trace: Trace, node: ir.Node) -> None:
    """Resize to the nearest pixel by whole factors: every pixel is copied so many times."""
    x, scales = trace.memory(trace.input(node, 0)), trace.constant(node, 2)
    said = node.attributes.get_string
    how = said("coordinate_transformation_mode", "half_pixel"), said("nearest_mode", "round_prefer_floor")
    if said("mode", "nearest") != "nearest" or how not in TO_NEAREST:
        raise Unsupported(f"{said('mode', 'nearest')} by {', '.join(filter(None, how))}")
    factors, axes = [1.0] * x.rank, attribute_ints(node, "axes", range(x.rank)) or []
    if len(axes) != scales.size:
        raise Unsupported("sizes, no factors")
    for axis, factor in zip(axes, scales.tolist(), strict=True):
        factors[axis] = factor
    if any(factor < 1 or factor != int(factor) for factor in factors):
        raise Unsupported("factors that are not whole")
    times = [int(factor) for factor in factors]
    out = trace.result(node.outputs[0], x.dtype, tuple(n * k for n, k in zip(x.shape, times, strict=True)))
    pairs = zip(x.shape, times, x.strides, strict=True)
    split = [each for n, k, stride in pairs for each in ((n, stride), (k, 0))]
    shape, strides = (tuple(part) for part in zip(*split, strict=True))
    copy_into(trace, out.view(shape, dense_strides(shape, x.itemsize)), x.view(shape, strides))


def _common(operation: str, node: ir.Node) -> dict[str, Any]:
    worker = kernel_table.worker_address(operation, isa.active())
    return {"worker": worker, "pool": threads.POOL, "average": int("Average" in node.op_type)}


def _floats(trace: Trace, node: ir.Node) -> Tensor:
    """Its first input, [N, C, H, W] or [N, C, W]."""
    x = trace.input(node, 0)
    floats_only(x)
    if x.rank not in (3, 4):
        raise Unsupported(f"{x.rank - 2} spatial axes")
    return x


def _image(trace: Trace, node: ir.Node) -> Tensor:
    """The same, one value behind the other."""
    return trace.dense(_floats(trace, node))


def _size(x: Tensor) -> tuple[AnySize, AnySize]:
    """Height and width; a sequence is an image of one row."""
    return (x.shape[2], x.shape[3]) if x.rank == 4 else (1, x.shape[2])


def _pair(values: tuple[int, ...] | list[int], missing: int) -> Pair:
    """Of two spatial axes; a sequence is an image of one row."""
    across = values[-1]
    return (values[0], across) if len(values) == 2 else (missing, across)


def _geometry(
    node: ir.Node, x: Tensor, taps: Pair, *, transposed: bool = False
) -> tuple[Pair, tuple[Pair, Pair], Pair]:
    """Stride, padding and dilation of two spatial axes, from a node's attributes."""
    axes, how = x.rank - 2, node.attributes.get_string("auto_pad", "NOTSET")
    if how not in ("NOTSET", "VALID", "SAME_UPPER", "SAME_LOWER"):
        raise ValueError(f"auto_pad must be NOTSET, VALID, SAME_UPPER or SAME_LOWER; got {how}")
    ones = [1] * axes
    pads = attribute_ints(node, "pads", [0] * 2 * axes) or []
    for name, count in (("kernel_shape", axes), ("strides", axes), ("dilations", axes), ("pads", 2 * axes)):
        given, least = attribute_ints(node, name, [1] * count) or [], -MOST if name == "pads" else 1
        if len(given) != count or not all(least <= n <= MOST for n in given):
            raise ValueError(f"{name} must be {count} numbers from {least} to {MOST}; got {given}")
    stride, dilation = (_pair(attribute_ints(node, name, ones) or ones, 1) for name in ("strides", "dilations"))
    before, after = (_pair(half, 0) for half in (pads[:axes], pads[axes:]))
    if min(*before, *after) < 0:
        raise Unsupported("negative padding")
    if how != "NOTSET":
        before, after = (0, 0), (0, 0)
    padding = (before[0], after[0]), (before[1], after[1])
    if how.startswith("SAME") and not transposed:
        size = zip(_size(x), taps, stride, dilation, strict=True)
        down, across = (_same(n, apart * (k - 1) + 1, step, how == "SAME_UPPER") for n, k, step, apart in size)
        padding = down, across
    return stride, padding, dilation


def _same(n: AnySize, reach: int, step: int, upper: bool) -> Pair:
    """Padding with which every step-th pixel of n has a result; the odd one is after the image if `upper`."""
    total = max(reach - (int(n % step) or step), 0)  # the plan is for all n with this rest
    less = total // 2
    return (less, total - less) if upper else (total - less, less)


def _lengths(
    x: Tensor, taps: Pair, stride: Pair, padding: tuple[Pair, Pair], dilation: Pair, ceil_mode: bool = False
) -> tuple[AnySize, AnySize]:
    """Height and width of the result."""
    found: list[AnySize] = []
    for n, k, step, (before, after), apart in zip(_size(x), taps, stride, padding, dilation, strict=True):
        room = n + (before + after - apart * (k - 1) - 1)
        if room < 0:
            raise Unsupported("the kernel is larger than the image")
        count = (room + (step - 1 if ceil_mode else 0)) // step + 1
        if ceil_mode and (count - 1) * step >= n + before:
            count = count - 1
        found.append(count)
    return found[0], found[1]


LOWERINGS = {
    "Conv": conv, "dynq::FloatConv": conv, "ConvTranspose": conv_transpose, "MaxPool": pool, "AveragePool": pool,
    "Resize": resize, "GlobalMaxPool": global_pool, "GlobalAveragePool": global_pool,
}  # fmt: skip
