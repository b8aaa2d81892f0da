"""Attention: dynq::Attention, with a bias, causal, with groups of heads or without, in float32 or 8 bits."""

from __future__ import annotations

import onnx_ir as ir

from ...kernels.attention import step as kernels
from ...operators.attention import backend
from ...runtime import isa
from ..functions import parse
from ..sizes import AnySize, Shape
from ..tensor import Tensor, broadcast_strides, expect, is_equal
from ..trace import Trace, Unsupported
from .base import F32, attribute_ints, call, floats_only


def attention(trace: Trace, node: ir.Node) -> None:
    """dynq::Attention…"""
    flags = parse(node.op_type).base.split("_")
    q, k, v = (trace.input(node, i) for i in range(3))
    scale = float(trace.constant(node, 3).reshape(()))
    bias = trace.input(node, 4) if "bias" in flags else None
    floats_only(q, k, v, bias)
    value = node.outputs[0]
    q, k, v = (_four(trace.rows(each)) for each in (q, k, v))
    (batch, heads, rows, dim), (_, key_heads, keys, _), value_dim = q.shape, k.shape, v.shape[3]
    shape = (batch, heads, rows, value_dim)
    for axis, other, wanted in ((0, k, batch), (0, v, batch), (3, k, dim), (1, v, key_heads), (2, v, keys)):
        expect(other.shape[axis], wanted, "lengths of q, k and v")
    if key_heads != heads:
        expect(heads % key_heads, 0, "heads of q over those of k")
    if "topleft" in flags and not is_equal(keys, rows):
        if keys < rows:
            raise Unsupported("fewer keys than rows, which see their own number of keys")
        keys = rows  # row i sees the first i + 1: none sees what is behind
    mask_strides: Shape = (0, 0, 0, 0)
    if bias is not None:
        bias = trace.rows(bias)
        if bias.rank > 4:
            raise ValueError(f"the bias must have at most 4 axes; got {bias.rank}")
        bias = _first(bias, keys)
        mask_strides = broadcast_strides(bias, (batch, heads, rows, keys))
        if not (isinstance(mask_strides[3], int) and mask_strides[3] == 4):
            bias = trace.dense(bias.view((*bias.shape[:-1], keys), (*bias.strides[:-1], mask_strides[3])))
            mask_strides = broadcast_strides(bias, (batch, heads, rows, keys))
    out = result(trace, value, shape) if len(trace.input(node, 0).shape) == 4 else None
    if out is None:
        three = trace.result(value, F32, shape[1:])
        out = _four(three)
    call(
        trace, "attention 8 bits" if "8" in flags else "attention", kernels.attention_step, kernels.AttentionStep,
        batch=batch, heads=heads, rows=rows, key_heads=key_heads, keys=keys, dim=dim, value_dim=value_dim,
        q=q, q_batch=q.strides[0], q_head=q.strides[1], q_row=q.strides[2],
        k=k, k_batch=k.strides[0], k_head=k.strides[1], k_row=k.strides[2],
        v=v, v_batch=v.strides[0], v_head=v.strides[1], v_row=v.strides[2],
        out=out, out_batch=out.strides[0], out_head=out.strides[1], out_row=out.strides[2],
        mask=bias, mask_bytes=0 if bias is None else 4, mask_batch=mask_strides[0], mask_head=mask_strides[1],
        mask_row=mask_strides[2], causal=int(not {"causal", "topleft"}.isdisjoint(flags)), scale=scale,
        descriptor=backend.descriptor(isa.active(), 8 if "8" in flags else None),
    )  # fmt: skip


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


def _first(bias: Tensor, keys: AnySize) -> Tensor:
    """The bias of the first keys."""
    if bias.rank == 0 or bias.shape[-1] == 1:
        return bias
    return bias.view((*bias.shape[:-1], keys), bias.strides)


def _four(tensor: Tensor) -> Tensor:
    if tensor.rank == 4:
        return tensor
    if tensor.rank != 3:
        raise Unsupported(f"attention of {tensor.rank} axes")
    return tensor.view((1, *tensor.shape), (0, *tensor.strides))


LOWERINGS = {"dynq::Attention": attention}
