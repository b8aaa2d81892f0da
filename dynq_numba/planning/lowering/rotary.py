"""Rotary embeddings: dynq::Rotary, as two regions, one for each half of a head. Both write where the result is."""

from __future__ import annotations

import onnx_ir as ir

from ...graph.functions import parse
from ..tensor import Expression, Tensor, expect
from ..trace import Trace, sources
from .base import F32, floats_only
from .elementwise import materialised


def rotary(trace: Trace, node: ir.Node) -> None:
    """dynq::Rotary…"""
    flags = parse(node.op_type).base.split("_")
    x, cos, sin = (trace.memory(trace.input(node, i)) for i in range(3))
    floats_only(x, cos, sin)
    width, interleaved = x.shape[-1], "interleaved" in flags
    expect(width % 2, 0, "the remainder of a head's length by 2 and 0")
    for table in (cos, sin):
        expect(table.shape[-1] * 2 if "half" in flags else table.shape[-1], width, "lengths of x and of its tables")
    out = trace.result(node.outputs[0], F32, x.shape)
    (x1, x2), (y1, y2) = (_pair(each, interleaved) for each in (x, out))
    (c1, c2), (s1, s2) = ((each, each) if "half" in flags else _pair(each, interleaved) for each in (cos, sin))

    def combined(operator: str, a: Tensor, b: Tensor) -> Tensor:
        return Tensor(F32, x1.shape, expression=Expression(operator, (a, b), (), sources(node)))

    materialised(trace, combined("Sub", combined("Mul", x1, c1), combined("Mul", x2, s1)), into=y1)
    materialised(trace, combined("Add", combined("Mul", x2, c2), combined("Mul", x1, s2)), into=y2)


def _pair(tensor: Tensor, interleaved: bool) -> tuple[Tensor, Tensor]:
    """The halves of the last axis, or its even and odd values, as views."""
    *lengths, width = tensor.shape
    *strides, step = tensor.strides
    shape = (*lengths, width // 2)
    if interleaved:
        return tensor.view(shape, (*strides, 2 * step)), tensor.view(shape, (*strides, 2 * step), step)
    return tensor.view(shape, tensor.strides), tensor.view(shape, tensor.strides, width // 2 * step)


LOWERINGS = {"dynq::Rotary": rotary}
