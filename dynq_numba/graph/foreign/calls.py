"""Calls of our functions on integers that others made."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from ...operators.linear.schemes import GROUP_SIZES
from ..functions import MOST_K
from ..layers import conv, linear_body
from ..layers.base import Roles
from ..rewrites.base import DIFFERS, Editor, NoMatch
from .integers import Integers, channel_scales, widened, within


def call_of(
    function: ir.Function, x: ir.Value, roles: Roles, more: list[ir.Value], like: ir.Node, differs: str, edit: Editor
) -> ir.Node:
    """A call on x, constants and further values."""
    base = like.inputs[1].name if len(like.inputs) > 1 and like.inputs[1] is not None else label_of(like)
    constants = [
        edit.constant(f"{base}.{role}", array.numpy() if isinstance(array, ir.TensorProtocol) else array)
        for role, array in roles
    ]
    made = edit.call(function.name, lambda: function, [x, *constants, *more], like)
    made.metadata_props[DIFFERS] = differs
    return made


def label_of(node: ir.Node) -> str:
    return node.name or node.op_type


def linear_call(
    x: ir.Value, weight: Integers, bias: np.ndarray | None, like: ir.Node, differs: str, edit: Editor
) -> list[ir.Node]:
    """The nodes of x times a weight [K, N], and bias; the last one gives the result."""
    turned = weight.turned(1, 0)
    n = len(turned.whole)
    own = np.zeros(n, np.float32) if bias is None else np.array(np.broadcast_to(bias.reshape(-1), n), np.float32)
    if (turned.scale == turned.scale[:, :1]).all():
        scale = channel_scales(turned.scale[:, :1], 0, n)
        q, columns = within(turned.whole)
        function, roles = linear_body.of_channels(q, scale, own)
        x, before = widened(x, columns, -1, edit)
        return [*before, call_of(function, x, roles, [], like, differs, edit)]
    whole, scale = grouped(turned)
    bits = 4 if whole.min() >= -8 and whole.max() <= 7 else 8
    function, roles = linear_body.of_groups(whole.astype(np.int8), scale, own, bits)
    return [call_of(function, x, roles, [], like, differs, edit)]


def grouped(weight: Integers) -> tuple[np.ndarray, np.ndarray]:
    """Integers [N, K] and scales [N, K/g] of groups that our kernels have; raises `NoMatch`."""
    (n, k), count = weight.whole.shape, weight.scale.shape[1]
    if k % count or not any(k // count % size == 0 for size in GROUP_SIZES):
        raise NoMatch(f"it has a scale for every {k / count:g} values; ours are of {GROUP_SIZES}")
    if weight.whole.min() < -128 or weight.whole.max() > 127:
        raise NoMatch("integers of its blocks are beyond int8")
    size = max(size for size in GROUP_SIZES if k // count % size == 0)
    scale = np.broadcast_to(weight.scale, (n, count)).repeat(k // count // size, axis=1)
    return weight.whole, np.ascontiguousarray(scale)


def float_call(x: ir.Value, weight: Integers, bias: np.ndarray | None, like: ir.Node, edit: Editor) -> list[ir.Node]:
    """The nodes of a product or convolution in float32, where no kernel takes the integers."""
    is_conv = like.op_type == "ConvInteger"
    inputs = [x, edit.constant(f"{label_of(like)}.weight", weight.floats())]
    own = None if bias is None else edit.constant(f"{label_of(like)}.bias", np.asarray(bias, np.float32))
    if is_conv:
        return [edit.node("Conv", [*inputs, *([] if own is None else [own])], dict(like.attributes), like=x)]
    product = edit.node("MatMul", inputs, like=x)
    return [product] if own is None else [product, edit.node("Add", [product.outputs[0], own], like=x)]


def conv_call(
    x: ir.Value, weight: Integers, bias: np.ndarray | None, like: ir.Node, differs: str, edit: Editor
) -> list[ir.Node]:
    """The nodes of a convolution with a weight [O, C/g, …]; `like` has its attributes."""
    whole, groups = weight.whole, like.attributes.get_int("group", 1)
    if whole.ndim not in (3, 4):
        raise NoMatch(f"its weight has {whole.ndim} axes; our convolutions have 3 or 4")
    if (auto := like.attributes.get_string("auto_pad", "NOTSET")) not in ("NOTSET", "VALID"):
        raise NoMatch(f"auto_pad={auto}")
    if conv.is_depthwise(whole, groups):
        raise NoMatch("depthwise: float32 is faster")
    scale = channel_scales(weight.scale, 0, len(whole))
    q, channels = within(np.moveaxis(whole, 1, -1))
    if channels.size and groups > 1:
        raise NoMatch("it has groups, and integers beyond ±127")
    q = np.ascontiguousarray(np.moveaxis(q, -1, 1))
    if q[0].size > MOST_K:
        raise NoMatch(f"{q[0].size} values for each output; at most {MOST_K}")
    own = np.zeros(len(whole), np.float32) if bias is None else np.asarray(bias, np.float32).reshape(-1)
    function, roles = conv.of_integers(q, scale, own, like)
    x, before = widened(x, channels, 1, edit)
    return [*before, call_of(function, x, roles, [], like, differs, edit)]
