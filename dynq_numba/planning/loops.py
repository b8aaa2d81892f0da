"""What nodes of Loop and Scan say."""

from __future__ import annotations

import onnx_ir as ir

from ..graph.constants import Constants, captured


def is_loop(node: ir.Node) -> bool:
    return node.op_type in ("Loop", "Scan") and node.domain in ("", "ai.onnx")


def outside(node: ir.Node, constants: Constants) -> list[ir.Value]:
    """Values of outside that whoever computes a node must be given, besides its inputs."""
    found = captured(node)
    return [each for each in found if not constants.is_constant(each)] if is_loop(node) else found


def sides_of(node: ir.Node, what: str, count: int) -> list[tuple[int, int]]:
    """Of each of the last inputs or outputs of a Scan ("input", "output"): the axis, and whether backwards."""
    none = [0] * count
    axes, backwards = (node.attributes.get_ints(f"scan_{what}_{name}", none) for name in ("axes", "directions"))
    return list(zip(axes, backwards, strict=True))
