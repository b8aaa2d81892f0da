"""What models have in common: opset, domain of our functions; shapes as onnx infers them."""

from __future__ import annotations

import json

import onnx
import onnx_ir as ir
from onnx_ir.passes import common

#: The opset of artifacts, and of the functions in them; and the version of the file format that has it.
OPSET, IR_VERSION = 21, 10
#: The domain of our functions, and its version; and the key of the receipt in an artifact's metadata.
DOMAIN, VERSION, RECEIPT = "dynq", 1, "dynq.receipt"
#: With longer vectors in a graph onnx does not follow lengths that it computes: it takes 140 bytes for each element.
LONGEST = 1 << 18
#: Initializers up to this size travel through the converter of opsets: it reads shapes and axes in them.
SMALL_BYTES = 4096


def attention_bits(model: ir.Model) -> int:
    """Of the products of attention in our session: what the recipe says, if the model is an artifact of ours."""
    try:
        bits = json.loads(model.metadata_props.get(RECEIPT, "{}"))["recipe"].get("attention", 8)
    except (KeyError, TypeError, AttributeError, json.JSONDecodeError):
        return 32
    return 8 if bits == 8 else 32


def weights_back(model: ir.Model, own: int, weights: dict[str, ir.TensorProtocol]) -> None:
    """Make the inputs behind the first `own` initializers again."""
    for value in list(model.graph.inputs)[own:]:
        model.graph.inputs.remove(value)
        value.const_value = weights[value.name or ""]
        model.graph.register_initializer(value)


def weights_led_past(model: ir.Model) -> dict[str, ir.TensorProtocol]:
    """Make the large initializers inputs; gives them by name."""
    graph, weights = model.graph, {}
    for name, value in list(graph.initializers.items()):
        tensor = value.const_value
        if tensor is not None and tensor.nbytes > SMALL_BYTES:
            weights[name] = tensor
            del graph.initializers[name]
            value.const_value, value.type = None, ir.TensorType(tensor.dtype)
            value.shape = ir.Shape(tensor.shape.numpy())
            graph.inputs.append(value)
    return weights


def infer_shapes(model: ir.Model) -> None:
    """Shapes and types of all values as onnx infers them, in place of those that exporters wrote beside them."""
    own, weights = len(model.graph.inputs), weights_led_past(model)
    try:
        given = relaxed(ir.to_proto(model))
    finally:
        weights_back(model, own, weights)
    proto = onnx.shape_inference.infer_shapes(given)
    if _longest(proto.graph) <= LONGEST:
        proto = onnx.shape_inference.infer_shapes(given, data_prop=True)
    _take_shapes(model.graph, proto.graph)


def _longest(graph: onnx.GraphProto) -> int:
    """The longest vector that is known."""
    shapes = (each.type.tensor_type.shape.dim for values in (graph.input, graph.value_info) for each in values)
    return max((dims[0].dim_value for dims in shapes if len(dims) == 1), default=0)


def _take_shapes(graph: ir.Graph, proto: onnx.GraphProto) -> None:
    """Those of a graph's nodes, and of the graphs in them."""
    known = {info.name: info.type for info in proto.value_info}
    for node, theirs in zip(graph, proto.node, strict=True):
        for value in node.outputs:
            found = known.get(value.name or "")
            if found is not None:
                value.type = ir.serde.deserialize_type_proto_for_type(found)
                value.shape = ir.serde.deserialize_type_proto_for_shape(found)
            elif not value.is_graph_output():
                value.shape = None
        for attribute in theirs.attribute:
            if attribute.HasField("g"):
                _take_shapes(node.attributes[attribute.name].as_graph(), attribute.g)


def relaxed(proto: onnx.ModelProto) -> onnx.ModelProto:
    """Without the shapes that exporters wrote beside values: some are wrong, and all can be inferred."""
    del proto.graph.value_info[:]
    return proto


def with_true_outputs(model: ir.Model) -> list[str]:
    """Correct shapes that exporters declared of outputs and the graph does not give: the checker refuses them."""
    copy = model.clone()
    common.RemoveInitializersFromInputsPass()(copy)
    weights_led_past(copy)
    proto = relaxed(ir.to_proto(copy))
    try:
        onnx.shape_inference.infer_shapes(proto, strict_mode=True)
    except onnx.shape_inference.InferenceError as error:
        for output in proto.graph.output:
            output.type.tensor_type.ClearField("shape")
        try:
            inferred = onnx.shape_inference.infer_shapes(proto, strict_mode=True)
        except onnx.shape_inference.InferenceError:
            return [f"shapes contradict each other, as they did in the source: {_first_line(error)}"]
        for output, found in zip(model.graph.outputs, inferred.graph.output, strict=True):
            if found.type.tensor_type.HasField("shape"):
                output.shape = ir.serde.deserialize_type_proto_for_shape(found.type)
        return [f"outputs have the shapes that the graph gives, not those declared: {_first_line(error)}"]
    return []


def _first_line(error: Exception) -> str:
    return str(error).strip().splitlines()[0]
