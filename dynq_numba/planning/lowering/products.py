"""Products in float32: MatMul, Gemm and dynq::FloatLinear."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx_ir as ir

from ...graph.functions import parse
from ...kernels.sgemm.call import product_step
from ...kernels.sgemm.context import AXES, Product
from ...operators.sgemm.backend import multiplier
from ...operators.sgemm.pack import pack_matrix
from ...runtime import isa, kernel_table
from ...runtime.post_ops import post_ops_address
from ..sizes import Shape, product
from ..tensor import Expression, Tensor, broadcast, broadcast_strides, expect
from ..trace import Trace, Unsupported, sources
from .base import F32, call, floats_only
from .elementwise import F16, applied, in_float32
from .linear import matrix, spread


def matmul(trace: Trace, node: ir.Node) -> None:
    """MatMul"""
    a, b = _factors(trace, node)
    if b.array is not None and b.rank == 2 and a.rank > 1:
        _constant(trace, node, a, b, _room(trace, node, (*a.shape[:-1], b.shape[1])))
        return
    a, b = trace.memory(a), trace.memory(b)
    if a.rank == 1:
        a = a.view((1, *a.shape), (0, *a.strides))
    if b.rank == 1:
        b = b.view((*b.shape, 1), (*b.strides, 0))
    expect(a.shape[-1], b.shape[-2], "the inner axes of a product")
    batch = broadcast([a.shape[:-2], b.shape[:-2]])
    if len(batch) > AXES:
        raise Unsupported(f"MatMul with {len(batch)} leading axes")
    shape = (*batch, *([] if trace.input(node, 0).rank == 1 else [a.shape[-2]]),
             *([] if trace.input(node, 1).rank == 1 else [b.shape[-1]]))  # fmt: skip
    m, n = a.shape[-2], b.shape[-1]
    out = _room(trace, node, shape)
    whole = out.view((*batch, m, n), (*out.strides[: len(batch)], n * 4, 4))
    multiply(trace, batch, m, n, a.shape[-1], a, b, whole)


def _factors(trace: Trace, node: ir.Node) -> tuple[Tensor, Tensor]:
    """A and B in float32, in which those of float16 are multiplied."""
    a, b = trace.input(node, 0), trace.input(node, 1)
    if a.dtype == b.dtype == F16:
        a, b = in_float32(trace, a), in_float32(trace, b)
    floats_only(a, b)
    return a, b


def _room(trace: Trace, node: ir.Node, shape: Shape) -> Tensor:
    """Memory for a product; of float16, it is rounded when it is whole."""
    if trace.input(node, 0).dtype != F16:
        return trace.result(node.outputs[0], F32, shape)
    out = trace.block(F32, shape)
    trace.set(node.outputs[0], Tensor(F16, out.shape, expression=Expression("Cast", (out,), (), sources(node))))
    return out


def linear(trace: Trace, node: ir.Node) -> None:
    """dynq::FloatLinear with its activation and residual"""
    name = parse(node.op_type)
    x, weight = trace.input(node, 0), trace.input(node, 1)
    floats_only(x)
    shape = (*x.shape[:-1], weight.shape[1])
    residual = spread(trace, trace.input(node, 3), shape) if name.residual else None
    bias = np.ascontiguousarray(trace.constant(node, 2), np.float32)
    out = trace.result(node.outputs[0], F32, shape)
    _constant(trace, node, x, weight, out, bias=bias, residual=residual, activation=name.activation)


def gemm(trace: Trace, node: ir.Node) -> None:
    """Gemm"""
    a, weight, c = trace.input(node, 0), trace.input(node, 1), trace.optional(node, 2)
    expect(a.rank, 2, "axes of A and 2")
    expect(weight.rank, 2, "axes of B and 2")
    factors = [node.attributes.get_float(name, 1.0) for name in ("alpha", "beta")]
    b, given = weight.array, None if c is None else c.array
    row = c is None or (given is not None and (given.ndim < 2 or given.shape[0] == 1))
    if b is None or not row or factors != [1, 1] or a.dtype == F16:
        _general(trace, node, c, *factors)
        return
    floats_only(a, weight)
    if node.attributes.get_int("transB", 0):
        weight = trace.weights.packed("turned", (b,), lambda: trace.weights.tensor_of(b.T))
    a = trace.memory(a)
    if node.attributes.get_int("transA", 0):
        a = a.view(a.shape[::-1], a.strides[::-1])
    bias, n = None, weight.shape[1]
    if given is not None:
        bias = np.ascontiguousarray(np.broadcast_to(given.reshape(-1), (n,)), np.float32)  # type: ignore[arg-type]
    _constant(trace, node, a, weight, trace.result(node.outputs[0], F32, (a.shape[0], n)), bias=bias)


def _general(trace: Trace, node: ir.Node, c: Tensor | None, alpha: float, beta: float) -> None:
    """Gemm: alpha·A·B + beta·C, of which all may be computed at run time."""
    a, b = map(trace.memory, _factors(trace, node))
    if node.attributes.get_int("transA", 0):
        a = a.view(a.shape[::-1], a.strides[::-1])
    if node.attributes.get_int("transB", 0):
        b = b.view(b.shape[::-1], b.strides[::-1])
    expect(a.shape[1], b.shape[0], "the inner axes of a product")
    shape = a.shape[0], b.shape[1]
    more = c is not None or alpha != 1
    out = trace.block(F32, shape) if more else _room(trace, node, shape)
    multiply(trace, (), *shape, a.shape[1], a, b, out)
    if not more:
        return
    total = out if alpha == 1 else applied(node, "Mul", (out,), (np.float32(alpha),))
    if c is not None:
        term = in_float32(trace, c)
        term = term if term.storage is not None else trace.memory(term, node.inputs[2] if term is c else None)
        if beta != 1:
            term = applied(node, "Mul", (term,), (np.float32(beta),))
        total = applied(node, "Add", (total, term))
    if trace.input(node, 0).dtype == F16:
        total = Tensor(F16, shape, expression=Expression("Cast", (total,)))
    trace.set(node.outputs[0], total)


def _constant(
    trace: Trace,
    node: ir.Node,
    x: Tensor,
    weight: Tensor,
    out: Tensor,
    bias: np.ndarray | None = None,
    residual: Tensor | None = None,
    activation: str | None = None,
) -> None:
    """x times a constant matrix, which is packed once; all leading axes of x are rows."""
    array = weight.array
    assert array is not None
    form = kernel_table.kernel_for("sgemm", isa.active()).form
    panels = trace.weights.packed("sgemm", (array,), lambda: pack_matrix(array, form))
    expect(x.shape[-1], weight.shape[0], "the inner axes of a product")
    if bias is not None:
        expect(bias.size, weight.shape[1], "lengths of the bias and of the result's rows")
    rows, stride = matrix(trace, x)
    m, k = product(x.shape[:-1]), x.shape[-1]
    a = rows.view((m, k), (stride, 4))
    n = weight.shape[1]
    whole = out.view((m, n), (n * 4, 4))
    if residual is not None:
        residual, residual_stride = matrix(trace, residual)
        residual = residual.view((m, n), (residual_stride, 4))
    multiply(trace, (), m, n, k, a, panels, whole, bias, residual, activation, out)


def multiply(
    trace: Trace,
    batch: Shape,
    m: Any,
    n: Any,
    k: Any,
    a: Tensor,
    b: Tensor | np.ndarray,
    out: Tensor,
    bias: np.ndarray | None = None,
    residual: Tensor | None = None,
    activation: str | None = None,
    result: Tensor | None = None,
) -> None:
    """The step of out = activation(a · b + bias) + residual; b is packed, if it is an array.

    `result` is `out` with its own axes.
    """
    missing = AXES - len(batch)
    fields: dict[str, Any] = dict.fromkeys(Product.kinds, 0)
    fields |= {f"axis_{i}": length for i, length in enumerate((1,) * missing + tuple(batch))}
    tensors = {"a": a, "out": out} | ({"b": b} if isinstance(b, Tensor) else {})
    tensors |= {} if residual is None else {"residual": residual}
    for name, tensor in tensors.items():
        fields[name], fields[f"{name}_row"] = tensor, tensor.strides[-2]
        strides = broadcast_strides(tensor, (*batch, *tensor.shape[-2:]))[: len(batch)]
        fields |= {f"{name}_{i}": stride for i, stride in enumerate(strides, missing)}
    fields |= {
        "m": m, "n": n, "k": k, "a_column": a.strides[-1], "multiplier": multiplier(isa.active()), "bias": bias,
        "post_ops": post_ops_address(activation, None, residual is not None),
    }  # fmt: skip
    if isinstance(b, Tensor):
        fields["b_column"] = b.strides[-1]
    else:
        fields |= {"b": b, "packed": 1}
    call(trace, "sgemm", product_step, Product, result=result, **fields)


LOWERINGS = {"MatMul": matmul, "Gemm": gemm, "dynq::FloatLinear": linear}
