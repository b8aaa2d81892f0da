"""Small ONNX models written as text, and what runs them: ONNX Runtime, onnx.reference."""

from __future__ import annotations

import numpy as np
import onnx
import onnxruntime
from onnx import TensorProto, numpy_helper, parser
from onnx.reference import ReferenceEvaluator


def floats(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


def same(a: np.ndarray, b: np.ndarray) -> bool:
    """Equal type, shape and values, any NaN for any other."""
    return a.dtype == b.dtype and a.shape == b.shape and np.array_equal(a, b, equal_nan=a.dtype.kind == "f")


def parsed(inputs: str, outputs: str, body: str, opset: int = 21, **weights: np.ndarray) -> onnx.ModelProto:
    """A model in ONNX's text form; `weights` become initializers."""
    text = f'<ir_version: 10, opset_import: ["": {opset}]>\ng ({inputs}) => ({outputs}) {{ {body} }}'
    model = parser.parse_model(text)
    for value in (*model.graph.input, *model.graph.output):
        value.type.tensor_type.shape.SetInParent()  # of a scalar the parser gives no shape
    model.graph.initializer.extend(numpy_helper.from_array(array, name) for name, array in weights.items())
    return model


def in_onnxruntime(
    model: onnx.ModelProto, feeds: dict[str, np.ndarray], *, as_written: bool = False
) -> list[np.ndarray]:
    """`as_written`: without its graph optimizations."""
    options = onnxruntime.SessionOptions()
    options.log_severity_level, options.intra_op_num_threads = 4, 1
    if as_written:
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    data = model.SerializeToString()
    return onnxruntime.InferenceSession(data, options, providers=["CPUExecutionProvider"]).run(None, feeds)


def in_reference(model: onnx.ModelProto, feeds: dict[str, np.ndarray]) -> list[np.ndarray]:
    with np.errstate(all="ignore"):
        return ReferenceEvaluator(model).run(None, feeds)


def in_float64(model: onnx.ModelProto, feeds: dict[str, np.ndarray]) -> list[np.ndarray]:
    """onnx.reference with everything that is float32 as float64."""
    copy, single, double = onnx.ModelProto.FromString(model.SerializeToString()), TensorProto.FLOAT, TensorProto.DOUBLE

    def widened(tensor: TensorProto) -> None:
        if tensor.data_type == single:
            tensor.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(tensor).astype(np.float64), tensor.name))

    for tensor in copy.graph.initializer:
        widened(tensor)
    for value in (*copy.graph.input, *copy.graph.output, *copy.graph.value_info):
        if value.type.tensor_type.elem_type == single:
            value.type.tensor_type.elem_type = double
    for node in copy.graph.node:
        for attribute in node.attribute:
            if attribute.name == "value_float":
                attribute.name, attribute.type = "value", onnx.AttributeProto.TENSOR
                attribute.t.CopyFrom(numpy_helper.from_array(np.float64(attribute.f)))
            elif node.op_type == "Cast" and attribute.name == "to" and attribute.i == single:
                attribute.i = double
            elif attribute.HasField("t"):
                widened(attribute.t)
    return in_reference(copy, {k: v.astype(np.float64) if v.dtype == np.float32 else v for k, v in feeds.items()})
