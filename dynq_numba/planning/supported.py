"""Which operators of a model nothing here computes: no kernel, no meaning in onnx.reference."""

from __future__ import annotations

from collections.abc import Mapping
from importlib import import_module

import onnx_ir as ir
from onnx import defs

from ..graph.model import DOMAIN
from .lowering import lowering_of


def missing(model: ir.Model) -> list[str]:
    """`domain.Operator` of each, sorted."""
    absent = set()
    for node in ir.traversal.RecursiveGraphIterator(model.graph):
        if node.domain == DOMAIN and node.op_identifier() in model.functions:
            continue
        if lowering_of(node) is None and not _has_reference(node, model.opset_imports):
            absent.add(f"{node.domain}.{node.op_type}".lstrip("."))
    return sorted(absent)


#: Domains of which onnx.reference has operators, and where.
_MODULES = {"": "ops", "ai.onnx": "ops", "ai.onnx.ml": "ops.aionnxml", "ai.onnx.preview": "ops.aionnx_preview"}


def _has_reference(node: ir.Node, versions: Mapping[str, int]) -> bool:
    if node.domain not in _MODULES:
        return False
    domain = "" if node.domain == "ai.onnx" else node.domain
    module = import_module(f"onnx.reference.{_MODULES[domain]}")  # most models have kernels for all
    try:
        module.load_op(domain, node.op_type, versions.get(domain, 1))
        return True
    except Exception:  # it has several kinds, for "there is none"
        pass
    try:
        schema = defs.get_schema(node.op_type, versions.get(domain, 1), domain)
    except defs.SchemaError:
        return False
    return bool(getattr(schema, "has_function", False) or getattr(schema, "has_context_dependent_function", False))
