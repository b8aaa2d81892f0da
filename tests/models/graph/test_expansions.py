"""Operators that are expanded (graph/expand/): the bodies give what ONNX Runtime gives for the node.

Files are those of ONNX Runtime's own optimizer (tests/programs/export_spellings.py wrote them); cases are of one node.
"""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np
import onnx
import onnx_ir as ir
import pytest
from onnx import TensorProto, helper, numpy_helper
from onnx_models import in_float64, in_onnxruntime, in_reference
from three_ways import check_calls

import dynq_numba as dq
from dynq_numba.graph import quantizer
from dynq_numba.graph.canonical import canonical
from dynq_numba.graph.expand import EXPANSIONS, group_query, qlinear
from dynq_numba.graph.optimise import optimise
from dynq_numba.onnx import InferenceSession, quantize

RNG = np.random.default_rng(0)
F32 = np.float32


def floats(*shape: int) -> np.ndarray:
    return RNG.standard_normal(shape).astype(F32)


MS = "com.microsoft"
X, SKIP, TRIPLE = floats(2, 5, 16), floats(2, 5, 16), floats(2, 6, 16)
W, B = floats(16), floats(16)
IDS = np.array([[0, 3, 7, 1, 2], [5, 5, 0, 4, 9]], np.int32)
SEEN = np.array([[1, 1, 1, 1, 1], [1, 1, 1, 0, 0]], np.int32)
COS, SIN = floats(12, 4), floats(12, 4)
PAST = floats(2, 2, 3, 8)
#: Name: operator, inputs ("" is left out; what is an array is an input), number of results, attributes.
CASES: dict[str, tuple[str, list, int, dict]] = {
    "Gelu": ("Gelu", [X], 1, {}),
    "BiasGelu": ("BiasGelu", [X, B], 1, {}),
    "FastGelu": ("FastGelu", [X], 1, {}),
    "FastGelu with a bias": ("FastGelu", [X, B], 1, {}),
    "QuickGelu": ("QuickGelu", [X], 1, {"alpha": 1.5}),
    "SkipLayerNormalization": ("SkipLayerNormalization", [X, SKIP, W, B], 1, {"epsilon": 1e-5}),
    "with a bias and the sum": ("SkipLayerNormalization", [X, SKIP, W, B, W], 4, {}),
    "without beta": ("SkipLayerNormalization", [X, SKIP, W], 1, {}),
    "SkipSimplifiedLayerNormalization": ("SkipSimplifiedLayerNormalization", [X, SKIP, W], 4, {"epsilon": 1e-6}),
    "a bias": ("SkipSimplifiedLayerNormalization", [X, SKIP, W, B], 1, {"epsilon": 1e-6}),
    "EmbedLayerNormalization": ("EmbedLayerNormalization",
        [IDS, IDS % 2, floats(10, 16), floats(7, 16), floats(2, 16), W, B], 2, {"epsilon": 1e-12}),
    "without segments, with a mask and the sum": ("EmbedLayerNormalization",
        [IDS, "", floats(10, 16), floats(7, 16), "", W, B, SEEN], 3, {"epsilon": 1e-12}),
    "positions": ("EmbedLayerNormalization",
        [IDS, "", floats(10, 16), floats(7, 16), "", W, B, "", IDS % 7], 2, {"epsilon": 1e-12}),
    "FusedMatMul": ("FusedMatMul", [X, floats(2, 7, 16)], 1, {"transB": 1, "alpha": 0.25}),
    "FusedMatMul of the left": ("FusedMatMul", [X, SKIP], 1, {"transA": 1}),
    "FusedGemm": ("FusedGemm", [floats(5, 16), floats(16, 7), floats(7)], 1, {"activation": "Relu", "beta": 0.5}),
    "FusedGemm, leaky": ("FusedGemm", [floats(5, 16), floats(7, 16), floats(7)], 1,
        {"activation": "LeakyRelu", "activation_alpha": 0.25, "transB": 1}),
    "FusedConv": ("FusedConv", [floats(1, 3, 8, 9), floats(4, 3, 3, 3), floats(4)], 1,
        {"activation": "Relu", "pads": [1, 1, 1, 1], "strides": [2, 1]}),
    "FusedConv, a sum": ("FusedConv", [floats(1, 3, 8, 9), floats(3, 3, 1, 1), floats(3), floats(1, 3, 8, 9)], 1,
        {"activation": "Relu", "kernel_shape": [1, 1]}),
    "FusedConv, clipped": ("FusedConv", [floats(1, 3, 8, 9), floats(4, 1, 3, 3)[:3], floats(3)], 1,
        {"activation": "Clip", "activation_params": [-0.5, 1.5], "group": 3}),
    "Attention": ("Attention", [X, floats(16, 48), floats(48)], 1, {"num_heads": 2}),
    "Attention, a mask": ("Attention", [X, floats(16, 48), floats(48), SEEN], 1, {"num_heads": 2}),
    "Attention, lengths": ("Attention", [X, floats(16, 48), floats(48), np.array([5, 3], np.int32)], 1,
        {"num_heads": 2}),
    "Attention, a mask of each row": ("Attention", [X, floats(16, 48), floats(48), np.stack([SEEN] * 5, 1)], 1,
        {"num_heads": 2, "mask_filter_value": -1e30}),
    "Attention, causal": ("Attention", [X, floats(16, 48), floats(48)], 1,
        {"num_heads": 4, "unidirectional": 1, "scale": 0.3}),
    "Attention, causal with a mask": ("Attention", [X, floats(16, 48), floats(48), SEEN], 1,
        {"num_heads": 4, "unidirectional": 1}),
    "Attention, a bias": ("Attention", [X, floats(16, 48), "", "", "", floats(2, 2, 5, 5)], 1, {"num_heads": 2}),
    "Attention, another length of v": ("Attention", [X, floats(16, 40), floats(40)], 1,
        {"num_heads": 2, "qkv_hidden_sizes": [16, 16, 8]}),
    "Attention, a cache": ("Attention", [X, floats(16, 48), floats(48), "", np.stack([PAST, PAST])], 2,
        {"num_heads": 2, "unidirectional": 1}),
    "MultiHeadAttention": ("MultiHeadAttention", [X, TRIPLE, TRIPLE], 1, {"num_heads": 2}),
    "MultiHeadAttention, a bias": ("MultiHeadAttention", [X, TRIPLE, SKIP[:, [0, 1, 2, 3, 4, 4]], floats(48)], 1,
        {"num_heads": 4}),
    "MultiHeadAttention, a mask": ("MultiHeadAttention", [X, SKIP, X, "", SEEN], 1, {"num_heads": 2}),
    "MultiHeadAttention, a bias of scores": ("MultiHeadAttention",
        [X, TRIPLE, TRIPLE, "", "", floats(1, 2, 5, 6)], 1, {"num_heads": 2, "scale": 0.5}),
    "MultiHeadAttention, causal": ("MultiHeadAttention", [X, SKIP, X], 1, {"num_heads": 2, "unidirectional": 1}),
    "MultiHeadAttention, a cache": ("MultiHeadAttention", [X, SKIP, X, "", "", "", PAST, PAST], 3, {"num_heads": 2}),
    "MultiHeadAttention, keys with heads": ("MultiHeadAttention", [X, PAST, PAST], 1, {"num_heads": 2}),
    "RotaryEmbedding": ("RotaryEmbedding", [X, IDS.astype(np.int64), COS, SIN], 1, {}),
    "RotaryEmbedding, interleaved": ("RotaryEmbedding", [X, IDS.astype(np.int64), COS, SIN], 1, {"interleaved": 1}),
    "RotaryEmbedding, from a position": ("RotaryEmbedding", [X, np.array([6]), COS, SIN], 1, {}),
    "RotaryEmbedding, with heads": ("RotaryEmbedding", [floats(2, 3, 5, 8), IDS.astype(np.int64), COS, SIN], 1, {}),
    "RotaryEmbedding, a part": ("RotaryEmbedding", [X, np.array([6]), COS[:, :2], SIN[:, :2]], 1,
        {"num_heads": 2, "rotary_embedding_dim": 4}),
}  # fmt: skip


def of_one_node(kind: str, inputs: list, results: int, attributes: dict) -> tuple:
    """A model of one node of ONNX Runtime's, and its feeds; matrices and vectors of weights are initializers."""
    names = ["" if isinstance(each, str) else f"x{i}" for i, each in enumerate(inputs)]
    outputs = [f"y{i}" for i in range(results)]
    if kind.startswith("Skip") and results == 4:
        outputs[1:3] = ["", ""]
    node = helper.make_node(kind, names, outputs, domain=MS, **attributes)
    arrays = {name: each for name, each in zip(names, inputs, strict=True) if name}
    fixed = {
        name for name, each in arrays.items()
        if each.dtype == F32 and (each.ndim <= 2 or (kind == "FusedConv" and name == "x1"))
    }  # fmt: skip
    values = [
        helper.make_tensor_value_info(name, helper.np_dtype_to_tensor_dtype(each.dtype), each.shape)
        for name, each in arrays.items() if name not in fixed
    ]  # fmt: skip
    kinds = [TensorProto.INT32 if kind.startswith("Embed") and i == 1 else TensorProto.FLOAT for i in range(results)]
    results_ = [helper.make_tensor_value_info(name, kinds[i], ["a"] * 3) for i, name in enumerate(outputs) if name]
    stored = [numpy_helper.from_array(arrays[name], name) for name in sorted(fixed)]
    graph = helper.make_graph([node], "g", values, results_, stored)
    imports = [helper.make_opsetid("", 17), helper.make_opsetid(MS, 1)]
    model = helper.make_model(graph, opset_imports=imports, ir_version=8)
    return model, {name: each for name, each in arrays.items() if name not in fixed}


def agree(source: onnx.ModelProto, feeds: dict[str, np.ndarray], wanted: list[np.ndarray]) -> ir.Model:
    """The expanded model, after it has been compared.

    Its meaning in float64 is the truth. What is wanted was computed in float32 in another order; so it may be some
    times as far from the truth as numpy is in float32. A wrong body is off by the size of its results.
    """
    model, notes = canonical(ir.from_proto(source))
    assert notes == [] and all(node.domain == "" for node in model.graph)
    made = ir.to_proto(model)
    onnx.checker.check_model(made, full_check=True)
    session = InferenceSession(source)
    ran, plain, true = session.run(None, feeds), in_reference(made, feeds), in_float64(made, feeds)
    assert not any(step.kernel.startswith("python") for step in session.report())
    for want, ours, numpys, truth in zip(wanted, ran, plain, true, strict=True):
        error = 8 * np.abs(numpys - truth).max() + 8 * 2.0**-24 * np.abs(truth).max()
        for got in (want, ours):
            assert got.shape == truth.shape and got.dtype == numpys.dtype
            assert np.abs(got - truth).max() <= error
    return model


@pytest.mark.parametrize("case", CASES)
def test_a_node_of_onnx_runtime(case):
    source, feeds = of_one_node(*CASES[case])
    for value in source.graph.output:  # for ONNX Runtime, which knows better
        value.type.tensor_type.ClearField("shape")
    wanted = in_onnxruntime(source, feeds)
    for value, array in zip(source.graph.output, wanted, strict=True):
        value.CopyFrom(helper.make_tensor_value_info(value.name, value.type.tensor_type.elem_type, array.shape))
    agree(source, feeds, wanted)


FILES = Path(__file__).parents[1] / "files"
LAYER = "Attention_bias FloatLinear_residual LayerNorm FloatLinear_gelu FloatLinear_residual LayerNorm"
EMBEDDED, THREE = "LayerNorm_residual", "FloatLinear FloatLinear FloatLinear"
#: What each file is to become.
FUSED = {
    "bert": f"{EMBEDDED} FloatLinear {LAYER}",
    "bert_fast": f"{EMBEDDED} FloatLinear {LAYER}".replace("gelu", "gelu_tanh"),
    "bert_heads": f"{EMBEDDED} {THREE} {LAYER}", "session": f"{EMBEDDED} {THREE} {LAYER}",
    "conv": "FloatConv_relu FloatConv_silu", "distil": f"Attention_bias FloatLinear {THREE}",
}  # fmt: skip


@pytest.mark.parametrize("name", FUSED)
def test_a_file_of_onnx_runtimes_optimizer(name):
    source = onnx.load(FILES / f"runtime_{name}.onnx")
    feeds = {"input_ids": IDS.astype(np.int64), "attention_mask": SEEN.astype(np.int64), "token_type_ids": IDS % 2}
    feeds |= {"x": floats(2, 3, 8, 10) if name == "conv" else X, "mask": SEEN.astype(np.int64)}
    feeds = {each.name: feeds[each.name].astype(numpy_type(each)) for each in source.graph.input}
    assert any(node.domain == MS for node in source.graph.node)
    model = agree(source, feeds, in_onnxruntime(source, feeds))
    before = ir.to_proto(model)
    optimise(model)
    assert Counter(check_calls(before, model, feeds)) == Counter(FUSED[name].split())


def numpy_type(value: onnx.ValueInfoProto) -> np.dtype:
    return helper.tensor_dtype_to_np_dtype(value.type.tensor_type.elem_type)


def test_their_weights_are_quantized(monkeypatch):
    monkeypatch.setattr(quantizer, "LEAST", 1)
    receipt = quantize(FILES / "runtime_bert.onnx")
    kinds = Counter(entry.op_type for entry in receipt.entries if entry.bytes_after < entry.bytes_before)
    assert kinds == {"Gather": 2, "MatMul": 4} and len(receipt.entries) == 7


def test_an_operator_that_onnx_runtime_writes_without_its_domain(tmp_path):
    source, feeds = of_one_node("SimplifiedLayerNormalization", [X, W], 1, {"epsilon": 1e-6})
    source.graph.node[0].domain = ""
    source.graph.output[0].type.tensor_type.shape.CopyFrom(source.graph.input[0].type.tensor_type.shape)
    (tmp_path / "model.onnx").write_bytes(source.SerializeToString())
    wanted = in_onnxruntime(source, feeds)
    source.graph.node[0].domain = MS
    agree(source, feeds, wanted)
    ran = InferenceSession(tmp_path / "model.onnx").run(None, feeds)
    assert np.array_equal(ran[0], dq.rms_norm(X, W, eps=1e-6))


def test_every_operator_of_onnx_runtime_has_a_case():
    covered = {f"{MS}.{kind}" for kind, *_ in CASES.values()} | {f"{MS}.SimplifiedLayerNormalization"}
    elsewhere = {*qlinear.EXPANSIONS, *group_query.EXPANSIONS}  # test_foreign_nodes.py, test_group_query.py
    assert covered == {name for name in EXPANSIONS if name.startswith(MS)} - elsewhere


#: Why a node is not expanded.
STAYS = {
    "it has past_length": ("Attention", [X, floats(16, 48), "", "", "", "", np.array([1], np.int32)], 1,
        {"num_heads": 2}),
    "its attribute do_rotary is not known here": ("Attention", [X, floats(16, 48)], 1,
        {"num_heads": 2, "do_rotary": 1}),
    "its k and v are packed": ("MultiHeadAttention", [floats(2, 5, 2, 3, 8)], 1, {"num_heads": 2}),
    "it is causal, and it is not known that there are as many keys as rows": ("MultiHeadAttention",
        [X, TRIPLE, TRIPLE], 1, {"num_heads": 2, "unidirectional": 1}),
    "its mask has 4 axes": ("Attention", [X, floats(16, 48), "", np.ones((2, 1, 5, 5), np.int32)], 1,
        {"num_heads": 2}),
    "it has a scale": ("RotaryEmbedding", [X, np.array([6]), COS, SIN], 1, {"scale": 2.0}),
    "it has mean": ("SkipLayerNormalization", [X, SKIP, W, B], 2, {}),
    "its activation is Elu with []": ("FusedConv", [floats(1, 3, 8, 9), floats(4, 3, 3, 3)], 1, {"activation": "Elu"}),
    "it has more inputs or results than are known here": ("BiasGelu", [X, B, B], 1, {}),
}  # fmt: skip


@pytest.mark.parametrize("reason", STAYS)
def test_why_a_node_stays(reason):
    source, _ = of_one_node(*STAYS[reason])
    kind = STAYS[reason][0]
    with pytest.raises(ValueError, match=f"nothing here computes: {MS}.{kind}; .*{MS}.{kind}: ") as error:
        InferenceSession(source)
    assert reason in str(error.value)
