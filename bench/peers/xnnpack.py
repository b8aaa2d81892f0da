"""XNNPACK, reached through LiteRT (PyPI ai-edge-litert): a .tflite of one FULLY_CONNECTED, written here.

Weights are int8 with a scale per channel, or int4 with a float16 scale per 32 of them along K. The activations stay
float32 in the model, so LiteRT's default XNNPACK delegate quantizes each row at run time (datatypes qdu8/qd8 × qc8w
and qb4w): github.com/tensorflow/tensorflow, tensorflow/lite/delegates/xnnpack/README.md, "dynamic range quantization".
XNNPACK chooses its kernels by cpuid and has no switch for the instruction set.
"""

from __future__ import annotations

from functools import partial

import numpy as np

from .base import Contestant, Function
from .integers import symmetric

GROUP = 32
#: Tensor numbers.
INPUT, OUTPUT, BIAS, WEIGHT, SCALES = range(5)


def int8_weight(schema, weight: np.ndarray) -> tuple[object, list[object], list[np.ndarray]]:
    """``(weight tensor, further tensors, their buffers)``, the weight's buffer first."""
    values, scales = symmetric(weight, 127)
    quantization = schema.QuantizationParametersT(scale=scales, zeroPoint=np.zeros(len(scales), np.int64))
    tensor = schema.TensorT(list(weight.shape), schema.TensorType.INT8, name="weight", quantization=quantization)
    return tensor, [], [values]


def int4_weight(schema, weight: np.ndarray) -> tuple[object, list[object], list[np.ndarray]]:
    """The same in 4 bits: two values a byte, the first in the low half, and the scales in a tensor of their own."""
    n, k = weight.shape
    if k % GROUP:
        raise ValueError(f"K must be a multiple of {GROUP}, was {k}")
    values, scales = symmetric(weight.reshape(n, k // GROUP, GROUP), 7)
    low, high = values.reshape(n, k // 2, 2).view(np.uint8).transpose(2, 0, 1)
    details = schema.BlockwiseQuantizationT(scales=SCALES, zeroPoints=-1, blockSize=GROUP)
    quantization = schema.QuantizationParametersT(
        detailsType=schema.QuantizationDetails.BlockwiseQuantization, details=details
    )
    tensor = schema.TensorT([n, k], schema.TensorType.INT4, name="weight", quantization=quantization)
    scale_tensor = schema.TensorT([n, k // GROUP], schema.TensorType.FLOAT16, name="scales")
    return tensor, [scale_tensor], [low & 15 | high << 4, scales.astype(np.float16)]


def model(weight: np.ndarray, bias: np.ndarray, rows: int, bits: int) -> bytes:
    """The .tflite: github.com/tensorflow/tensorflow, tensorflow/compiler/mlir/lite/schema/schema.fbs."""
    import flatbuffers
    from ai_edge_litert import schema_py_generated as schema

    n, k = weight.shape
    float32 = schema.TensorType.FLOAT32
    weight_tensor, further, buffers = (int8_weight if bits == 8 else int4_weight)(schema, weight)
    tensors = [
        schema.TensorT([rows, k], float32, name="x"),
        schema.TensorT([rows, n], float32, name="y"),
        schema.TensorT([n], float32, name="bias"),
        weight_tensor,
        *further,
    ]
    for number, tensor in enumerate(tensors[BIAS:], 1):
        tensor.buffer = number  # buffer 0 is the empty one, of computed tensors
    options = schema.FullyConnectedOptionsT(keepNumDims=True, asymmetricQuantizeInputs=True)
    operator = schema.OperatorT(
        inputs=[INPUT, WEIGHT, BIAS],
        outputs=[OUTPUT],
        builtinOptionsType=schema.BuiltinOptions.FullyConnectedOptions,
        builtinOptions=options,
    )
    code = schema.BuiltinOperator.FULLY_CONNECTED
    packed = [schema.BufferT(data=np.frombuffer(data.tobytes(), np.uint8)) for data in (bias, *buffers)]
    whole = schema.ModelT(
        version=3,
        operatorCodes=[schema.OperatorCodeT(deprecatedBuiltinCode=code, builtinCode=code, version=12)],
        subgraphs=[schema.SubGraphT(tensors, inputs=[INPUT], outputs=[OUTPUT], operators=[operator], name="main")],
        buffers=[schema.BufferT(), *packed],
    )
    builder = flatbuffers.Builder(weight.size)
    builder.Finish(whole.Pack(builder), file_identifier=b"TFL3")
    return bytes(builder.Output())


def build(weight: np.ndarray, bias: np.ndarray, rows: int, threads: int, *, bits: int) -> Function:
    from ai_edge_litert.interpreter import Interpreter

    interpreter = Interpreter(model_content=model(weight, bias, rows, bits), num_threads=threads)
    interpreter.allocate_tensors()
    if all(node["op_name"] != "DELEGATE" for node in interpreter._get_ops_details()):
        raise RuntimeError("LiteRT did not give the layer to XNNPACK")
    x_index, y_index = interpreter.get_input_details()[0]["index"], interpreter.get_output_details()[0]["index"]

    def call(x: np.ndarray) -> np.ndarray:
        interpreter.set_tensor(x_index, x)
        interpreter.invoke()
        return interpreter.get_tensor(y_index)

    return Function(call, interpreter.invoke)


def contestant(name: str, bits: int, tolerance: float) -> Contestant:
    return Contestant(
        name=name,
        family="xnnpack",
        weights=f"int{bits}",
        distributions=("ai-edge-litert", "flatbuffers"),
        build=partial(build, bits=bits),
        tolerance=tolerance,
    )


INT8 = (contestant("XNNPACK int8", 8, 0.02),)
INT4 = (contestant("XNNPACK int4 g32", 4, 0.15),)
