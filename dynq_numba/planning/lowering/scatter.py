"""Values at places that indices say: GatherND, ScatterND, ScatterElements, TopK."""

from __future__ import annotations

from typing import Any

import onnx_ir as ir

from ...kernels.base.status import BAD_INDEX
from ...kernels.base.typed import TYPES
from ...kernels.program import indexed as kernels
from ...kernels.reduce import topk
from ...kernels.reduce.context import KEPT
from ...kernels.region.axes import padded
from ...runtime import threads
from ..segment import Word
from ..sizes import AnySize, product
from ..tensor import Tensor, expect
from ..trace import Trace, Unsupported
from .base import I64, axis_of, function_of, indices_only
from .copies import copy_into, merged

_HOW = {"none": kernels.REPLACE, "add": kernels.ADD, "mul": kernels.MUL, "max": kernels.MAX, "min": kernels.MIN}
_OUTSIDE = {BAD_INDEX: "indices must be those of their axes"}


def gather_nd(trace: Trace, node: ir.Node) -> None:
    """GatherND"""
    data, indices = trace.dense(trace.input(node, 0)), trace.dense(trace.input(node, 1))
    indices_only(indices)
    batches = node.attributes.get_int("batch_dims", 0)
    depth = _depth(indices, data.rank - batches)
    for i in range(batches):
        expect(indices.shape[i], data.shape[i], "batches of data and of indices")
    shape = (*indices.shape[:-1], *data.shape[batches + depth :])
    record: dict[str, Word] = {
        "out": trace.result(node.outputs[0], data.dtype, shape), "data": data, "indices": indices,
        "index_bytes": indices.itemsize, "batch": product(data.shape[:batches]),
        "batch_bytes": product(data.shape[batches:]) * data.itemsize, "count": product(indices.shape[batches:-1]),
        "inner": product(data.shape[batches + depth :]) * data.itemsize, "depth": depth,
    }  # fmt: skip
    lines = _lines(data, range(batches, batches + depth))
    _step(trace, "gather_nd", kernels.gather_nd, kernels.GatherND, record, lines)


def scatter_nd(trace: Trace, node: ir.Node) -> None:
    """ScatterND"""
    data, indices, updates = (trace.memory(trace.input(node, i)) for i in range(3))
    indices, updates = trace.dense(indices), trace.dense(updates)
    indices_only(indices)
    depth = _depth(indices, data.rank)
    out, how = _begun(trace, node, data, updates)
    inner = product(data.shape[depth:])
    expect(updates.size, product(indices.shape[:-1]) * inner, "values of updates and of the places for them")
    record = how | {
        "out": out, "updates": updates, "indices": indices, "index_bytes": indices.itemsize,
        "count": product(indices.shape[:-1]), "inner": inner, "depth": depth,
    }  # fmt: skip
    _step(trace, "scatter_nd", kernels.scatter_nd, kernels.ScatterND, record, _lines(out, range(depth)))


def scatter_elements(trace: Trace, node: ir.Node) -> None:
    """ScatterElements, Scatter"""
    data, indices, updates = (trace.memory(trace.input(node, i)) for i in range(3))
    indices, updates = trace.dense(indices), trace.dense(updates)
    indices_only(indices)
    axis = axis_of(node, data.rank, 0)
    expect(indices.rank, data.rank, "axes of data and of indices")
    expect(updates.rank, data.rank, "axes of data and of updates")
    for i, (length, most) in enumerate(zip(indices.shape, data.shape, strict=True)):
        expect(updates.shape[i], length, "lengths of updates and of indices")
        if i != axis and length > most:
            raise ValueError(f"indices must be no longer than data on axis {i}")
    out, how = _begun(trace, node, data, updates)
    record = how | {
        "out": out, "updates": updates, "indices": indices, "index_bytes": indices.itemsize, "count": indices.size,
        "rows": data.shape[axis], "axes": data.rank, "axis": axis,
    }  # fmt: skip
    lines: list[Word] = [word for pair in zip(indices.shape, out.strides, strict=True) for word in pair]
    _step(trace, "scatter_elements", kernels.scatter_elements, kernels.ScatterElements, record, lines)


def _depth(indices: Tensor, most: int) -> int:
    depth = int(indices.shape[-1]) if indices.rank else 0
    if not 1 <= depth <= most:
        raise ValueError(f"the last axis of indices must have from 1 to {most} numbers; got {depth}")
    return depth


def _begun(trace: Trace, node: ir.Node, data: Tensor, updates: Tensor) -> tuple[Tensor, dict[str, Word]]:
    """The result, as a copy of data; and how updates are combined with it."""
    name = node.attributes.get_string("reduction", "none")
    if data.dtype != updates.dtype or name not in _HOW:
        raise ValueError(f"updates of {updates.dtype} to data of {data.dtype} with reduction={name}")
    if name != "none" and data.dtype.name not in TYPES:
        raise Unsupported(f"{node.op_type} with reduction={name} of {data.dtype}")
    out = trace.result(node.outputs[0], data.dtype, data.shape)
    copy_into(trace, out, data)
    kind = TYPES.index(data.dtype.name) if name != "none" else 0
    return out, {"itemsize": data.itemsize, "how": _HOW[name], "kind": kind}


def _lines(tensor: Tensor, axes: range) -> list[Word]:
    return [word for axis in axes for word in (tensor.shape[axis], tensor.strides[axis])]


def _step(trace: Trace, name: str, step: Any, record: Any, fields: dict[str, Word], lines: list[Word]) -> None:
    words = [fields[field] for field in record.kinds]
    trace.step(name, function_of(step), [*words, *lines], errors=_OUTSIDE)


def top_k(trace: Trace, node: ir.Node) -> None:
    """TopK"""
    x = trace.memory(trace.input(node, 0))
    if x.dtype.name not in topk.TYPES:
        raise Unsupported(f"TopK of {x.dtype}")
    axis = axis_of(node, x.rank)
    k: AnySize = trace.numbers(trace.input(node, 1)).reshape(-1)[0]
    if k < 0 or k > x.shape[axis]:
        raise ValueError(f"K must be from 0 to the {x.shape[axis]} values of axis {axis}; got {k}")
    shape = (*x.shape[:axis], k, *x.shape[axis + 1 :])
    out, places = (
        trace.result(value, kind, shape) if value.name and trace.is_read(value) else trace.block(kind, shape)
        for value, kind in zip(node.outputs, (x.dtype, I64), strict=True)
    )
    kept = [i for i in range(x.rank) if i != axis]
    axes = merged(*(tuple(each[i] for i in kept) for each in (x.shape, x.strides, out.strides)))
    if len(axes) > KEPT:
        raise Unsupported(f"TopK with {len(axes)} other axes that are apart")
    kind = {"f": topk.FLOAT, "i": topk.SIGNED, "u": topk.UNSIGNED}[x.dtype.kind]
    fields: dict[str, Word] = {
        "worker": 0, "pool": threads.POOL, "x": x, "out": out, "places": places, "kind": kind, "itemsize": x.itemsize,
        "least": int(not node.attributes.get_int("largest", 1)), "n": x.shape[axis], "k": k, "x_step": x.strides[axis],
        "out_step": out.strides[axis],
    }  # fmt: skip
    fields |= padded(("kept", "x_kept", "out_kept"), axes, KEPT)
    trace.step("top_k", topk.step_address(), [fields[field] for field in topk.TopK.kinds])


LOWERINGS = {
    "GatherND": gather_nd, "ScatterND": scatter_nd, "ScatterElements": scatter_elements, "Scatter": scatter_elements,
    "TopK": top_k,
}  # fmt: skip
