"""Resize to the nearest pixel, by whole factors: copies."""

from __future__ import annotations

import onnx_ir as ir

from ..tensor import dense_strides
from ..trace import Trace, Unsupported
from .base import attribute_ints
from .copies import copy_into

#: Coordinates and rounding with which pixel o, for a whole factor, is that of o // factor.
TO_NEAREST = {
    ("asymmetric", "floor"), ("half_pixel", "round_prefer_floor"), ("half_pixel", "round_prefer_ceil"),
}  # fmt: skip


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


LOWERINGS = {"Resize": resize}
