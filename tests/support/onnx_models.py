"""Small ONNX models written as text, and what runs them: ONNX Runtime, onnx.reference."""

from __future__ import annotations

import numpy as np
import onnx
import onnxruntime
from onnx import numpy_helper, parser
from onnx.reference import ReferenceEvaluator


def parsed(inputs: str, outputs: str, body: str, opset: int = 21, **weights: np.ndarray) -> onnx.ModelProto:
    """A model in ONNX's text form; `weights` become initializers."""
    text = f'<ir_version: 10, opset_import: ["": {opset}]>\ng ({inputs}) => ({outputs}) {{ {body} }}'
    model = parser.parse_model(text)
    for value in (*model.graph.input, *model.graph.output):
        value.type.tensor_type.shape.SetInParent()  # of a scalar the parser gives no shape
    model.graph.initializer.extend(numpy_helper.from_array(array, name) for name, array in weights.items())
    return model


def in_onnxruntime(model: onnx.ModelProto, feeds: dict[str, np.ndarray]) -> list[np.ndarray]:
    options = onnxruntime.SessionOptions()
    options.log_severity_level, options.intra_op_num_threads = 4, 1
    data = model.SerializeToString()
    return onnxruntime.InferenceSession(data, options, providers=["CPUExecutionProvider"]).run(None, feeds)


def in_reference(model: onnx.ModelProto, feeds: dict[str, np.ndarray]) -> list[np.ndarray]:
    with np.errstate(all="ignore"):
        return ReferenceEvaluator(model).run(None, feeds)
