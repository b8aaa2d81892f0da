"""Small models that other quantizers wrote: ONNX Runtime's tools in all their formats, and nodes of its own domain."""

from __future__ import annotations

import logging
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper
from onnxruntime import quantization as ort
from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType
from onnxruntime.quantization.matmul_nbits_quantizer import MatMulNBitsQuantizer

F32 = np.float32
MS = "com.microsoft"
Feeds = dict[str, np.ndarray]


class Form(NamedTuple):
    """A model, how it is quantized, and what is said of it in the documentation."""

    #: What it looks like in a file; which tool writes it.
    form: str
    writer: str
    #: (float model, quantized model, feeds)
    make: Callable[[], tuple[onnx.ModelProto, onnx.ModelProto, Feeds]]
    #: The first words of steps that must run, and of those that may say that they differ from the file.
    runs: str
    differs: bool = True
    #: How much further from float than the file results may be.
    near: float = 0.0


def normal(*shape: int, seed: int = 0, scale: float = 1) -> np.ndarray:
    return (np.random.default_rng(seed).standard_normal(shape) * scale).astype(F32)


def skewed(*shape: int, seed: int = 0) -> np.ndarray:
    """With a range about another middle than 0: the zero point of its integers is far from 128."""
    return (normal(*shape, seed=seed, scale=0.1) ** 2 * 4 - 0.05).astype(F32)


def model(nodes: list, weights: dict[str, np.ndarray], x: list, y: list, opset: int = 17) -> onnx.ModelProto:
    """Of input x and result y, in float32; a dimension may be a name."""
    value = helper.make_tensor_value_info
    constants = [numpy_helper.from_array(array, name) for name, array in weights.items()]
    graph = helper.make_graph(
        nodes, "g", [value("x", TensorProto.FLOAT, x)], [value("y", TensorProto.FLOAT, y)], constants
    )
    imports = [helper.make_opsetid("", opset), helper.make_opsetid(MS, 1)]
    return helper.make_model(graph, opset_imports=imports, ir_version=10)


def two_linears(weight: Callable[..., np.ndarray] = normal) -> onnx.ModelProto:
    """MatMul ─▶ Add ─▶ Relu ─▶ Gemm; [5, 48] to [5, 24]."""
    weights = {"w": weight(48, 64), "b": normal(64, seed=1), "v": weight(24, 64, seed=2), "c": normal(24, seed=3)}
    nodes = [
        helper.make_node("MatMul", ["x", "w"], ["p"], "first"),
        helper.make_node("Add", ["p", "b"], ["s"], "add"),
        helper.make_node("Relu", ["s"], ["r"], "relu"),
        helper.make_node("Gemm", ["r", "v", "c"], ["y"], "second", transB=1),
    ]
    return model(nodes, weights, ["n", 48], ["n", 24])


def two_convs() -> onnx.ModelProto:
    """Conv ─▶ Relu ─▶ Conv of 2 groups; [2, 3, 16, 16] to [2, 6, 7, 7]."""
    weights = {"w": normal(8, 3, 3, 3), "b": normal(8, seed=1), "v": normal(6, 4, 3, 3, seed=2), "c": normal(6, seed=3)}
    nodes = [
        helper.make_node("Conv", ["x", "w", "b"], ["p"], "first", pads=[1, 1, 1, 1], kernel_shape=[3, 3]),
        helper.make_node("Relu", ["p"], ["r"], "relu"),
        helper.make_node("Conv", ["r", "v", "c"], ["y"], "second", strides=[2, 2], kernel_shape=[3, 3], group=2),
    ]
    return model(nodes, weights, ["n", 3, 16, 16], ["n", 6, 7, 7])


def lstm() -> onnx.ModelProto:
    """[7, 1, 12] to [7, 2, 1, 16]."""
    weights = {"w": normal(2, 64, 12, scale=0.3), "r": normal(2, 64, 16, seed=1, scale=0.3)}
    weights["b"] = normal(2, 128, seed=2)
    node = helper.make_node("LSTM", ["x", "w", "r", "b"], ["y"], "lstm", hidden_size=16, direction="bidirectional")
    return model([node], weights, ["t", 1, 12], ["t", 2, 1, 16])


def lookup() -> onnx.ModelProto:
    """Rows of a table, times a matrix."""
    weights = {"table": normal(40, 32), "w": normal(32, 16, seed=1)}
    nodes = [
        helper.make_node("Cast", ["x"], ["ids"], "ids", to=TensorProto.INT64),
        helper.make_node("Gather", ["table", "ids"], ["rows"], "rows"),
        helper.make_node("MatMul", ["rows", "w"], ["y"], "product"),
    ]
    return model(nodes, weights, ["n"], ["n", 16])


def dynamic(made: onnx.ModelProto, **options: Any) -> onnx.ModelProto:
    """By ONNX Runtime's quantize_dynamic."""
    logging.getLogger().setLevel(logging.ERROR)
    with tempfile.TemporaryDirectory() as folder:
        source, target = Path(folder) / "float.onnx", Path(folder) / "int8.onnx"
        onnx.save(made, source)
        ort.quantize_dynamic(source, target, **options)
        return onnx.load(target)


class _Feeds(CalibrationDataReader):
    def __init__(self, feeds: list[Feeds]) -> None:
        self.feeds = iter(feeds)

    def get_next(self) -> Feeds | None:
        return next(self.feeds, None)


def static(made: onnx.ModelProto, feeds: Feeds, **options: Any) -> onnx.ModelProto:
    """By ONNX Runtime's quantize_static, calibrated on the feeds."""
    logging.getLogger().setLevel(logging.ERROR)
    with tempfile.TemporaryDirectory() as folder:
        source, target = Path(folder) / "float.onnx", Path(folder) / "int8.onnx"
        onnx.save(made, source)
        ort.quantize_static(source, target, _Feeds([feeds]), **options)
        return onnx.load(target)


#: Rows, images and times of different magnitudes, as they are in models.
ROWS = {"x": normal(6, 48, seed=9) * F32([[0.1], [3], [0.5], [1], [0.2], [2]])}
IMAGES = {"x": normal(3, 3, 16, 16, seed=9) * F32([0.2, 2, 0.5]).reshape(-1, 1, 1, 1)}
TIMES = {"x": normal(7, 1, 12, seed=9)}
IDS = {"x": np.array([0, 39, 7, 7], F32)}


def _dynamic(made: onnx.ModelProto, feeds: Feeds, **options: Any) -> tuple[onnx.ModelProto, onnx.ModelProto, Feeds]:
    return made, dynamic(made, **options), feeds


def _static(made: onnx.ModelProto, feeds: Feeds, **options: Any) -> tuple[onnx.ModelProto, onnx.ModelProto, Feeds]:
    return made, static(made, feeds, **options), feeds


def nbits(made: onnx.ModelProto, **options: Any) -> onnx.ModelProto:
    """By ONNX Runtime's MatMulNBitsQuantizer."""
    logging.getLogger().setLevel(logging.ERROR)
    copy = onnx.ModelProto.FromString(made.SerializeToString())
    quantizer = MatMulNBitsQuantizer(copy, **options)
    quantizer.process()
    return quantizer.model.model


def _nbits(made: onnx.ModelProto, feeds: Feeds, **options: Any) -> tuple[onnx.ModelProto, onnx.ModelProto, Feeds]:
    return made, nbits(made, **options), feeds


def stored(made: onnx.ModelProto, axes: dict[str, int], dtype: type = np.int8) -> onnx.ModelProto:
    """Weights as DequantizeLinear, a scale for each index along an axis; x stays float32."""
    copy = onnx.ModelProto.FromString(made.SerializeToString())
    nodes, arrays = [], {each.name: each for each in copy.graph.initializer}
    for name, axis in axes.items():
        array = numpy_helper.to_array(arrays[name])
        others = tuple(i for i in range(array.ndim) if i != axis)
        scale = (np.abs(array).max(axis=others, keepdims=True) / F32(np.iinfo(dtype).max)).astype(F32)
        whole = np.rint(array / scale).astype(dtype)
        arrays[name].CopyFrom(numpy_helper.from_array(whole, f"{name}_quantized"))
        zero = np.zeros(scale.size, dtype)
        for end, part in (("scale", scale.reshape(-1)), ("zero_point", zero)):
            copy.graph.initializer.append(numpy_helper.from_array(part, f"{name}_{end}"))
        inputs = [f"{name}_{end}" for end in ("quantized", "scale", "zero_point")]
        nodes.append(helper.make_node("DequantizeLinear", inputs, [name], axis=axis))
    nodes += copy.graph.node
    del copy.graph.node[:]
    copy.graph.node.extend(nodes)
    return copy


def gru() -> onnx.ModelProto:
    """[7, 1, 12] to [7, 1, 1, 16]."""
    weights = {"w": normal(1, 48, 12, scale=0.3), "r": normal(1, 48, 16, seed=1, scale=0.3)}
    node = helper.make_node("GRU", ["x", "w", "r"], ["y"], "gru", hidden_size=16)
    return model([node], weights, ["t", 1, 12], ["t", 1, 1, 16])


def product(k: int = 128, n: int = 24) -> onnx.ModelProto:
    """MatMul ─▶ Add; [6, k] to [6, n]."""
    nodes = [helper.make_node("MatMul", ["x", "w"], ["p"], "first"), helper.make_node("Add", ["p", "b"], ["y"], "add")]
    return model(nodes, {"w": normal(k, n), "b": normal(n, seed=1)}, ["n", k], ["n", n], 21)


#: How much further from float than the file, which rounds weights alone, ours may be: x has 8 bits a row.
FLOATS = 0.012
ANY, NBITS = "OpenVINO's and others' tools", "ONNX Runtime, MatMulNBitsQuantizer"
WIDE = {"x": normal(6, 128, seed=9) * F32([[0.1], [3], [0.5], [1], [0.2], [2]])}
DYNAMIC, STATIC = "ONNX Runtime, quantize_dynamic", "ONNX Runtime, quantize_static"
FORMS = {
    "dynamic": Form("DynamicQuantizeLinear, MatMulInteger", DYNAMIC, lambda: _dynamic(two_linears(), ROWS), "linear"),
    "dynamic, per channel": Form("the same, a scale for each channel", DYNAMIC,
        lambda: _dynamic(two_linears(), ROWS, per_channel=True), "linear"),
    "dynamic, uint8": Form("the same, uint8 weights with a zero point", DYNAMIC,
        lambda: _dynamic(two_linears(skewed), ROWS, weight_type=QuantType.QUInt8), "linear"),
    "dynamic, uint8 per channel": Form("the same, a zero point for each channel", DYNAMIC,
        lambda: _dynamic(two_linears(skewed), ROWS, weight_type=QuantType.QUInt8, per_channel=True), "linear"),
    "dynamic LSTM": Form("DynamicQuantizeLSTM", DYNAMIC, lambda: _dynamic(lstm(), TIMES), "lstm int8"),
    "dynamic LSTM, per channel": Form("the same, a scale for each channel", DYNAMIC,
        lambda: _dynamic(lstm(), TIMES, per_channel=True), "lstm int8"),
    "dynamic Conv": Form("DynamicQuantizeLinear, ConvInteger", DYNAMIC,
        lambda: _dynamic(two_convs(), IMAGES, weight_type=QuantType.QUInt8), "conv int8"),
    "dynamic Gather": Form("Gather of integers, DequantizeLinear", DYNAMIC,
        lambda: _dynamic(lookup(), IDS, op_types_to_quantize=["Gather"]), "gather", differs=False),
    "QDQ": Form("QuantizeLinear and DequantizeLinear around MatMul, Gemm", STATIC,
        lambda: _static(two_linears(), ROWS, quant_format=QuantFormat.QDQ), "linear"),
    "QDQ, per channel": Form("the same, a scale for each channel", STATIC,
        lambda: _static(two_linears(), ROWS, quant_format=QuantFormat.QDQ, per_channel=True), "linear"),
    "QDQ, uint8": Form("the same, uint8 activations and weights", STATIC,
        lambda: _static(two_linears(skewed), ROWS, quant_format=QuantFormat.QDQ, weight_type=QuantType.QUInt8,
        activation_type=QuantType.QUInt8), "linear"),
    "QDQ Conv": Form("QuantizeLinear and DequantizeLinear around Conv", STATIC,
        lambda: _static(two_convs(), IMAGES, quant_format=QuantFormat.QDQ, per_channel=True), "conv int8"),
    "QOperator": Form("QLinearMatMul, QGemm", STATIC,
        lambda: _static(two_linears(), ROWS, quant_format=QuantFormat.QOperator), "linear"),
    "QOperator Conv": Form("QLinearConv", STATIC,
        lambda: _static(two_convs(), IMAGES, quant_format=QuantFormat.QOperator), "conv int8"),
    "weights": Form("DequantizeLinear(weight), MatMul, Gemm", ANY,
        lambda: (two_linears(), stored(two_linears(), {"w": 1, "v": 0}), ROWS), "linear", near=FLOATS),
    "weights of a Conv": Form("DequantizeLinear(weight), Conv", ANY,
        lambda: (two_convs(), stored(two_convs(), {"w": 0, "v": 0}), IMAGES), "conv int8", near=FLOATS),
    "weights of an LSTM": Form("DequantizeLinear(W, R), LSTM", ANY,
        lambda: (lstm(), stored(lstm(), {"w": 0, "r": 0}), TIMES), "lstm int8", near=FLOATS),
    "weights of a GRU": Form("DequantizeLinear(W, R), GRU", ANY,
        lambda: (gru(), stored(gru(), {"w": 1, "r": 1}), TIMES), "gru int8", near=FLOATS),
    "table": Form("DequantizeLinear(table), Gather", ANY,
        lambda: (lookup(), stored(lookup(), {"table": 0}), IDS), "gather", differs=False),
    "4 bits": Form("MatMulNBits of 4 bits", NBITS, lambda: _nbits(product(), WIDE, block_size=32, is_symmetric=True),
        "linear", near=FLOATS),
    "4 bits with zero points": Form("the same, with zero points", NBITS,
        lambda: _nbits(product(), WIDE, block_size=64, is_symmetric=False), "linear", near=FLOATS),
    "8 bits": Form("MatMulNBits of 8 bits", NBITS, lambda: _nbits(product(), WIDE, bits=8, block_size=128), "linear",
        near=FLOATS),
    "4 bits, QDQ": Form("DequantizeLinear(weight) of blocks, MatMul", f"{NBITS}, QDQ",
        lambda: _nbits(product(), WIDE, block_size=32, is_symmetric=True, quant_format=QuantFormat.QDQ), "linear",
        near=FLOATS),
    "4 bits, table": Form("GatherBlockQuantized", NBITS, lambda: _nbits(lookup(), IDS, block_size=32,
        is_symmetric=True, op_types_to_quantize=("Gather",), quant_axes=(("Gather", 1),)), "gather", differs=False),
}  # fmt: skip
