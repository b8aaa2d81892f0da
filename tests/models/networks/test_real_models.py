"""quantize on models that others trained and exported; they come out of wheels on the package index (MODELS)."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np
import onnx
import onnx_ir as ir
import pytest
from onnx import numpy_helper
from onnx_models import in_onnxruntime, in_reference
from three_ways import check_calls

from dynq_numba.graph.canonical import canonical
from dynq_numba.graph.optimise import optimise
from dynq_numba.kernels.linear.reference import linear as meaning
from dynq_numba.onnx import quantize
from examples.fetch import ASSETS, FetchError, fetch

RNG = np.random.default_rng(0)
STATE, RATE = np.zeros((2, 1, 128), np.float32), np.array(16000)
SOUND = (RNG.standard_normal((1, 576)) / 10).astype(np.float32)
ZEROS = np.zeros((1, 1, 128), np.float32)
#: File, feeds, weights quantized of all by default, with conv=True too, and the most that 1 - cosine may be.
MODELS = {
    "rapidocr": (0, {"x": RNG.standard_normal((1, 3, 48, 320)).astype(np.float32)}, (9, 31), 1e-3),
    "magika": (0, {"bytes": RNG.integers(0, 256, (1, 2048)).astype(np.int32)}, (2, 3), 1e-3),
    "sequence": (0, {"input": SOUND.repeat(8, 0), "h": ZEROS, "c": ZEROS}, (2, 7), 2e-3),
    "nested If": (1, {"input": SOUND, "state": STATE, "sr": RATE}, (8, 18), 1e-3),
    "opset 15": (2, {"input": SOUND, "state": STATE, "sr": RATE}, (4, 9), 1e-3),
    "half": (3, {"input": SOUND, "state": STATE}, (4, 9), 1e-3),
    "cell as Gemm": (4, {"input": SOUND, "sr": RATE, "state": STATE}, (4, 14), 1e-3),
    "weights computed": (5, {"input": SOUND, "state": STATE}, (2, 7), 1e-3),
}  # fmt: skip


def path_of(name: str) -> Path:
    asset = name if name in ASSETS else "silero"
    try:
        return fetch(asset) / Path(ASSETS[asset].members[MODELS[name][0]]).name
    except FetchError as error:
        pytest.skip(f"{asset} cannot be fetched: {error}")


@pytest.mark.parametrize("name", MODELS)
def test_a_model_of_others(name):
    _, feeds, (by_default, with_conv), loss = MODELS[name]
    source = onnx.load(path_of(name))
    want = in_onnxruntime(source, feeds)
    for conv, count in ((False, by_default), (True, with_conv)):
        receipt = quantize(path_of(name), conv=conv)
        made = ir.to_proto(receipt.model)
        onnx.checker.check_model(made, full_check=True)
        assert len(receipt.quantized) == count and all(entry.reason for entry in receipt.kept)
        assert all(entry.error < 0.05 for entry in receipt.quantized)
        if not conv:
            got = in_onnxruntime(made, feeds)
            assert [array.shape for array in got] == [array.shape for array in want]
            a, b = (np.concatenate([np.float64(array).ravel() for array in arrays]) for arrays in (want, got))
            assert 0 < 1 - a @ b / np.sqrt((a @ a) * (b @ b)) < loss


#: Of the float models: feeds, and the functions that fusion finds.
FUSED = {
    "rapidocr": ({"x": RNG.standard_normal((1, 3, 48, 32)).astype(np.float32)}, {
        "FloatConv": 31, "FloatConv_silu": 5, "FloatConv_relu": 2, "LayerNorm": 5, "FloatLinear": 3,
        "FloatLinear_residual": 4, "FloatLinear_silu": 2, "Attention": 2,
    }),
    "sequence": (MODELS["sequence"][1], {"FloatConv": 1, "FloatConv_relu": 4, "FloatConv_sigmoid": 1}),
    "half": (MODELS["half"][1], {"FloatConv": 1, "FloatConv_relu": 4, "FloatConv_sigmoid": 1}),
}  # fmt: skip


@pytest.mark.parametrize("name", FUSED)
def test_what_fusion_makes_of_it(name):
    feeds, functions = FUSED[name]
    model, _ = canonical(ir.load(path_of(name)))
    source = ir.to_proto(model)
    optimise(model)
    assert Counter(check_calls(source, model, feeds)) == functions


# onnx.reference stops in magika, also in its source: a Squeeze of an axis that is not there.
@pytest.mark.parametrize(
    "name,run", [("rapidocr", in_onnxruntime), ("rapidocr", in_reference), ("magika", in_onnxruntime)]
)
def test_linears_of_an_artifact_have_our_bits_given_equal_inputs(name, run):
    made = ir.to_proto(quantize(path_of(name)).model)
    weights = {tensor.name: numpy_helper.to_array(tensor) for tensor in made.graph.initializer}
    calls = [node for node in made.graph.node if node.domain == "dynq"]
    del made.graph.output[:]
    for value in dict.fromkeys(name for node in calls for name in (node.input[0], node.output[0])):
        made.graph.output.append(onnx.helper.make_tensor_value_info(value, onnx.TensorProto.FLOAT, None))
    names = [output.name for output in made.graph.output]
    values = dict(zip(names, run(made, MODELS[name][1]), strict=True))
    assert len(calls) == MODELS[name][2][0]
    for node in calls:
        _, weight, scale, _, bias = node.input
        integers = (weights[weight] ^ 128).view(np.int8).T
        x, y = values[node.input[0]], values[node.output[0]]
        want = meaning(x.reshape(-1, x.shape[-1]), integers, weights[scale][:, None], weights[bias])
        assert np.array_equal(y, want.reshape(y.shape)) and np.abs(y).max() > 0
