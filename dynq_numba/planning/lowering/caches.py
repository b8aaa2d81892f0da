"""Caches that are written into: TensorScatter of opset 24, and dynq::Append (graph/expand/group_query.py)."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from ...kernels.base.status import BAD_INDEX
from ...kernels.program import cache_rows as kernels
from ..sizes import AnySize, product
from ..tensor import Tensor, expect, is_equal
from ..trace import Trace, Unsupported
from .base import I64, axes_of, call
from .copies import copy_into, fill, joined


def tensor_scatter(trace: Trace, node: ir.Node) -> None:
    """TensorScatter"""
    past, update, starts = trace.input(node, 0), trace.input(node, 1), trace.optional(node, 2)
    (axis,) = axes_of([node.attributes.get_int("axis", -2)], past.rank)
    mode = node.attributes.get_string("mode", "linear")
    if mode not in ("linear", "circular"):
        raise Unsupported(f"mode={mode}")
    past, update = trace.memory(past), trace.memory(update)
    _check(past, update, axis)
    value = node.outputs[0]
    target = trace.cache(value, past.dtype, past.shape, grows=False) or trace.result(value, past.dtype, past.shape)
    copy_into(trace, target, past)
    scattered(trace, target, update, starts, axis, circular=mode == "circular")


def append(trace: Trace, node: ir.Node) -> None:
    """dynq::Append"""
    past, new, starts = (trace.input(node, i) for i in range(3))
    (total,) = trace.ints(node, 3) or [0]
    past, new = trace.memory(past), trace.memory(new)
    _check(past, new, 2)
    batch, heads, there, dim = past.shape
    value, rows = node.outputs[0], new.shape[2]
    if total > there and is_equal(there + rows, total) and is_equal(batch, 1):  # then it starts at the end of past
        shape = (batch, heads, total, dim)
        target = trace.cache(value, past.dtype, shape, grows=True) or trace.result(value, past.dtype, shape)
        joined(trace, target, [past, new], 2)
        return
    room = total if total > there else there
    shape = (batch, heads, room, dim)
    target = trace.cache(value, past.dtype, shape, grows=False) or trace.result(value, past.dtype, shape)
    if total > there:
        more = (batch, heads, room - there, dim)
        nothing = trace.block(past.dtype, more)
        fill(trace, nothing, np.zeros(1, past.dtype))
        joined(trace, target, [past, nothing], 2)
    else:
        copy_into(trace, target, past)
    scattered(trace, target, new, starts, 2)


def _check(past: Tensor, new: Tensor, axis: int) -> None:
    """Both must fit; and something before the axis must be the batch."""
    expect(past.rank, new.rank, "axes of a cache and of what is written to it")
    if past.dtype != new.dtype or axis == 0:
        raise ValueError("types of a cache and of what is written to it must be the same, and axis must not be 0")
    for i in range(past.rank):
        if i != axis:
            expect(new.shape[i], past.shape[i], "lengths of a cache and of what is written to it")


def scattered(
    trace: Trace, target: Tensor, update: Tensor, starts: Tensor | None, axis: int, *, circular: bool = False
) -> None:
    """Write an update into a target, from a position of each batch on."""
    if axis != update.rank - 2 or axis > 2 or not update.has_rows():
        update = trace.dense(update)
    heads = product(update.shape[1:axis])
    if starts is not None:
        if starts.dtype != I64:
            raise Unsupported(f"places of {starts.dtype}")
        expect(starts.shape[0], update.shape[0], "the number of places and of batches")
        starts = trace.dense(starts)
    bytes_: AnySize = product(update.shape[axis + 1 :]) * update.itemsize
    call(
        trace, "cache_rows", kernels.write_rows, kernels.CacheRows, {BAD_INDEX: "there is no such place in the cache"},
        target=target, target_batch=target.strides[0], target_head=target.strides[axis - 1], source=update,
        source_batch=update.strides[0], source_head=update.strides[axis - 1], source_row=update.strides[axis],
        starts=starts, batch=update.shape[0], heads=heads if axis > 1 else 1, rows=update.shape[axis],
        room=target.shape[axis], row_bytes=bytes_, circular=int(circular),
    )  # fmt: skip


LOWERINGS = {"TensorScatter": tensor_scatter, "dynq::Append": append}
