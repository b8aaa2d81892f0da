"""Quantized files at their edges: a last block that is shorter, tables of wide integers, an index without axes."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from foreign_models import MS, normal
from onnx import TensorProto, helper, numpy_helper
from onnx.reference import ReferenceEvaluator
from onnx_models import in_onnxruntime

from dynq_numba.onnx import InferenceSession

F32 = np.float32
FLOAT, INT64 = TensorProto.FLOAT, TensorProto.INT64
semantics = pytest.mark.parametrize("semantics", ["file", "rowwise"])
#: Values of K, and those of a block, which does not divide them.
partial_blocks = pytest.mark.parametrize(("k", "block"), [(192, 128), (160, 64), (96, 64), (48, 32)])


def whole(low: int, high: int, *shape: int) -> np.ndarray:
    return np.random.default_rng(0).integers(low, high, shape)


def of_nodes(nodes: list[onnx.NodeProto], given: tuple, shape: list[int], **stored: np.ndarray) -> onnx.ModelProto:
    """A model of one input, (name, type, shape), and the result y of a shape."""
    graph = helper.make_graph(
        nodes, "g", [helper.make_tensor_value_info(*given)], [helper.make_tensor_value_info("y", FLOAT, shape)],
        [numpy_helper.from_array(array, name) for name, array in stored.items()],
    )  # fmt: skip
    imports = [helper.make_opsetid("", 21), helper.make_opsetid(MS, 1)]
    return helper.make_model(graph, opset_imports=imports, ir_version=10)


def near(ours: np.ndarray, want: np.ndarray, most: float) -> None:
    assert ours.shape == want.shape
    assert np.linalg.norm(ours - want) <= most * np.linalg.norm(want)


@semantics
@partial_blocks
def test_matmul_of_blocks_of_which_the_last_is_shorter(k: int, block: int, semantics: str):
    count = -(-k // block)
    weight, scale = whole(0, 256, 8, count, block // 2).astype(np.uint8), normal(8 * count) ** 2
    options = {"K": k, "N": 8, "bits": 4, "block_size": block}
    node = helper.make_node("MatMulNBits", ["x", "weight", "scale"], ["y"], domain=MS, **options)
    model, feeds = of_nodes([node], ("x", FLOAT, [3, k]), [3, 8], weight=weight, scale=scale), {"x": normal(3, k)}
    (want,), (ours,) = in_onnxruntime(model, feeds), InferenceSession(model, semantics=semantics).run(None, feeds)
    near(ours, want, 1e-5 if semantics == "file" else 0.02)


@semantics
@partial_blocks
def test_dequantized_blocks_of_which_the_last_is_shorter(k: int, block: int, semantics: str):
    count = -(-k // block)
    arrays = {"q": whole(-128, 128, k, 8).astype(np.int8), "scale": normal(count, 8) ** 2,
              "zero": whole(-9, 10, count, 8).astype(np.int8)}  # fmt: skip
    nodes = [
        helper.make_node("DequantizeLinear", ["q", "scale", "zero"], ["w"], axis=0, block_size=block),
        helper.make_node("MatMul", ["x", "w"], ["y"]),
    ]
    model, feeds = of_nodes(nodes, ("x", FLOAT, [3, k]), [3, 8], **arrays), {"x": normal(3, k)}
    (want,) = ReferenceEvaluator(model).run(None, feeds)
    (ours,) = InferenceSession(model, semantics=semantics).run(None, feeds)
    near(ours, want, 1e-5 if semantics == "file" else 0.02)


def test_rows_of_blocks_of_which_the_last_is_shorter():
    ids = {"ids": np.array([1, 7])}
    options = {"gather_axis": 0, "quantize_axis": 1, "block_size": 128, "bits": 4}
    node = helper.make_node("GatherBlockQuantized", ["table", "ids", "scale"], ["y"], domain=MS, **options)
    model = of_nodes(
        [node], ("ids", INT64, [2]), [2, 192], table=whole(0, 256, 10, 96).astype(np.uint8), scale=normal(10, 2) ** 2
    )
    (want,), (ours,) = in_onnxruntime(model, ids), InferenceSession(model).run(None, ids)
    assert np.array_equal(ours, want)


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.int32])
@pytest.mark.parametrize("shape", [(), (1,), (2, 3)])
@pytest.mark.parametrize("scale", [F32(0.1), normal(10) ** 2])
def test_tables(dtype: type, shape: tuple[int, ...], scale: np.ndarray):
    """Their rows are the file's, bit for bit."""
    nodes = [helper.make_node("DequantizeLinear", ["q", "scale"], ["table"], axis=0),
             helper.make_node("Gather", ["table", "ids"], ["y"])]  # fmt: skip
    table = whole(0, np.iinfo(dtype).max if dtype != np.int32 else 1 << 24, 10, 8).astype(dtype)
    model = of_nodes(nodes, ("ids", INT64, list(shape)), [*shape, 8], q=table, scale=np.asarray(scale, F32))
    ids = {"ids": np.full(shape, 3)}
    (want,), (ours,) = in_onnxruntime(model, ids), InferenceSession(model).run(None, ids)
    assert ours.shape == want.shape and np.array_equal(ours, want)


@pytest.mark.parametrize("rows", [3, 4])
def test_c_of_a_value_for_each_row(rows: int):
    """It is no bias of the outputs, even where there are as many of these as rows."""
    nodes = [helper.make_node("DequantizeLinear", ["q", "scale"], ["w"]),
             helper.make_node("Gemm", ["x", "w", "c"], ["y"])]  # fmt: skip
    arrays = {"q": whole(-127, 128, 8, 3).astype(np.int8), "scale": np.array(0.01, F32), "c": 10 * normal(rows, 1)}
    model, feeds = of_nodes(nodes, ("x", FLOAT, [rows, 8]), [rows, 3], **arrays), {"x": normal(rows, 8)}
    (want,), (ours,) = in_onnxruntime(model, feeds), InferenceSession(model).run(None, feeds)
    near(ours, want, 0.02)


@pytest.mark.parametrize("shape", [[0, 4], [0, -1], [-1, 4], [8, 4], [2, 4, 4], [2, 0, 4]])
def test_rows_behind_a_reshape(shape: list[int]):
    nodes = [
        helper.make_node("DequantizeLinear", ["q", "scale"], ["rows"], axis=0),
        helper.make_node("Reshape", ["rows", "to"], ["w"]), helper.make_node("MatMul", ["x", "w"], ["y"]),
    ]  # fmt: skip
    arrays = {"q": whole(-127, 128, 8, 4).astype(np.int8), "scale": normal(8) ** 2}
    x = normal(3, 8 if len(shape) == 2 else 4)
    given, feeds = ("x", FLOAT, list(x.shape)), {"x": x}
    model = of_nodes(nodes, given, [None] * len(shape), **arrays, to=np.array(shape))
    (want,), (ours,) = in_onnxruntime(model, feeds), InferenceSession(model).run(None, feeds)
    near(ours, want, 0.02)
