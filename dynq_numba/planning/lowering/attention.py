"""Attention: dynq::Attention, with or without bias, triangle, lengths of keys, groups of heads; float32 or 8 bits."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx_ir as ir

from ...graph.functions import parse
from ...kernels.attention import step as kernels
from ...operators.attention import backend
from ...runtime import isa
from ..sizes import AnySize, Shape
from ..tensor import Expression, Tensor, broadcast, broadcast_strides, expect, is_equal, is_one
from ..trace import Trace, Unsupported, sources
from .base import F32, I64, attribute_ints, call, floats_only
from .copies import fill
from .numbers import number_tensor


def attention(trace: Trace, node: ir.Node) -> None:
    """dynq::Attention…"""
    flags = parse(node.op_type).base.split("_")
    q, k, v = (trace.input(node, i) for i in range(3))
    scale, bits = float(trace.constant(node, 3).reshape(())), 8 if "8" in flags else None
    bias = trace.input(node, 4) if "bias" in flags else None
    seen = trace.input(node, len(node.inputs) - 1) if "lengths" in flags else None
    floats_only(q, k, v, bias)
    q, k, v = _of_one_batch([_four(trace.rows(each)) for each in (q, k, v)], bias)
    (batch, heads, rows, dim), (_, key_heads, keys, _), value_dim = q.shape, k.shape, v.shape[3]
    for axis, other, wanted in ((3, k, dim), (1, v, key_heads), (2, v, keys)):
        expect(other.shape[axis], wanted, "lengths of q, k and v")
    if key_heads == 0 or keys == 0:  # sums of nothing
        expect(0 if keys == 0 else heads, 0, "heads of q, where k has none, and 0")
        whole = (batch, heads, rows, value_dim)[4 - trace.input(node, 0).rank :]
        fill(trace, trace.result(node.outputs[0], F32, whole), np.zeros(1, F32))
        return
    if key_heads != heads:
        expect(heads % key_heads, 0, "heads of q over those of k")
    if bias is not None:
        bias = _spread(trace, trace.memory(bias), (batch, heads, rows, keys))
    shape = (batch, heads, rows, value_dim)
    out = result(trace, node.outputs[0], shape) if len(trace.input(node, 0).shape) == 4 else None
    if out is None:
        out = _four(trace.result(node.outputs[0], F32, shape[1:]))
    if "topleft" not in flags or is_equal(keys, rows):
        causal = not {"causal", "topleft"}.isdisjoint(flags)
        seen = None if seen is None else _bounded(trace, node, seen, batch, keys)
        attend(trace, q, k, v, out, bias, causal, scale, bits, seen)
        return
    first = keys if keys < rows else rows  # row i sees the first i + 1 keys; those behind all of them see all
    q1, k1, v1, out1 = (_some(each, 0, first) for each in (q, k, v, out))
    attend(trace, q1, k1, v1, out1, _some(bias, 0, first, first), True, scale, bits)
    if keys < rows:
        rest = rows - keys
        q, out = _some(q, keys, rest), _some(out, keys, rest)
        attend(trace, q, k, v, out, _some(bias, keys, rest), False, scale, bits)


def attend(
    trace: Trace, q: Tensor, k: Tensor, v: Tensor, out: Tensor, bias: Tensor | None, causal: bool, scale: float,
    bits: int | None, seen: Tensor | None = None,
) -> None:
    """A step on tensors of four axes, their last ones contiguous; the bias has the shape of the scores.

    `seen`: how many keys of each batch there are.
    """
    (batch, heads, rows, dim), (_, key_heads, keys, _) = q.shape, k.shape
    mask = (0, 0, 0, 0) if bias is None else bias.strides
    call(
        trace, "attention 8 bits" if bits else "attention", kernels.attention_step, kernels.AttentionStep,
        batch=batch, heads=heads, rows=rows, key_heads=key_heads, keys=keys, dim=dim, value_dim=v.shape[3],
        q=q, q_batch=q.strides[0], q_head=q.strides[1], q_row=q.strides[2],
        k=k, k_batch=k.strides[0], k_head=k.strides[1], k_row=k.strides[2],
        v=v, v_batch=v.strides[0], v_head=v.strides[1], v_row=v.strides[2],
        out=out, out_batch=out.strides[0], out_head=out.strides[1], out_row=out.strides[2],
        mask=bias, mask_bytes=0 if bias is None else 4, mask_batch=mask[0], mask_head=mask[1], mask_row=mask[2],
        seen=seen, causal=int(causal), scale=scale, descriptor=backend.descriptor(isa.active(), bits),
    )  # fmt: skip


def _of_one_batch(tensors: list[Tensor], bias: Tensor | None) -> list[Tensor]:
    """q, k and v, each for all batches; where there is one, it serves the others, as those of MatMul do."""
    lengths = [tensor.shape[0] for tensor in tensors]
    if bias is not None and bias.rank == 4 and not is_one(bias.shape[0]):
        lengths.append(bias.shape[0])
    if all(is_equal(length, lengths[0]) for length in lengths):
        return tensors
    batch = broadcast([(length,) for length in lengths])
    shapes = [(*batch, *tensor.shape[1:]) for tensor in tensors]
    return [each.view(shape, broadcast_strides(each, shape)) for each, shape in zip(tensors, shapes, strict=True)]


def _spread(trace: Trace, bias: Tensor, shape: Shape) -> Tensor:
    """The bias as one of every score; its last axis is contiguous."""
    if bias.rank > 4:
        raise ValueError(f"the bias must have at most 4 axes; got {bias.rank}")
    strides = broadcast_strides(bias, shape)
    if not (isinstance(strides[3], int) and strides[3] == 4):
        bias = trace.dense(bias.view((*bias.shape[:-1], shape[3]), (*bias.strides[:-1], strides[3])))
        strides = broadcast_strides(bias, shape)
    return bias.view(shape, strides)


def _bounded(trace: Trace, node: ir.Node, lengths: Tensor, batch: AnySize, keys: AnySize) -> Tensor:
    """Lengths from 0 to the number of keys: the kernel reads as many."""
    if lengths.dtype != I64:
        raise Unsupported(f"lengths of {lengths.dtype}")
    expect(lengths.shape[0], batch, "the number of lengths and of batches")
    most, least = (trace.memory(number_tensor(np.array([n], object), I64)) for n in (keys, 0))

    def of(operator: str, *operands: Tensor) -> Tensor:
        return Tensor(I64, lengths.shape, expression=Expression(operator, operands, (), sources(node)))

    return trace.dense(of("Min", of("Max", trace.memory(lengths), least), most))


def _some(tensor: Tensor | None, first: AnySize, count: AnySize, keys: AnySize | None = None) -> Any:
    """Some of the rows of a tensor, and of a bias the first keys."""
    if tensor is None:
        return None
    batch, heads, _, last = tensor.shape
    shape = (batch, heads, count, last if keys is None else keys)
    return tensor.view(shape, tensor.strides, first * tensor.strides[2])


def result(trace: Trace, value: ir.Value, shape: tuple) -> Tensor:
    """Memory for the result: as [B, S, H, Dv] where the next node transposes it to that, which then costs nothing."""
    users = [use.node for use in value.uses()]
    batch, heads, rows, dim = shape
    alone = len(users) == 1 and value not in trace.outputs and users[0].op_type == "Transpose"
    if alone and attribute_ints(users[0], "perm") == [0, 2, 1, 3]:
        turned = trace.block(F32, (batch, rows, heads, dim))
        strides = turned.strides
        tensor = turned.view(shape, (strides[0], strides[2], strides[1], strides[3]))
        trace.set(value, tensor)
        return tensor
    return trace.result(value, F32, shape)


def _four(tensor: Tensor) -> Tensor:
    if tensor.rank == 4:
        return tensor
    if tensor.rank != 3:
        raise Unsupported(f"attention of {tensor.rank} axes")
    return tensor.view((1, *tensor.shape), (0, *tensor.strides))


LOWERINGS = {"dynq::Attention": attention}
