"""Quantized linear layers and tables: dynq::Linear, LinearLong, Linear16, LinearGroup…, Embedding…"""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import numpy as np
import onnx_ir as ir

from ...graph.functions import Name, parse
from ...graph.layers.treatment import HADAMARD, OUTLIERS
from ...graph.rewrites.base import DIFFERS
from ...kernels.base.status import BAD_INDEX
from ...kernels.embedding import of_linear
from ...kernels.embedding import step as lookup
from ...kernels.gemm.pack import MAX_K
from ...kernels.gemm.tile import Scheme
from ...kernels.linear import rotation
from ...kernels.linear import step as kernels
from ...kernels.linear.many import MOST
from ...operators.embedding import backend as tables
from ...operators.embedding.packed import PackedEmbedding
from ...operators.embedding.saved import restore_embedding
from ...operators.linear.layout import Later
from ...operators.linear.packed import PackedLinear
from ...runtime import isa, kernel_table, threads
from ...runtime.post_ops import post_ops_address
from ..sizes import Shape, product
from ..tensor import Tensor, alike, broadcast, broadcast_strides, expect, is_one, same
from ..trace import Trace, Unsupported, sources
from .base import F32, call, floats_only, function_of, indices_only

#: Rows of a stored weight that are turned at a time: their columns stay in L2.
TURNED = 128


def linear(trace: Trace, node: ir.Node) -> None:
    """dynq::Linear… with its activation and residual"""
    name = parse(node.op_type)
    x = trace.input(node, 0)
    floats_only(x)
    together = beside(trace, node, name)
    weights = [_packed(trace, each) for each in together]
    layouts = [weight._step_layout() for weight in weights]
    expect(x.shape[-1], weights[0].shape[1], "the last axis of x and the weight's inputs")
    shapes = [(*x.shape[:-1], layout.n) for layout in layouts]
    residual = spread(trace, trace.input(node, len(node.inputs) - 1), shapes[0]) if name.residual else None
    x, stride = matrix(trace, x)
    residual, residual_stride = (None, 0) if residual is None else matrix(trace, residual)
    outs = [trace.result(each.outputs[0], F32, shape) for each, shape in zip(together, shapes, strict=True)]
    rows, post_ops = product(x.shape[:-1]), post_ops_address(name.activation, None, residual is not None)
    if len(together) > 1:
        words = [x, rows, stride, len(layouts), post_ops, *(layout.descriptor for layout in layouts), *outs]
        names = tuple(name for each in together for name in sources(each))
        differs = node.metadata_props.get(DIFFERS, "")
        trace.step("linear_many", function_of(kernels.linear_many_step), words, nodes=names, differs=differs)
        return
    call(
        trace, "linear", kernels.linear_step, kernels.LinearStep, x=x, m=rows, x_stride=stride, out=outs[0],
        out_stride=4 * layouts[0].n, residual=residual, residual_stride=residual_stride, weight=layouts[0].descriptor,
        post_ops=post_ops,
    )  # fmt: skip


def beside(trace: Trace, node: ir.Node, name: Name) -> list[ir.Node]:
    """Layers of the same x and kind that one step does with this one: x is then quantized once."""
    x = node.inputs[0]
    assert x is not None
    if name.residual or name.base not in ("Linear", "Linear16"):
        return [node]
    users = [use.node for use in x.uses() if use.idx == 0]
    found = [
        each
        for each in users
        if each.domain == node.domain and each.op_type == node.op_type and each.graph is node.graph
    ]
    k = trace.constant(node, 1).shape[0]
    return [each for each in found if trace.constant(each, 1).shape[0] == k and k <= MAX_K][:MOST]


def _packed(trace: Trace, node: ir.Node) -> PackedLinear:
    """The packed weight of a call."""
    weight: PackedLinear = trace.weights.packed(
        node.op_type.split("_")[0], trace.constants(node, *range(1, 7 if OUTLIERS in node.op_type else 5)),
        lambda: pack(trace, node),
    )
    return weight


def spread(trace: Trace, tensor: Tensor, shape: Shape) -> Tensor:
    """What is added to a result of this shape, as a tensor of that shape."""
    if alike(tensor.shape, shape):
        return tensor
    if not alike(broadcast([tensor.shape, shape]), shape):
        raise Unsupported("what is added has a larger shape")
    tensor = trace.memory(tensor)
    return trace.dense(tensor.view(shape, broadcast_strides(tensor, shape)))


def matrix(trace: Trace, tensor: Tensor) -> tuple[Tensor, Any]:
    """A tensor as rows that lie the same distance apart; and that distance."""
    tensor = trace.rows(tensor)
    if tensor.rank <= 1:
        return tensor, tensor.size * tensor.itemsize
    axes = [axis for axis in range(tensor.rank - 1) if not is_one(tensor.shape[axis])]
    for outer, inner in pairwise(axes):
        if not same(tensor.strides[outer], tensor.shape[inner] * tensor.strides[inner]):
            tensor = trace.dense(tensor)
            break
    return tensor, tensor.strides[axes[-1]] if axes else tensor.shape[-1] * tensor.itemsize


def pack(trace: Trace, node: ir.Node) -> PackedLinear:
    """The packed weight of a call, from the integers in the model."""
    stored, scale = trace.constant(node, 1), trace.constant(node, 2)
    bias = np.ascontiguousarray(trace.constant(node, 4), np.float32)
    columns, floats = _outliers(trace, node)
    if node.op_type.startswith("LinearGroup"):
        q = np.ascontiguousarray(stored).astype(np.int8)
        group = q.shape[1] // scale.shape[1]
        bits, zero_point = (4, None) if stored.dtype.name == "int4" else in_nibbles(q, group)
        form = bits, "per_group", group, "per_token", zero_point, None, columns, floats
        return PackedLinear(q, np.array(scale, np.float32), bias, *form)
    later = Later(stored.shape[::-1], lambda: integers_of(stored))
    x_bits = 16 if node.op_type.startswith("Linear16") else 8
    return PackedLinear(
        later, scale.reshape(-1, 1).copy(), bias, 8, "per_channel", None, "per_token", outliers=columns, floats=floats,
        x_bits=x_bits,
    )  # fmt: skip


def _outliers(trace: Trace, node: ir.Node) -> tuple[tuple[int, ...], np.ndarray | None]:
    """Columns that stay float32, and their weights [columns, N]."""
    if OUTLIERS not in node.op_type:
        return (), None
    return tuple(map(int, trace.constant(node, 5))), np.ascontiguousarray(trace.constant(node, 6), np.float32)


def hadamard(trace: Trace, node: ir.Node) -> None:
    """dynq::Hadamard⟨block⟩"""
    x, block = trace.input(node, 0), int(node.op_type.removeprefix(HADAMARD))
    floats_only(x)
    expect(x.shape[-1] % block, 0, "the remainder of a row's length by the block and 0")
    shape = x.shape
    x, stride = matrix(trace, x)
    call(
        trace, "rotation", rotation.rotation_step, rotation.RotationStep, worker=rotation.worker_address(),
        pool=threads.POOL, x=x, x_stride=stride, rows=product(shape[:-1]), k=shape[-1],
        out=trace.result(node.outputs[0], F32, shape), block=block,
    )  # fmt: skip


def integers_of(stored: np.ndarray) -> np.ndarray:
    """int8 [N, K] of stored ones [K, N], some rows at a time: numpy turns a large matrix five times as slowly."""
    q = np.empty(stored.shape[::-1], np.int8)
    for first in range(0, len(stored), TURNED):
        rows = stored[first : first + TURNED]
        q[:, first : first + TURNED] = (rows ^ np.uint8(128)).view(np.int8).T
    return q


def in_nibbles(q: np.ndarray, group: int) -> tuple[int, np.ndarray | None]:
    """How integers [N, K] of a byte each can be stored: in 4 bits with these zero points, or in 8 bits without."""
    parts = q.reshape(len(q), -1, group)
    zero = np.maximum(-parts.min(axis=2).astype(np.int16), 0)
    if zero.max() > 15 or (parts.max(axis=2) + zero).max() > 15:
        return 8, None
    return 4, zero.astype(np.uint8)


def embedding(trace: Trace, node: ir.Node) -> None:
    """dynq::Embedding"""
    table = trace.weights.packed("table", trace.constants(node, 0, 1, 2), lambda: _table(trace, node))
    store, ids = table._store, trace.dense(trace.input(node, 3))
    indices_only(ids)
    worker = kernel_table.worker_address("embedding", isa.active(), Scheme(store.bits))
    rows, columns = table.shape
    call(
        trace, f"embedding {table.bits} bits", lookup.lookup_step, lookup.LookupStep, _outside(rows), ids=ids,
        id_bytes=ids.itemsize, count=ids.size, out=trace.result(node.outputs[0], F32, (*ids.shape, columns)),
        out_stride=4 * columns, table=store.descriptor, worker=worker, one=tables.ONE,
        own_ids=trace.block(np.dtype(np.int64), ids.shape),
    )  # fmt: skip


def embedding_of_linear(trace: Trace, node: ir.Node) -> None:
    """dynq::EmbeddingOf"""
    weight, scale, ids = trace.input(node, 0), trace.input(node, 1), trace.dense(trace.input(node, 2))
    indices_only(ids)
    columns, rows = trace.constant(node, 0).shape
    call(
        trace, "embedding of linear", of_linear.of_linear_step, of_linear.OfLinearStep, _outside(rows), ids=ids,
        id_bytes=ids.itemsize, count=ids.size, out=trace.result(node.outputs[0], F32, (*ids.shape, columns)),
        weight=trace.dense(weight), scale=trace.dense(scale), columns=columns, rows=rows,
    )  # fmt: skip


def _outside(rows: int) -> dict[int, str]:
    return {BAD_INDEX: f"indices must be from {-rows} to {rows - 1}"}


def _table(trace: Trace, node: ir.Node) -> PackedEmbedding:
    q, scale, minimum = (trace.constant(node, i) for i in range(3))
    arrays = {"qweight": q, "scale": scale, "minimum": minimum}
    return restore_embedding(
        {"kind": "embedding", "shape": list(q.shape), "bits": 8}, lambda role, code, shape: arrays[role]
    )


LOWERINGS = {
    "dynq::Linear": linear, "dynq::LinearLong": linear, "dynq::Linear16Long": linear, "dynq::LinearGroup": linear,
    "dynq::Embedding": embedding, "dynq::EmbeddingOf": embedding_of_linear, "dynq::Hadamard": hadamard,
}  # fmt: skip  # digits behind a name do not count: Linear16 is a Linear
