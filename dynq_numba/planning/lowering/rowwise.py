"""Norms, softmax and gelu: dynq::LayerNorm, RmsNorm, Gelu, GeluTanh, Silu; Softmax."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx_ir as ir

from ...graph.functions import parse
from ...kernels.rowwise import step as kernels
from ...kernels.rowwise.intrinsics import MAP_NAMES
from ...operators.rowwise.backend import RATES
from ...runtime import isa, kernel_table, threads
from ..sizes import Shape, product
from ..tensor import Expression, Tensor, broadcast, expect
from ..trace import Trace, sources
from .base import F32, axis_of, call, floats_only
from .elementwise import MOST, applied, in_float32, weight_of
from .linear import matrix, spread

NO_ROWS: dict[str, Any] = {"residual": None, "residual_stride": 0, "total": None, "total_stride": 0}


def _rows(worker: str, shape: Shape, x: Tensor, x_stride: Any, out: Tensor) -> dict[str, Any]:
    """The fields that all have."""
    return {
        "x": x, "x_stride": x_stride, "rows": product(shape[:-1]), "k": shape[-1], "out": out,
        "out_stride": shape[-1] * 4, "worker": kernel_table.worker_address(worker, isa.active()), "pool": threads.POOL,
        "rate": RATES[worker],
    }  # fmt: skip


def norm(trace: Trace, node: ir.Node) -> None:
    """dynq::LayerNorm, RmsNorm and those that add first"""
    name = parse(node.op_type)
    kernel, plain = "rms_norm" if name.base == "RmsNorm" else "layer_norm", name.base == "LayerNorm_plain"
    x = trace.input(node, 0)
    floats_only(x)
    first = 1 + name.residual
    arrays = [np.ascontiguousarray(trace.constant(node, i), np.float32) for i in range(first, len(node.inputs))]
    eps, weight, bias = float(arrays.pop().reshape(())), None, None
    if not plain:
        weight, *rest = arrays
        bias = rest[0] if rest else None
        expect(x.shape[-1], weight.size, "the last axis of x and the weight")
        expect(weight.size, weight.size if bias is None else bias.size, "the weight and the bias")
    fields = dict(NO_ROWS)
    total = None
    if name.residual:
        other = trace.input(node, 1)
        floats_only(other)
        shape = broadcast([x.shape, other.shape])
        x, other = spread(trace, x, shape), spread(trace, other, shape)
        other, stride = matrix(trace, other)
        fields |= {"residual": other, "residual_stride": stride}
    rows, x_stride = matrix(trace, x)
    out = trace.result(node.outputs[0], F32, x.shape)
    if name.residual and len(node.outputs) > 1 and trace.is_read(node.outputs[1]):
        total = trace.result(node.outputs[1], F32, x.shape)
        fields |= {"total": total, "total_stride": x.shape[-1] * 4}
    call(
        trace, kernel, kernels.norm_step, kernels.NormStep, **_rows(kernel, x.shape, rows, x_stride, out),
        weight=weight, bias=bias, eps=eps, **fields,
    )  # fmt: skip


_MAPS = {"Gelu": "gelu", "GeluTanh": "gelu_tanh", "Silu": "silu"}
#: The same in regions.
_OPERATORS = {"Gelu": "Gelu", "GeluTanh": "GeluTanh", "Silu": "Swish"}


def function(trace: Trace, node: ir.Node) -> None:
    """dynq::Gelu, GeluTanh, Silu"""
    x = trace.input(node, 0)
    floats_only(x)
    if x.expression is not None and trace.once(node.inputs[0]) and weight_of(x) < MOST:
        expression = Expression(_OPERATORS[node.op_type], (x,), (), sources(node))
        trace.set(node.outputs[0], Tensor(F32, x.shape, expression=expression))
        return
    x = trace.dense(x)
    out, number = trace.result(node.outputs[0], F32, x.shape), MAP_NAMES.index(_MAPS[node.op_type])
    flat = (1, x.size)
    call(
        trace, _MAPS[node.op_type], kernels.map_step, kernels.MapStep, **_rows("map", flat, x, x.size * 4, out),
        number=number,
    )  # fmt: skip


def softmax(trace: Trace, node: ir.Node) -> None:
    """Softmax"""
    given = trace.input(node, 0)
    x = in_float32(trace, given)
    floats_only(x)
    axis, last = axis_of(node, x.rank), x.rank - 1
    order = [*(i for i in range(x.rank) if i != axis), axis]
    if axis != last:  # brought to the end, and back
        x = trace.memory(x)
        x = x.view(tuple(x.shape[i] for i in order), tuple(x.strides[i] for i in order))
    x, stride = matrix(trace, x)
    value, direct = node.outputs[0], axis == last and given.dtype == F32
    out = trace.result(value, F32, x.shape) if direct else trace.block(F32, x.shape)
    call(
        trace, "softmax", kernels.softmax_step, kernels.SoftmaxStep, **_rows("softmax", x.shape, x, stride, out),
        mask=None, kind=0, axes=0,
    )  # fmt: skip
    if axis != last:
        back = [order.index(i) for i in range(x.rank)]
        out = out.view(tuple(out.shape[i] for i in back), tuple(out.strides[i] for i in back))
    if not direct:
        trace.set(value, out if given.dtype == F32 else applied(node, "Cast", (out,), dtype=given.dtype))


LOWERINGS = {
    "dynq::LayerNorm": norm, "dynq::RmsNorm": norm, "dynq::Gelu": function, "dynq::GeluTanh": function,
    "dynq::Silu": function, "Softmax": softmax,
}  # fmt: skip
