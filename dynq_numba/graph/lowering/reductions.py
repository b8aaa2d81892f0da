"""Reductions: ReduceSum, ReduceMean, ReduceMax … of any axes.

    kept axes and reduced axes of x ──neighbours that are one stretch become one──▶ at most 4 and 3
"""

from __future__ import annotations

from collections.abc import Callable

import onnx_ir as ir

from ...kernels.reduce import call as kernels
from ...kernels.reduce.context import KEPT, REDUCED, ReduceRecord
from ...kernels.reduce.reference import REDUCTIONS, refused
from ...runtime import isa, threads
from ..segment import Word
from ..sizes import AnySize
from ..trace import Trace, Unsupported
from .base import attribute_ints
from .copies import merged


def reduction(trace: Trace, node: ir.Node) -> None:
    """ReduceSum, ReduceMean, ReduceSumSquare, ReduceL1, ReduceL2, ReduceMax, ReduceMin, ReduceProd"""
    name, x = node.op_type, trace.input(node, 0)
    if why := refused(name, x.dtype.name):
        raise Unsupported(why)
    axes, none = _axes(trace, node, x.rank), node.attributes.get_int("noop_with_empty_axes", 0)
    if not axes and none:
        raise Unsupported(f"{name} of no axis")
    axes = axes or list(range(x.rank))
    x = trace.memory(x)
    kept = [axis for axis in range(x.rank) if axis not in axes]
    keep = node.attributes.get_int("keepdims", 1)
    shape = tuple(1 if axis in axes else x.shape[axis] for axis in range(x.rank) if keep or axis not in axes)
    out = trace.result(node.outputs[0], x.dtype, shape)
    places = kept if keep else range(len(kept))
    outer = merged(
        tuple(x.shape[axis] for axis in kept), tuple(x.strides[axis] for axis in kept),
        tuple(out.strides[place] for place in places),
    )  # fmt: skip
    inner = merged(tuple(x.shape[axis] for axis in axes), tuple(x.strides[axis] for axis in axes))
    if len(outer) > KEPT or len(inner) > REDUCED:
        raise Unsupported(f"{name} with {len(outer)} axes kept and {len(inner)} reduced that are apart")
    fields: dict[str, Word] = dict(kernels.constant_fields(name, x.dtype.name, isa.active(), threads.POOL))
    fields |= {"last": int(x.rank - 1 in axes), "x": x, "out": out}
    fields |= _padded(("kept", "x_kept", "out_kept"), outer, KEPT)
    fields |= _padded(("reduced", "x_reduced"), inner, REDUCED)
    words = [fields[field] for field in ReduceRecord.kinds]
    trace.step(name, kernels.step_address(), words)


def _axes(trace: Trace, node: ir.Node, rank: int) -> list[int]:
    """The reduced axes, ascending; they are an input, or before opset 13 and 18 an attribute."""
    given = trace.ints(node, 1) if len(node.inputs) > 1 else attribute_ints(node, "axes")
    return sorted({int(axis) % max(1, rank) for axis in given or []})


def _padded(fields: tuple[str, ...], axes: list[tuple[AnySize, ...]], count: int) -> dict[str, Word]:
    """A record's fields for some axes: a length and strides each; those that are not needed come first."""
    filled = [(1, *[0] * (len(fields) - 1))] * (count - len(axes)) + axes
    return {f"{field}_{i}": axis[place] for i, axis in enumerate(filled) for place, field in enumerate(fields)}


LOWERINGS: dict[str, Callable[[Trace, ir.Node], None]] = dict.fromkeys(REDUCTIONS, reduction)
