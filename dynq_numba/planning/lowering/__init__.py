"""What each operator of a graph becomes in a plan; a new one is a function in a file of this folder, in its LOWERINGS.

A lowering is called with the trace and a node. It gives each result of the node a tensor: a view, an expression,
known numbers, or memory that a step fills. It raises `Unsupported`, with the reason, where no kernel does it.
"""

from __future__ import annotations

from collections.abc import Callable

import onnx_ir as ir

from ...graph.functions import parse
from ...graph.model import DOMAIN
from ..tensor import Tensor
from ..trace import Lowerings, Trace, Unsupported
from . import (
    attention,
    caches,
    control,
    conv,
    copies,
    elementwise,
    linear,
    marks,
    mean_pool,
    normalization,
    pooling,
    products,
    recurrent,
    reductions,
    resize,
    rotary,
    rowwise,
    sampling,
    scatter,
    sconv,
    selection,
    views,
)
from .numbers import folded

Lowering = Callable[[Trace, ir.Node], None]
#: By operator of ONNX, or "dynq::" and the first part of a function's name.
LOWERINGS: dict[str, Lowering] = {}
for _module in (
    attention, caches, control, conv, copies, elementwise, linear, marks, mean_pool, normalization, pooling,
    products, recurrent, reductions, resize, rotary, rowwise, sampling, scatter, sconv, selection, views,
):  # fmt: skip
    LOWERINGS |= _module.LOWERINGS


def lower(trace: Trace, node: ir.Node) -> None:
    """Add what a node needs to the segment that is planned."""
    if folded(trace, node):
        return
    found = lowering_of(node)
    if found is None:
        raise Unsupported("no kernel")
    found(trace, node)


def lowering_of(node: ir.Node) -> Lowering | None:
    if node.domain in ("", "ai.onnx"):
        return LOWERINGS.get(node.op_type)
    if node.domain != DOMAIN:
        return None
    base = parse(node.op_type).base.split("_")[0].rstrip("0123456789")
    return LOWERINGS.get(f"{DOMAIN}::{base}")


def write(trace: Trace, tensor: Tensor, value: ir.Value | None) -> Tensor:
    """An expression or known numbers in memory."""
    make = copies.numbers_in_memory if tensor.expression is None else elementwise.materialised
    return make(trace, tensor, value)


#: What a plan is made with.
KERNELS = Lowerings(lower, write, copies.copy_into)
