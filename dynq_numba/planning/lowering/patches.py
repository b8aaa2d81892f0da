"""Convolutions of a few pixels, as products of patches (kernels/conv/rows.py).

    patches [pixels, C · taps]  ×  weight [C · taps, O]  =  [pixels, O], seen as [N, O, OH, OW]

A convolution's tile has pixels of one image as columns. With fewer than a vector has lanes most of it would be empty;
here outputs are the columns. The bits are the same: sums of float32 have the same order, those of integers are exact.
Results have their channels last, which is the order in which the patches of the next one are copied fastest.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import onnx_ir as ir

from ...arguments.geometry import Geometry
from ...kernels.conv import rows as kernels
from ...operators.sgemm.pack import pack_matrix
from ...runtime import isa, kernel_table
from ..sizes import AnySize, product
from ..tensor import Tensor
from ..trace import Trace, Unsupported
from .base import F32, call
from .elementwise import applied
from .products import multiply

#: Pixels of a result, for each image, up to which this is faster.
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
    fields = patch_fields(trace, x, weight.shape, geometry, lengths, last=False)
    call(trace, "patches", kernels.patches_step, kernels.Patches, **fields)
    rows = fields["rows"]
    out = channels_last(trace, node, x.shape[0], lengths[4 - x.rank :], outputs)
    given = None if bias is None else np.ascontiguousarray(bias, np.float32)
    m = rows.shape[0]
    whole = out.view((m, outputs), (4 * outputs, 4))
    multiply(trace, (), m, outputs, k, rows, panels, whole, given, None, activation, out)


#: Groups, of each of which the products are steps of their own.
MOST_GROUPS = 64


def of_computed_weight(
    trace: Trace,
    node: ir.Node,
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    geometry: Geometry,
    lengths: tuple[AnySize, AnySize],
) -> None:
    """Add the steps of a convolution whose weight [O, C, …] is computed at run time: nothing can be packed before."""
    groups, shape = geometry.groups, tuple(int(n) for n in weight.shape)
    if groups > MOST_GROUPS:
        raise Unsupported(f"{groups} groups of a weight that is computed at run time")
    outputs, channels, k = shape[0] // groups, shape[1], math.prod(shape[1:])
    square = (outputs, channels, *((1, 1)[: 4 - len(shape)]), *shape[2:])
    x, weight = trace.memory(x), trace.dense(weight)
    out = channels_last(trace, node, x.shape[0], lengths[4 - x.rank :], shape[0])
    for group in range(groups):
        part = x.view((x.shape[0], channels, *x.shape[2:]), x.strides, x.strides[1] * (group * channels))
        fields = patch_fields(trace, part, square, geometry, lengths, last=False)
        call(trace, "patches", kernels.patches_step, kernels.Patches, **fields)
        rows = fields["rows"]
        turned = weight.view((k, outputs), (4, 4 * k), group * outputs * k * 4)
        whole = out.view((rows.shape[0], outputs), (4 * shape[0], 4), group * outputs * 4)
        multiply(trace, (), rows.shape[0], outputs, k, rows, turned, whole)
    if bias is not None:
        made, bias = trace.state.values[node.outputs[0]], trace.memory(bias)
        beside = bias.view((shape[0], *(1,) * (x.rank - 2)), (4, *(0,) * (x.rank - 2)))
        trace.set(node.outputs[0], applied(node, "Add", (made, beside)))


def patch_fields(
    trace: Trace, x: Tensor, weight: tuple[int, ...], geometry: Geometry, lengths: tuple[AnySize, AnySize], last: bool
) -> dict[str, Any]:
    """The fields of a record `Patches`, for a weight of that shape; `last`: channels are the last axis of a row."""
    x = trace.memory(x)
    images, (_, channels, *taps) = x.shape[0], weight
    image, channel, *_, across = x.strides
    high, down = (x.shape[2], x.strides[2]) if x.rank == 4 else (1, 0)
    (top, _), (left, _) = geometry.padding
    rows = trace.block(F32, (product([images, *lengths]), math.prod(weight[1:])))
    return {
        "x": x, "image": image, "channel": channel, "down": down, "across": across, "images": images,
        "channels": channels, "height": high, "width": x.shape[-1], "out_height": lengths[0], "out_width": lengths[1],
        "k_high": taps[0], "k_wide": taps[1], "step_y": geometry.stride[0], "step_x": geometry.stride[1],
        "top": top, "left": left, "dilate_y": geometry.dilation[0], "dilate_x": geometry.dilation[1],
        "last": int(last), "rows": rows,
    }  # fmt: skip


def channels_last(trace: Trace, node: ir.Node, images: AnySize, lengths: tuple[AnySize, ...], outputs: int) -> Tensor:
    """Memory [images, *lengths, outputs], which the node's result is seen in as [images, outputs, *lengths]."""
    out = trace.block(F32, (images, *lengths, outputs))
    image, *along, channel = out.strides
    trace.set(node.outputs[0], out.view((images, outputs, *lengths), (image, channel, *along)))
    return out
