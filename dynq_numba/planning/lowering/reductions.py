"""Reductions: ReduceSum, ReduceMean, ReduceMax … of any axes; ArgMax, ArgMin, CumSum, CumProd along one.

kept axes and reduced axes of x ──neighbours that are one stretch become one──▶ at most 4 and 3
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import onnx_ir as ir

from ...kernels.base.typed import TYPES
from ...kernels.reduce import call as kernels
from ...kernels.reduce import scan
from ...kernels.reduce.context import KEPT, REDUCED, ReduceRecord
from ...kernels.reduce.reference import REDUCTIONS, refused
from ...kernels.region.axes import padded
from ...runtime import isa, threads
from ..segment import Word
from ..sizes import AnySize, Shape
from ..tensor import Expression, Tensor
from ..trace import Trace, Unsupported, sources
from .base import BOOL, F32, I64, attribute_ints, axes_of, axis_of
from .copies import merged
from .elementwise import F16, in_float32


def reduction(trace: Trace, node: ir.Node) -> None:
    """ReduceSum, ReduceMean, ReduceSumSquare, ReduceL1, ReduceL2, ReduceMax, ReduceMin, ReduceProd"""
    name, x = node.op_type, trace.input(node, 0)
    of = np.dtype(np.uint8) if x.dtype == BOOL else F32 if x.dtype == F16 else x.dtype
    if why := refused(name, of.name):
        raise Unsupported(why)
    axes, none = _axes(trace, node, x.rank), node.attributes.get_int("noop_with_empty_axes", 0)
    if not axes and none:
        if name in ("ReduceSumSquare", "ReduceL1", "ReduceL2"):
            raise Unsupported(f"{name} of no axis")
        trace.set(node.outputs[0], x)
        return
    axes = axes or list(range(x.rank))
    keep = node.attributes.get_int("keepdims", 1)
    shape = tuple(1 if axis in axes else x.shape[axis] for axis in range(x.rank) if keep or axis not in axes)
    if x.dtype == F16:  # computed in float32
        total = trace.block(F32, shape)
        reduced(trace, name, in_float32(trace, x), axes, total)
        trace.set(node.outputs[0], Tensor(F16, shape, expression=Expression("Cast", (total,), (), sources(node))))
        return
    out = trace.result(node.outputs[0], x.dtype, shape)
    reduced(trace, name, replace(trace.memory(x), dtype=of), axes, replace(out, dtype=of))


def reduced(trace: Trace, name: str, x: Tensor, axes: list[int], out: Tensor) -> None:
    """A step that reduces these axes of x; `out` has the others, and these with length 1 or not at all."""
    x = trace.memory(x)
    kept = [axis for axis in range(x.rank) if axis not in axes]
    places = kept if out.rank == x.rank else range(len(kept))
    outer = merged(
        tuple(x.shape[axis] for axis in kept), tuple(x.strides[axis] for axis in kept),
        tuple(out.strides[place] for place in places),
    )  # fmt: skip
    inner = merged(tuple(x.shape[axis] for axis in axes), tuple(x.strides[axis] for axis in axes))
    if len(outer) > KEPT or len(inner) > REDUCED:
        raise Unsupported(f"{name} with {len(outer)} axes kept and {len(inner)} reduced that are apart")
    fields: dict[str, Word] = dict(kernels.constant_fields(name, x.dtype.name, isa.active(), threads.POOL))
    fields |= {"last": int(x.rank - 1 in axes), "x": x, "out": out}
    fields |= padded(("kept", "x_kept", "out_kept"), outer, KEPT)
    fields |= padded(("reduced", "x_reduced"), inner, REDUCED)
    trace.step(name, kernels.step_address(), [fields[field] for field in ReduceRecord.kinds])


def _axes(trace: Trace, node: ir.Node, rank: int) -> list[int]:
    """The reduced axes, ascending; they are an input, or before opset 13 and 18 an attribute."""
    given = trace.ints(node, 1) if len(node.inputs) > 1 else attribute_ints(node, "axes")
    return sorted(set(axes_of(given or [], rank)))


def place(trace: Trace, node: ir.Node) -> None:
    """ArgMax, ArgMin"""
    x = scanned(trace, node)
    axis, keep = axis_of(node, x.rank, 0), node.attributes.get_int("keepdims", 1)
    out = trace.result(node.outputs[0], I64, without(x, axis, keep=bool(keep)))
    placed(trace, node, x, axis, out)


def without(x: Tensor, axis: int, *, keep: bool) -> Shape:
    """The shape of x without an axis, or with that of length 1."""
    return tuple(1 if i == axis else n for i, n in enumerate(x.shape) if keep or i != axis)


def placed(trace: Trace, node: ir.Node, x: Tensor, axis: int, out: Tensor) -> None:
    """The step that writes the places of the largest, or for ArgMin of the least."""
    if x.rank == 0 or x.shape[axis] == 0:
        raise Unsupported(f"{node.op_type} of no values")
    strides = list(out.strides)
    if out.rank == x.rank:
        del strides[axis]
    operation = scan.ARG_MIN if node.op_type == "ArgMin" else scan.ARG_MAX
    _scan(
        trace, node, x, out, axis, strides, operation=operation, out_step=0, exclusive=0,
        last=node.attributes.get_int("select_last_index", 0),
    )  # fmt: skip


def running_sum(trace: Trace, node: ir.Node) -> None:
    """CumSum, CumProd"""
    x = scanned(trace, node)
    axis = int(trace.numbers(trace.input(node, 1)).reshape(-1)[0]) % max(1, x.rank)
    out = trace.result(node.outputs[0], x.dtype, x.shape)
    strides = list(out.strides)
    step = strides.pop(axis)
    _scan(
        trace, node, x, out, axis, strides, operation=scan.CUM_SUM if node.op_type == "CumSum" else scan.CUM_PROD,
        out_step=step, last=node.attributes.get_int("reverse", 0), exclusive=node.attributes.get_int("exclusive", 0),
    )  # fmt: skip


def scanned(trace: Trace, node: ir.Node) -> Tensor:
    x = trace.input(node, 0)
    if x.dtype.name not in TYPES:
        raise Unsupported(f"{node.op_type} of {x.dtype}: types are {', '.join(TYPES)}")
    return trace.memory(x)


def _scan(
    trace: Trace, node: ir.Node, x: Tensor, out: Tensor, axis: int, out_strides: list[AnySize], **fields: Word
) -> None:
    kept = [i for i in range(x.rank) if i != axis]
    axes = merged(tuple(x.shape[i] for i in kept), tuple(x.strides[i] for i in kept), tuple(out_strides))
    if len(axes) > KEPT:
        raise Unsupported(f"{node.op_type} with {len(axes)} other axes that are apart")
    fields |= {
        "worker": scan.worker_address(), "pool": threads.POOL, "kind": TYPES.index(x.dtype.name),
        "n": x.shape[axis], "x_step": x.strides[axis], "x": x, "out": out,
    }  # fmt: skip
    fields |= padded(("kept", "x_kept", "out_kept"), axes, KEPT)
    trace.step(node.op_type, scan.step_address(), [fields[field] for field in scan.ScanRecord.kinds])


LOWERINGS: dict[str, Callable[[Trace, ir.Node], None]] = {
    **dict.fromkeys(REDUCTIONS, reduction), "ArgMax": place, "ArgMin": place, "CumSum": running_sum,
    "CumProd": running_sum,
}  # fmt: skip
