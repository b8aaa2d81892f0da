"""The mean of tokens: dynq::MeanPool, as a product with the mask, its sum, and a quotient.

The mask is a row of a product, so x is read once and nothing of its size is written.
"""

from __future__ import annotations

import onnx_ir as ir

from ...kernels.region.check import refused
from ..tensor import Expression, Tensor, expect
from ..trace import Trace, Unsupported, sources
from .base import F32, floats_only
from .products import multiply
from .reductions import reduced


def mean_pool(trace: Trace, node: ir.Node) -> None:
    """dynq::MeanPool"""
    x, mask, least = trace.input(node, 0), trace.input(node, 1), trace.input(node, 2)
    floats_only(x, least)
    x = trace.memory(x)
    batch, tokens, width = x.shape
    for axis, wanted in enumerate((batch, tokens)):
        expect(mask.shape[axis], wanted, "lengths of x and of its mask")
    if why := refused("Cast", (mask.dtype.name,), F32.name):
        raise Unsupported(why)
    floats = mask if mask.dtype == F32 else Tensor(
        F32, mask.shape, expression=Expression("Cast", (trace.memory(mask),), (), sources(node))
    )  # fmt: skip
    floats = trace.dense(floats)
    sums, counts = trace.block(F32, (batch, width)), trace.block(F32, (batch, 1))
    row = floats.view((batch, 1, tokens), (floats.strides[0], tokens * 4, 4))
    multiply(trace, (batch,), 1, width, tokens, row, x, sums.view((batch, 1, width), (width * 4, width * 4, 4)))
    reduced(trace, "ReduceSum", floats, [1], counts)
    divisors = Tensor(F32, counts.shape, expression=Expression("Max", (counts, trace.memory(least)), (), sources(node)))
    y = Expression("Div", (sums, divisors), (), sources(node))
    trace.set(node.outputs[0], Tensor(F32, sums.shape, expression=y))


LOWERINGS = {"dynq::MeanPool": mean_pool}
