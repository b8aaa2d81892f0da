"""Resize: copies of pixels, where it is to the nearest pixel by whole factors, or values between them."""

from __future__ import annotations

from fractions import Fraction

import onnx_ir as ir

from ...kernels.sampling import resize as kernels
from ..sizes import product
from ..tensor import dense_strides, expect, is_equal
from ..trace import Trace, Unsupported
from .base import F32, attribute_ints, axes_of, call, floats_only, lengths_of
from .copies import copy_into

#: Coordinates and rounding with which pixel o, for a whole factor, is that of o // factor.
TO_NEAREST = {
    ("asymmetric", "floor"), ("half_pixel", "round_prefer_floor"), ("half_pixel", "round_prefer_ceil"),
}  # fmt: skip

#: Factors are less.
MOST = 1 << 20


def resize(trace: Trace, node: ir.Node) -> None:
    """Resize"""
    try:
        repeated(trace, node)
    except Unsupported:
        resized(trace, node)


def repeated(trace: Trace, node: ir.Node) -> None:
    """Resize to the nearest pixel by whole factors: every pixel is copied so many times."""
    x, scales = trace.memory(trace.input(node, 0)), trace.constant(node, 2)
    said = node.attributes.get_string
    how = said("coordinate_transformation_mode", "half_pixel"), said("nearest_mode", "round_prefer_floor")
    if said("mode", "nearest") != "nearest" or how not in TO_NEAREST:
        raise Unsupported(f"{said('mode', 'nearest')} by {', '.join(filter(None, how))}")
    factors, axes = [1.0] * x.rank, axes_of(attribute_ints(node, "axes", range(x.rank)) or [], x.rank)
    if len(axes) != scales.size:
        raise Unsupported("sizes, no factors")
    for axis, factor in zip(axes, scales.tolist(), strict=True):
        factors[axis] = factor
    if not all(1 <= factor < MOST and factor == int(factor) for factor in factors):
        raise Unsupported("factors that are not whole")
    times = [int(factor) for factor in factors]
    out = trace.result(node.outputs[0], x.dtype, tuple(n * k for n, k in zip(x.shape, times, strict=True)))
    pairs = zip(x.shape, times, x.strides, strict=True)
    split = [each for n, k, stride in pairs for each in ((n, stride), (k, 0))]
    shape, strides = (tuple(part) for part in zip(*split, strict=True))
    copy_into(trace, out.view(shape, dense_strides(shape, x.itemsize)), x.view(shape, strides))


def resized(trace: Trace, node: ir.Node) -> None:
    """Resize of the last two axes."""
    x, said = trace.input(node, 0), node.attributes.get_string
    floats_only(x)
    how, mode = said("coordinate_transformation_mode", "half_pixel"), said("mode", "nearest")
    if how not in kernels.HOW or mode not in kernels.TAPS:
        raise Unsupported(f"{mode} by {how}")
    if node.attributes.get_int("antialias", 0) or said("keep_aspect_ratio_policy", "stretch") != "stretch":
        raise Unsupported("antialias, or sizes that keep the aspect ratio")
    axes = axes_of(attribute_ints(node, "axes", range(x.rank)) or [], x.rank)
    shape, scales = list(x.shape), [0.0] * x.rank
    if trace.optional(node, 2) is not None and trace.input(node, 2).size:
        factors = trace.constant(node, 2).reshape(-1).tolist()
        expect(len(factors), len(axes), "scales and axes")
        for axis, factor in zip(axes, factors, strict=True):
            if not 0 < factor < MOST:
                raise ValueError(f"scales must be positive and less than 2^20; got {factor}")
            exact = Fraction(factor)
            shape[axis] = x.shape[axis] * exact.numerator // exact.denominator
            scales[axis] = factor
    else:
        lengths = trace.ints(node, 3)
        expect(len(lengths or ()), len(axes), "sizes and axes")
        for axis, length in zip(axes, lengths_of(lengths or ()), strict=True):
            shape[axis] = length
    for axis in range(x.rank - 2):
        if scales[axis] not in (0, 1) or not is_equal(shape[axis], x.shape[axis]):
            raise Unsupported("other axes than the last two")
    if x.rank < 2:
        raise Unsupported("one axis")
    dense = trace.dense(x)
    out = trace.result(node.outputs[0], F32, tuple(shape))
    for before, after in zip(x.shape[-2:], shape[-2:], strict=True):
        if before < 1:
            expect(after, 0, "length of what is resized from nothing, and 0")
    call(
        trace, f"resize {mode}", kernels.resize, kernels.Resize, x=dense, out=out,
        planes=product(x.shape[:-2]), height=x.shape[-2], width=x.shape[-1], out_height=shape[-2], out_width=shape[-1],
        scale_y=scales[-2], scale_x=scales[-1], how=kernels.HOW[how], taps=kernels.TAPS[mode],
        rounding=kernels.ROUNDING[said("nearest_mode", "round_prefer_floor")],
        cubic=node.attributes.get_float("cubic_coeff_a", -0.75),
        exclude=node.attributes.get_int("exclude_outside", 0),
    )  # fmt: skip


LOWERINGS = {"Resize": resize}
