"""Images and their axes: what convolutions and pooling share. A sequence [N, C, W] is an image of one row."""

from __future__ import annotations

import onnx_ir as ir

from ...arguments.geometry import Pair
from ..sizes import AnySize
from ..tensor import Tensor
from ..trace import Trace, Unsupported
from .base import attribute_ints, floats_only

#: Of strides, dilations and pads.
MOST = 1 << 20


def float_image(trace: Trace, node: ir.Node) -> Tensor:
    """Its first input, [N, C, H, W] or [N, C, W]."""
    x = trace.input(node, 0)
    floats_only(x)
    if x.rank not in (3, 4):
        raise Unsupported(f"{x.rank - 2} spatial axes")
    return x


def dense_image(trace: Trace, node: ir.Node) -> Tensor:
    """The same, one value behind the other."""
    return trace.dense(float_image(trace, node))


def size_of(x: Tensor) -> tuple[AnySize, AnySize]:
    """Height and width; a sequence is an image of one row."""
    return (x.shape[2], x.shape[3]) if x.rank == 4 else (1, x.shape[2])


def pair(values: tuple[int, ...] | list[int], missing: int) -> Pair:
    """Of two spatial axes; a sequence is an image of one row."""
    across = values[-1]
    return (values[0], across) if len(values) == 2 else (missing, across)


def geometry_of(
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
    stride, dilation = (pair(attribute_ints(node, name, ones) or ones, 1) for name in ("strides", "dilations"))
    before, after = (pair(half, 0) for half in (pads[:axes], pads[axes:]))
    if min(*before, *after) < 0:
        raise Unsupported("negative padding")
    if how != "NOTSET":
        before, after = (0, 0), (0, 0)
    padding = (before[0], after[0]), (before[1], after[1])
    if how.startswith("SAME") and not transposed:
        size = zip(size_of(x), taps, stride, dilation, strict=True)
        down, across = (_same(n, apart * (k - 1) + 1, step, how == "SAME_UPPER") for n, k, step, apart in size)
        padding = down, across
    return stride, padding, dilation


def _same(n: AnySize, reach: int, step: int, upper: bool) -> Pair:
    """Padding with which every step-th pixel of n has a result; the odd one is after the image if `upper`."""
    total = max(reach - (int(n % step) or step), 0)  # the plan is for all n with this rest
    less = total // 2
    return (less, total - less) if upper else (total - less, less)


def lengths_of_result(
    x: Tensor, taps: Pair, stride: Pair, padding: tuple[Pair, Pair], dilation: Pair, ceil_mode: bool = False
) -> tuple[AnySize, AnySize]:
    """Height and width of the result."""
    found: list[AnySize] = []
    for n, k, step, (before, after), apart in zip(size_of(x), taps, stride, padding, dilation, strict=True):
        room = n + (before + after - apart * (k - 1) - 1)
        if room < 0:
            raise Unsupported("the kernel is larger than the image")
        count = (room + (step - 1 if ceil_mode else 0)) // step + 1
        if ceil_mode and (count - 1) * step >= n + before:
            count = count - 1
        found.append(count)
    return found[0], found[1]
