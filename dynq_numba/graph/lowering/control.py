"""Branches: If goes on with the nodes of the branch that the run takes."""

from __future__ import annotations

import onnx_ir as ir

from ..trace import Trace


def if_(trace: Trace, node: ir.Node) -> None:
    """If"""
    (condition,) = trace.ints(node, 0) or [0]
    trace.enter(node.attributes["then_branch" if condition else "else_branch"].as_graph(), node)


LOWERINGS = {"If": if_}
