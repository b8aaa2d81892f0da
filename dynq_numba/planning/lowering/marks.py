"""What is decided by places alone: Trilu, EyeLike, OneHot, Hardmax. Expressions of numbers 0, 1, 2 … along an axis."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from ...kernels.region.reference import TYPES
from ..sizes import AnySize
from ..tensor import Tensor
from ..trace import Trace, Unsupported
from .base import BOOL, I64, axes_of, axis_of, dtype_of, indices_only
from .copies import ramp
from .elementwise import applied
from .reductions import placed, scanned, without


def _along(tensor: Tensor, axis: int, rank: int) -> Tensor:
    """[n] as an axis of so many."""
    shape, strides = [1] * rank, [0] * rank
    return tensor.view(
        (*shape[:axis], tensor.shape[0], *shape[axis + 1 :]), (*strides[:axis], tensor.itemsize, *strides[axis + 1 :])
    )


def _known_type(dtype: np.dtype) -> None:
    if dtype.name not in TYPES:
        raise Unsupported(f"{dtype}: types are {', '.join(TYPES)}")


def _columns_and_rows(trace: Trace, columns: AnySize, rows: AnySize, diagonal: AnySize) -> tuple[Tensor, Tensor]:
    """Of a matrix the numbers of columns, and of each row the column of its diagonal."""
    return _along(ramp(trace, columns), 1, 2), _along(ramp(trace, rows, diagonal), 0, 2)


def trilu(trace: Trace, node: ir.Node) -> None:
    """Trilu"""
    x = trace.memory(trace.input(node, 0), node.inputs[0])
    _known_type(x.dtype)
    (diagonal,) = trace.ints(node, 1) or [0]
    columns, rows = _columns_and_rows(trace, x.shape[-1], x.shape[-2], diagonal)
    compare = "GreaterOrEqual" if node.attributes.get_int("upper", 1) else "LessOrEqual"
    kept = applied(node, compare, (columns, rows), dtype=BOOL)
    trace.set(node.outputs[0], applied(node, "Where", (kept, x), (x.dtype.type(0),), x.dtype))


def eye_like(trace: Trace, node: ir.Node) -> None:
    """EyeLike"""
    x, code = trace.input(node, 0), node.attributes.get_int("dtype", 0)
    dtype = dtype_of(code) if code else x.dtype
    _known_type(dtype)
    rows, columns = x.shape if x.rank == 2 else x.shape * 2
    places = _columns_and_rows(trace, columns, rows, node.attributes.get_int("k", 0))
    trace.set(node.outputs[0], applied(node, "Cast", (applied(node, "Equal", places, dtype=BOOL),), dtype=dtype))


def one_hot(trace: Trace, node: ir.Node) -> None:
    """OneHot: negative indices count from the end; those outside are nowhere"""
    indices, depth, values = (trace.input(node, i) for i in range(3))
    _known_type(values.dtype)
    if depth.array is not None:
        length: AnySize = int(depth.array.reshape(()))
    else:
        length = trace.numbers(depth).reshape(-1)[0]
    if length < 0:
        raise ValueError(f"the depth of OneHot must not be negative; got {length}")
    rank = indices.rank + 1
    (axis,) = axes_of([node.attributes.get_int("axis", -1)], rank)
    if indices.dtype.kind == "f":
        indices = applied(node, "Cast", (trace.memory(indices),), dtype=I64)
    else:
        indices_only(indices)
    indices = trace.memory(indices)
    indices = indices.view(
        (*indices.shape[:axis], 1, *indices.shape[axis:]), (*indices.strides[:axis], 0, *indices.strides[axis:])
    )
    wide = indices if indices.dtype == I64 else applied(node, "Cast", (indices,), dtype=I64)
    place = _along(ramp(trace, length), axis, rank)
    end = _along(ramp(trace, length, -length if isinstance(length, int) else 0 - length), axis, rank)
    hit = applied(
        node, "Or",
        (applied(node, "Equal", (place, wide), dtype=BOOL), applied(node, "Equal", (end, wide), dtype=BOOL)),
    )  # fmt: skip
    values = trace.memory(values)
    off, on = (values.view((), (), i * values.strides[0]) for i in range(2))
    trace.set(node.outputs[0], applied(node, "Where", (hit, on, off), dtype=values.dtype))


def hardmax(trace: Trace, node: ir.Node) -> None:
    """Hardmax"""
    x = scanned(trace, node)
    axis = axis_of(node, x.rank)
    places = trace.block(I64, without(x, axis, keep=True))
    placed(trace, node, x, axis, places)
    hit = applied(node, "Equal", (_along(ramp(trace, x.shape[axis]), axis, x.rank), places), dtype=BOOL)
    trace.set(node.outputs[0], applied(node, "Cast", (hit,), dtype=x.dtype))


LOWERINGS = {"Trilu": trilu, "EyeLike": eye_like, "OneHot": one_hot, "Hardmax": hardmax}
