"""Which operators of a model nothing here computes: no kernel, no meaning in onnx.reference."""

from __future__ import annotations

import onnx_ir as ir
from onnx import defs

from ..graph.model import DOMAIN
from .lowering import lowering_of


def missing(model: ir.Model) -> list[str]:
    """`domain.Operator` of each, sorted."""
    opset = model.opset_imports.get("", 0)
    absent = set()
    for node in ir.traversal.RecursiveGraphIterator(model.graph):
        if node.domain == DOMAIN and node.op_identifier() in model.functions:
            continue
        if lowering_of(node) is None and not _has_reference(node, opset):
            absent.add(f"{node.domain}.{node.op_type}".lstrip("."))
    return sorted(absent)


def _has_reference(node: ir.Node, opset: int) -> bool:
    if node.domain not in ("", "ai.onnx"):
        return False
    from onnx.reference.ops import load_op  # most models have kernels for all

    try:
        load_op("", node.op_type, opset)
        return True
    except Exception:  # it has several kinds, for "there is none"
        pass
    try:
        schema = defs.get_schema(node.op_type, opset, "")
    except defs.SchemaError:
        return False
    return bool(getattr(schema, "has_function", False) or getattr(schema, "has_context_dependent_function", False))
