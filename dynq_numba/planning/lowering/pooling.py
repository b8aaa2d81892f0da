"""Pooling: MaxPool, AveragePool, GlobalMaxPool, GlobalAveragePool."""

from __future__ import annotations

from typing import Any

import onnx_ir as ir

from ...kernels.pooling import call as pooling
from ...kernels.pooling import places
from ...kernels.pooling.context import GlobalPooling, Pooling
from ...runtime import isa, kernel_table, scratch, threads
from ..sizes import product
from ..tensor import expect
from ..trace import Trace, Unsupported
from .base import F32, I64, attribute_ints, call, floats_only
from .spatial import dense_image, geometry_of, lengths_of_result, pair, size_of


def pool(trace: Trace, node: ir.Node) -> None:
    """MaxPool, AveragePool"""
    x, taken = dense_image(trace, node), attribute_ints(node, "kernel_shape") or []
    expect(len(taken), x.rank - 2, "axes of the kernel and of the image")
    taps = pair(taken, 1)
    stride, padding, dilation = geometry_of(node, x, taps)
    ceil_mode = bool(node.attributes.get_int("ceil_mode", 0))
    high, wide = lengths_of_result(x, taps, stride, padding, dilation, ceil_mode)
    shape = (*x.shape[:2], *([high] if x.rank == 4 else []), wide)
    fields = _common("pooling", node) | {
        "slots": scratch.ADDRESS, "x": x, "out": trace.result(node.outputs[0], F32, shape),
        "planes": product(x.shape[:2]), "height": size_of(x)[0], "width": x.shape[-1], "out_height": high,
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


def _common(operation: str, node: ir.Node) -> dict[str, Any]:
    worker = kernel_table.worker_address(operation, isa.active())
    return {"worker": worker, "pool": threads.POOL, "average": int("Average" in node.op_type)}


LOWERINGS = {
    "MaxPool": pool, "AveragePool": pool, "GlobalMaxPool": global_pool, "GlobalAveragePool": global_pool,
}  # fmt: skip
