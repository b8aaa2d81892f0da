"""Convolutions of a few pixels, as products of patches.

    patches [pixels, C · taps]  ×  weight [C · taps, O]  =  [pixels, O], seen as [N, O, OH, OW]

A convolution's tile has pixels of one image as columns. With fewer than a vector has lanes most of it would be empty;
here outputs are the columns. The sums have the same order, so the bits are the same: bias, then channel by channel, tap
by tap.
"""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from ...arguments.geometry import Geometry
from ...operators.sgemm.pack import pack_matrix
from ...runtime import isa, kernel_table
from ..sizes import AnySize, product
from ..tensor import Tensor
from ..trace import Trace
from .base import F32
from .copies import copy_into, fill
from .products import multiply

#: Pixels of an image up to which this is faster.
FEW = 12


def few_pixels(
    trace: Trace,
    node: ir.Node,
    x: Tensor,
    weight: np.ndarray,
    bias: np.ndarray | None,
    geometry: Geometry,
    lengths: tuple[AnySize, AnySize],
    activation: str | None,
) -> None:
    """Add the steps of a convolution without groups; weight [O, C, KH, KW]."""
    outputs, k = weight.shape[0], weight[0].size
    target = kernel_table.kernel_for("sgemm", isa.active()).form
    panels = trace.weights.packed(
        ("patches", weight.shape), trace.constants(node, 1), lambda: pack_matrix(weight.reshape(outputs, k).T, target)
    )
    patches = trace.dense(_patches(trace, x, weight.shape[2:], geometry, lengths))
    images = x.shape[0]
    m = product([images, *lengths])
    out = trace.block(F32, (images, *lengths, outputs))
    a, rows = patches.view((m, k), (4 * k, 4)), out.view((m, outputs), (4 * outputs, 4))
    given = None if bias is None else np.ascontiguousarray(bias, np.float32)
    multiply(trace, (), m, outputs, k, a, panels, rows, given, None, activation)
    image, row, pixel, channel = out.strides
    if x.rank == 3:
        trace.set(node.outputs[0], out.view((images, outputs, lengths[1]), (image, channel, pixel)))
    else:
        trace.set(node.outputs[0], out.view((images, outputs, *lengths), (image, channel, row, pixel)))


def _patches(
    trace: Trace, x: Tensor, taps: tuple[int, ...], geometry: Geometry, lengths: tuple[AnySize, AnySize]
) -> Tensor:
    """[N, OH, OW, C, KH, KW], a view."""
    images, channels = x.shape[:2]
    high, wide = x.shape[2:] if x.rank == 4 else (1, x.shape[2])
    image, channel, *_, across = x.strides
    down = x.strides[2] if x.rank == 4 else 0
    (top, bottom), (left, right) = geometry.padding
    if top or bottom or left or right:
        padded = trace.block(F32, (images, channels, high + (top + bottom), wide + (left + right)))
        fill(trace, padded, np.zeros(1, F32))
        inner = padded.strides[2] * top + 4 * left
        copy_into(
            trace, padded.view((images, channels, high, wide), padded.strides, inner),
            x.view((images, channels, high, wide), (image, channel, down, across)),
        )  # fmt: skip
        x, (image, channel, down, across) = padded, padded.strides
    (step_y, step_x), (apart_y, apart_x) = geometry.stride, geometry.dilation
    return x.view(
        (images, *lengths, channels, *taps),
        (image, down * step_y, across * step_x, channel, down * apart_y, across * apart_x),
    )
