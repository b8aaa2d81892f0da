"""Operators without a kernel that onnx defines by others: they become those, which have kernels more often.

    Attention, GroupNormalization, LogSoftmax, RotaryEmbedding …   ─▶   the nodes of their body in onnx
"""

from __future__ import annotations

from typing import Any

import onnx
import onnx_ir as ir
from onnx import defs
from onnx_ir.passes import common

from ..graph.constants import graphs_of
from ..graph.model import DOMAIN, infer_shapes
from .lowering import lowering_of

_DOMAIN = "dynq.expanded"


def with_bodies(model: ir.Model) -> bool:
    """Put bodies in the place of nodes, in the model, and in these again; whether there was one.

    Types of values must be known.
    """
    found = False
    while _expanded(model):
        found = True
        infer_shapes(model)
    return found


def _expanded(model: ir.Model) -> bool:
    opset, count = model.opset_imports.get("", 0), 0
    for graph in list(model.graphs()):
        for node in list(graph):
            if node.domain == DOMAIN or graphs_of(node) or lowering_of(node) is not None:  # graphs are not inlined
                continue
            found = _body(node, opset if node.domain == "ai.onnx" else model.opset_imports.get(node.domain, 0))
            if found is None:
                continue
            proto, call = found
            for attribute in call.attribute:
                node.attributes[attribute.name] = ir.serde.deserialize_attribute(attribute)
            proto.domain, proto.name = _DOMAIN, f"{node.op_type}_{count}"
            del proto.opset_import[:]
            proto.opset_import.append(onnx.helper.make_opsetid("", opset))
            function = ir.serde.deserialize_function(proto)
            model.functions[function.identifier()] = function
            node.domain, node.op_type = _DOMAIN, proto.name
            count += 1
    if count:
        model.opset_imports[_DOMAIN] = 1
        common.InlinePass(lambda function: function.domain == _DOMAIN)(model)
        model.opset_imports.pop(_DOMAIN, None)
        common.RemoveUnusedNodesPass()(model)
    return count > 0


def _body(node: ir.Node, version: int) -> tuple[onnx.FunctionProto, onnx.NodeProto] | None:
    """What onnx says that a node does, if it says it in nodes; and the node with all its attributes."""
    try:
        schema: Any = defs.get_schema(node.op_type, version, "" if node.domain == "ai.onnx" else node.domain)
    except defs.SchemaError:
        return None
    call = ir.serde.serialize_node(node)
    given = {attribute.name for attribute in call.attribute}
    defaults = [each.default_value for name, each in schema.attributes.items() if name not in given]
    call.attribute.extend(each for each in defaults if each.name)
    fixed = [each for each in schema.function_opset_versions if each <= version]
    chosen = [each for each in schema.context_dependent_function_opset_versions if each <= version]
    if fixed:
        text = schema.get_function_with_opset_version(max(fixed))
    elif chosen:
        types = [onnx.TypeProto() if value is None else ir.serde.serialize_value(value).type for value in node.inputs]
        text = schema.get_context_dependent_function_with_opset_version(
            max(chosen), call.SerializeToString(), [each.SerializeToString() for each in types]
        )
    else:
        return None
    body = onnx.FunctionProto.FromString(text)
    del body.output[len(node.outputs) :]
    made = {name for each in body.node for name in each.output}
    for name in body.output:
        if name not in made:  # a result that nobody has asked for
            body.node.append(onnx.helper.make_node("Identity", [body.input[0]], [name]))
    return body, call
