"""Quantized operators of ONNX Runtime's own domain (graph/expand/qlinear.py), each beside ONNX Runtime."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from foreign_models import MS, normal
from onnx import helper, numpy_helper
from onnx_models import in_onnxruntime

from dynq_numba.graph.expand.qlinear import EXPANSIONS
from dynq_numba.onnx import InferenceSession

F32 = np.float32


def whole(*shape: int, dtype: type = np.uint8, seed: int = 0) -> np.ndarray:
    limits = np.iinfo(dtype)
    return np.random.default_rng(seed).integers(limits.min, limits.max + 1, shape).astype(dtype)


def point(value: int, dtype: type = np.uint8) -> np.ndarray:
    return np.array(value, dtype)


X, W, S8 = whole(3, 4, 5), whole(5, 7, seed=1), np.int8
A, B, Y = [whole(3, 4), F32(0.0213), point(120)], [whole(3, 4, seed=1), F32(0.0317), point(7)], [F32(0.0411), point(99)]
#: Name: operator, inputs (None is left out; arrays of more than one axis but the first are weights), attributes.
CASES: dict[str, tuple[str, list, dict]] = {
    "QLinearAdd": ("QLinearAdd", [*A, *B, *Y], {}),
    "QLinearAdd, int8": ("QLinearAdd", [whole(3, 4, dtype=S8), F32(0.02), point(-3, S8), whole(4, dtype=S8), F32(0.1),
        point(5, S8), F32(0.05), point(1, S8)], {}),
    "QLinearMul": ("QLinearMul", [*A, *B, *Y], {}),
    "QLinearSigmoid": ("QLinearSigmoid", [*A, F32(1 / 256), point(0)], {}),
    "QLinearLeakyRelu": ("QLinearLeakyRelu", [*A, *Y], {"alpha": 0.25}),
    "QLinearSoftmax": ("QLinearSoftmax", [*A, F32(1 / 256), point(0)], {"opset": 13, "axis": -1}),
    "QLinearAveragePool": ("QLinearAveragePool", [whole(1, 2, 6, 6), F32(0.0213), point(120), *Y],
        {"kernel_shape": [2, 3], "strides": [2, 1], "pads": [0, 1, 0, 1]}),
    "QLinearGlobalAveragePool": ("QLinearGlobalAveragePool", [whole(1, 2, 6, 6), F32(0.0213), point(120), *Y], {}),
    "QLinearConcat": ("QLinearConcat", [*Y, *A, *B], {"axis": 1}),
    "QLinearWhere": ("QLinearWhere", [np.array([[True], [False], [True]]), *A, *B, *Y], {}),
    "QGemm": ("QGemm", [whole(3, 5), F32(0.02), point(120), W, F32(0.03), point(130), whole(7, dtype=np.int32) >> 20,
        F32(0.5), point(90)], {}),
    "QGemm to floats": ("QGemm", [whole(3, 5), F32(0.02), point(120), W.T.copy(), F32(0.03), point(130), None, None,
        None], {"transB": 1}),
    "DynamicQuantizeMatMul": ("DynamicQuantizeMatMul", [normal(3, 4, 5), W, F32(0.03), point(130), normal(7)], {}),
    "DynamicQuantizeMatMul, per channel": ("DynamicQuantizeMatMul", [normal(3, 4, 5), whole(5, 7, dtype=S8),
        normal(7) ** 2, np.zeros(7, S8)], {}),
    "MatMulIntegerToFloat": ("MatMulIntegerToFloat", [X, W, F32(0.02), F32(0.03), point(120), point(130), normal(7)],
        {}),
    "QAttention": ("QAttention", [whole(1, 5, 16), whole(16, 48, seed=1), normal(48), F32(0.0213), F32(0.0117), None,
        point(120), point(130)], {"num_heads": 2}),
    "QAttention, a mask": ("QAttention", [whole(2, 5, 16), whole(16, 48, seed=1, dtype=S8), normal(48), F32(0.0213),
        F32(0.0117), np.array([5, 3], np.int32), point(120), point(0, S8)], {"num_heads": 4}),
    "QEmbedLayerNormalization": ("QEmbedLayerNormalization", [np.array([[1, 5, 3]], np.int32),
        np.array([[0, 1, 1]], np.int32), whole(9, 16), whole(7, 16, seed=1), whole(2, 16, seed=2), whole(16),
        whole(16, seed=3), None, F32(0.02), F32(0.03), F32(0.011), F32(0.013), F32(0.017), *[point(100)] * 5],
        {"epsilon": 1e-5}),
    "DequantizeLinear": ("DequantizeLinear", [whole(3, 4, dtype=np.uint16), F32(0.02), point(33000, np.uint16)], {}),
    "QuantizeLinear": ("QuantizeLinear", [normal(3, 4), F32(1e-4), point(33000, np.uint16)], {}),
}  # fmt: skip
#: Axes of results that are no matrices.
RANKS = {
    "QAttention": 3, "QEmbedLayerNormalization": 3, "DynamicQuantizeMatMul": 3, "MatMulIntegerToFloat": 3,
    "QLinearAveragePool": 4, "QLinearGlobalAveragePool": 4,
}  # fmt: skip


def of_one_node(kind: str, inputs: list, attributes: dict) -> tuple[onnx.ModelProto, dict[str, np.ndarray]]:
    """A model of the node; its first input that is no scalar is the model's, the others are constant."""
    names = ["" if each is None else f"x{i}" for i, each in enumerate(inputs)]
    arrays = {name: np.asarray(each) for name, each in zip(names, inputs, strict=True) if name}
    first = next(name for name, array in arrays.items() if array.ndim > 1)
    more = ["counts"] if kind == "QEmbedLayerNormalization" else []
    node = helper.make_node(kind, names, ["y", *more], domain=MS, **attributes)
    given, made = arrays[first].dtype, np.dtype(F32)
    if kind.startswith("QLinear") or kind == "QuantizeLinear" or (kind == "QGemm" and names[-1]):
        (made,) = {array.dtype for array in arrays.values() if array.ndim == 0 and array.dtype.kind in "iu"}
    value = helper.make_tensor_value_info(first, helper.np_dtype_to_tensor_dtype(given), arrays[first].shape)
    result = helper.make_tensor_value_info("y", helper.np_dtype_to_tensor_dtype(made), [None] * RANKS.get(kind, 2))
    stored = [numpy_helper.from_array(array, name) for name, array in arrays.items() if name != first]
    graph = helper.make_graph([node], "g", [value], [result], stored)
    imports = [helper.make_opsetid("", 17), helper.make_opsetid(MS, 1)]
    return helper.make_model(graph, opset_imports=imports, ir_version=8), {first: arrays[first]}


@pytest.mark.parametrize("case", CASES)
def test_a_node_as_it_is_written(case: str):
    model, feeds = of_one_node(*CASES[case])
    (want,), (ours,) = in_onnxruntime(model, feeds), InferenceSession(model, semantics="file").run(None, feeds)
    assert ours.dtype == want.dtype and ours.shape == want.shape
    if want.dtype == F32:
        assert np.abs(ours - want).max() <= 2.0**-20 * np.abs(want).max()
    else:  # just between two integers a sum in another order falls on the other side
        assert np.abs(ours.astype(int) - want.astype(int)).max() <= 1
        assert (ours != want).mean() <= 0.05


@pytest.mark.parametrize("case", CASES)
def test_a_node_row_by_row(case: str):
    """As near as the file: integers that a caller gives stay what they are."""
    model, feeds = of_one_node(*CASES[case])
    session = InferenceSession(model)
    (want,), (ours,) = in_onnxruntime(model, feeds), session.run(None, feeds)
    python = [step.kernel for step in session.report() if step.kind == "python"]
    assert python == (["python MatMulInteger"] if case == "MatMulIntegerToFloat" else [])
    if want.dtype == F32:
        assert np.linalg.norm(ours - want) <= 0.01 * np.linalg.norm(want)
    else:
        assert np.abs(ours.astype(int) - want.astype(int)).max() <= 1


def test_every_operator_has_a_case():
    assert {f"{MS}.{kind}" for kind, *_ in CASES.values()} == set(EXPANSIONS)
