"""ONNX Runtime: its dynamic quantization, its operator for blocks of few bits, and float32.

* "int8" and "int8 per channel": a float32 model of MatMul and Add through
  ``onnxruntime.quantization.quantize_dynamic``, default and with ``per_channel=True``; what it makes runs fused as
  DynamicQuantizeMatMul. onnxruntime.ai/docs/performance/model-optimizations/quantization.html, "Dynamic Quantization".
* "nbits": MatMulNBits with blocks of 32 and ``accuracy_level=4``, which lets it compute in int8;
  github.com/microsoft/onnxruntime, docs/ContribOperators.md, "com.microsoft.MatMulNBits".

A call is ``session.run``; bare is ``session.run_with_iobinding`` with the output allocated beforehand. Its kernels
(MLAS) are chosen by cpuid, and no switch limits the instruction set.
"""

from __future__ import annotations

import logging
import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np

from .base import Contestant
from .integers import symmetric

BLOCK = 32
#: ONNX opset and IR version, which runtimes from 1.20 on read.
OPSET, IR_VERSION = 21, 10


class Session:
    """A layer that is an ONNX model of one input and one output."""

    def __init__(self, model: bytes, threads: int):
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        self.session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
        output = self.session.get_outputs()[0]
        self.binding = self.session.io_binding()
        self.binding.bind_ortvalue_output(
            output.name, onnxruntime.OrtValue.ortvalue_from_shape_and_type(output.shape, np.float32)
        )
        self.last = self.bound = np.empty((0, 0), np.float32)

    def __call__(self, x: np.ndarray) -> np.ndarray:
        self.last = x
        return self.session.run(None, {"x": x})[0]

    def bare(self) -> None:
        if self.bound is not self.last:
            self.binding.bind_cpu_input("x", self.last)
            self.bound = self.last
        self.session.run_with_iobinding(self.binding)


def model(nodes: list, initializers: dict[str, np.ndarray], rows: int, k: int, n: int):
    """An onnx ModelProto from x [rows, k] to y [rows, n]."""
    from onnx import TensorProto, helper, numpy_helper

    graph = helper.make_graph(
        nodes,
        "linear",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [rows, k])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [rows, n])],
        [numpy_helper.from_array(value, name) for name, value in initializers.items()],
    )
    opsets = [helper.make_opsetid("", OPSET), helper.make_opsetid("com.microsoft", 1)]
    return helper.make_model(graph, opset_imports=opsets, ir_version=IR_VERSION)


def float_model(weight: np.ndarray, bias: np.ndarray, rows: int):
    """MatMul and Add in float32."""
    from onnx import helper

    nodes = [helper.make_node("MatMul", ["x", "weight"], ["product"]), helper.make_node("Add", ["product", "b"], ["y"])]
    n, k = weight.shape
    return model(nodes, {"weight": np.ascontiguousarray(weight.T), "b": bias}, rows, k, n)


def build_float(weight: np.ndarray, bias: np.ndarray, rows: int, threads: int) -> Session:
    return Session(float_model(weight, bias, rows).SerializeToString(), threads)


def build_int8(weight: np.ndarray, bias: np.ndarray, rows: int, threads: int, *, per_channel: bool) -> Session:
    from onnxruntime.quantization import quantize_dynamic

    logging.getLogger().setLevel(logging.ERROR)  # it advises to run shape inference on the model of one product
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "int8.onnx"
        quantize_dynamic(float_model(weight, bias, rows), path, per_channel=per_channel)
        return Session(path.read_bytes(), threads)


def build_nbits(weight: np.ndarray, bias: np.ndarray, rows: int, threads: int, *, bits: int) -> Session:
    from onnx import helper

    n, k = weight.shape
    limit, zero_point = {4: (7, 8), 8: (127, 128)}[bits]
    padded = np.pad(weight, ((0, 0), (0, -k % BLOCK)))  # the last block is whole
    values, scales = symmetric(padded.reshape(n, -1, BLOCK), limit)
    packed = (values + np.int16(zero_point)).astype(np.uint8)
    if bits == 4:
        packed = packed[..., ::2] | packed[..., 1::2] << 4
    node = helper.make_node(
        "MatMulNBits", ["x", "weight", "scales", "", "", "b"], ["y"], domain="com.microsoft",
        K=k, N=n, bits=bits, block_size=BLOCK, accuracy_level=4,
    )  # fmt: skip
    whole = model([node], {"weight": packed, "scales": scales, "b": bias}, rows, k, n)
    return Session(whole.SerializeToString(), threads)


def contestant(name: str, weights: str, build: Callable[..., Session], tolerance: float) -> Contestant:
    return Contestant(
        name=f"ONNX Runtime {name}",
        family="onnxruntime",
        weights=weights,
        distributions=("onnxruntime", "onnx"),
        build=build,
        tolerance=tolerance,
    )


INT8 = (
    contestant("int8", "int8", partial(build_int8, per_channel=False), 0.03),
    contestant("int8 per channel", "int8", partial(build_int8, per_channel=True), 0.03),
    contestant("8 bit nbits g32", "int8", partial(build_nbits, bits=8), 0.02),
)
INT4 = (contestant("4 bit nbits g32", "int4", partial(build_nbits, bits=4), 0.15),)
FLOAT32 = (contestant("float32", "float32", build_float, 1e-5),)
