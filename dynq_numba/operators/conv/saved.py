"""A PackedConv in a file (files/fields.py has the format)."""

from __future__ import annotations

from typing import Any

from ...files.container import Tensor
from ...files.fields import Described, Take, attributes, given, read_bias, read_shape, steps, within
from ..linear import schemes
from .packed import PackedConv, convolution_geometry


def describe_conv(w: PackedConv) -> Described:
    about = {
        "shape": list(w.shape), "stride": list(w.stride), "padding": [list(pair) for pair in w.padding],
        "dilation": list(w.dilation), "groups": w.groups, "bias": w.bias is not None,
    }  # fmt: skip
    tensors = {"qweight": Tensor("I8", w.shape, lambda: w.qweight), "scale": given("F32", w.scale)}
    return about, tensors | ({} if w.bias is None else {"bias": given("F32", w.bias)})


def restore_conv(about: dict[str, Any], take: Take) -> PackedConv:
    shape, stride, padding, dilation, groups, bias = attributes(
        about, "shape", "stride", "padding", "dilation", "groups", "bias"
    )
    geometry = convolution_geometry(shape := read_shape(shape, 3, 4), stride, padding, dilation, groups)
    q, scale = take("qweight", "I8", shape).copy(), take("scale", "F32", shape[:1]).copy()
    within("qweight", q, -schemes.LIMITS[8], schemes.LIMITS[8])
    steps(scale, schemes.LIMITS[8])
    return PackedConv(q, scale, read_bias(bias, take, shape[0]), geometry)
