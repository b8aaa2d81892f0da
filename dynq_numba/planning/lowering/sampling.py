"""Values of images between pixels: GridSample."""

from __future__ import annotations

import onnx_ir as ir

from ...kernels.sampling import grid_sample as kernels
from ..sizes import product
from ..tensor import expect
from ..trace import Trace, Unsupported
from .base import F32, call, floats_only


def grid_sample(trace: Trace, node: ir.Node) -> None:
    """GridSample"""
    x, grid = trace.input(node, 0), trace.input(node, 1)
    floats_only(x, grid)
    said = node.attributes.get_string
    mode, padding = said("mode", "linear"), said("padding_mode", "zeros")
    if x.rank not in (4, 5) or mode not in kernels.TAPS or padding not in kernels.PADDING:
        raise Unsupported(f"mode={mode}, padding_mode={padding} of {x.rank} axes")
    axes = x.rank - 2
    expect(grid.rank, x.rank, "axes of the grid and of the images")
    expect(grid.shape[0], x.shape[0], "grids and images")
    expect(grid.shape[-1], axes, "numbers of a place and axes of an image")
    depth, height, width = (1, *x.shape[2:])[-3:]
    points = product(grid.shape[1:-1])
    if any(length < 1 for length in (depth, height, width)):
        expect(points, 0, "places in an image without pixels, and 0")
    dense = trace.dense(x), trace.dense(grid)
    out = trace.result(node.outputs[0], F32, (*x.shape[:2], *grid.shape[1:-1]))
    call(
        trace, "grid_sample", kernels.sample, kernels.GridSample, x=dense[0], grid=dense[1], out=out,
        images=x.shape[0], channels=x.shape[1], depth=depth, height=height, width=width, points=points, axes=axes,
        taps=kernels.TAPS[mode], padding=kernels.PADDING[padding], align=node.attributes.get_int("align_corners", 0),
    )  # fmt: skip


LOWERINGS = {"GridSample": grid_sample}
