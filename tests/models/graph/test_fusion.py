"""optimise on what exporters write: each call that it makes agrees with the nodes it replaced and with our kernel.

The files are PyTorch's (tests/programs/export_spellings.py wrote them); the texts are how other exporters spell it.
"""

from __future__ import annotations

import re
from collections import Counter
from pathlib import Path

import numpy as np
import onnx
import onnx_ir as ir
import pytest
from onnx_models import in_onnxruntime, in_reference, parsed
from spellings import ATTENTION, BIAS, EXPORTED, LAYER, MEAN, SPELLINGS, STAYS, TRIANGLES, TURN
from three_ways import check_calls

import dynq_numba as dq
from dynq_numba.graph import quantizer
from dynq_numba.graph.canonical import canonical
from dynq_numba.graph.functions import Name, parse
from dynq_numba.graph.optimise import optimise
from dynq_numba.onnx import InferenceSession, quantize

FILES = Path(__file__).parents[1] / "files"
RNG = np.random.default_rng(0)
X = RNG.standard_normal((2, 5, 16)).astype(np.float32)
MASK = np.array([[1, 1, 1, 1, 1], [1, 1, 1, 0, 0]])
IDS = np.array([[0, 69, 7, -1, 70]])
_SHAPES_OF = {"conv": (2, 3, 8, 10), "keras": (2, 16, 16, 3), "jax": (2, 8, 8, 3)}
IMAGES = {by: RNG.standard_normal(shape).astype(np.float32) for by, shape in _SHAPES_OF.items()}


def optimised(source: onnx.ModelProto, feeds: dict[str, np.ndarray], **options) -> tuple[Counter, ir.Model, list]:
    """The functions that are called, the model, and the notes, after all comparisons."""
    model, _ = canonical(ir.from_proto(source))
    before = ir.to_proto(model)
    notes = optimise(model, **options)
    made = ir.to_proto(model)
    onnx.checker.check_model(made, full_check=True)
    for got, want in zip(in_onnxruntime(made, feeds), in_onnxruntime(source, feeds), strict=True):
        assert got.shape == want.shape and got.dtype == want.dtype
    return Counter(check_calls(before, model, feeds)), model, notes


def in_session(source: onnx.ModelProto, feeds: dict[str, np.ndarray]) -> list[np.ndarray]:
    return InferenceSession(source).run(None, feeds)


# -- files of exporters --------------------------------------------------------------------------


@pytest.mark.parametrize("name", EXPORTED)
def test_an_exported_file(name):
    source = onnx.load(FILES / f"{name}.onnx")
    first, *rest = source.graph.input
    feeds = {each.name: MASK if "rms" not in name else X[::-1] for each in rest}
    feeds[first.name] = X if "conv" not in name else IMAGES[name.partition("_")[0]]
    if name == "keras_gru":  # onnx.reference gathers the results of a Loop in another shape
        assert np.allclose(*(run(source, feeds)[0] for run in (in_onnxruntime, in_session)), rtol=0, atol=2.0**-20)
    else:
        assert optimised(source, feeds)[0] == Counter(EXPORTED[name].split())


@pytest.mark.parametrize("name", ["bert_13", "bert_17", "bert_dynamo"])
def test_around_quantized_layers(name, monkeypatch):
    monkeypatch.setattr(quantizer, "LEAST", 1)
    made = ir.to_proto(quantize(FILES / f"{name}.onnx").model)
    functions, _, _ = optimised(made, {"x": X, "mask": MASK}, attention_bits=8)
    assert functions == Counter(LAYER.replace("FloatLinear", "Linear").replace("_bias", "_bias_8").split())


# -- spellings in text --------------------------------------------------------------------------
F32 = np.float32
WEIGHTS = {
    "w": RNG.standard_normal(16).astype(F32), "b": RNG.standard_normal(16).astype(F32),
    "last": np.array([-1]), "second": np.array([2]), "eps": F32(1e-5).reshape(()), "tiny": F32(1e-6).reshape(1),
    "zero": F32(0).reshape(()), "half": F32(0.5).reshape(()), "one": F32(1).reshape(()), "two": F32(2).reshape(()),
    "three": F32(3).reshape(()), "root2": F32(2**0.5).reshape(()), "half_root": F32(0.5**0.5).reshape(()),
    "share": F32(0.044715).reshape(()), "c": F32((2 / np.pi) ** 0.5).reshape(()), "k": F32(1 / 16).reshape(()),
    "quick": F32(1.702).reshape(()), "w1": RNG.standard_normal((16, 16)).astype(F32),
    "channels": RNG.standard_normal((16, 1, 1)).astype(F32),
    "w4": RNG.standard_normal((16, 16, 1, 1)).astype(F32),
}  # fmt: skip


@pytest.mark.parametrize("case", SPELLINGS)
def test_a_spelling(case):
    names, body = SPELLINGS[case]
    source = parsed("float[n, t, 16] x", "float[n, t, 16] y", body, **WEIGHTS)
    functions, model, _ = optimised(source, {"x": X})
    assert functions == Counter(names.split())
    around = {"a sum before, used twice": 3, "a convolution and a residual": 4,
              "a convolution, scaled and shifted": 4}.get(case, 0)
    assert len(list(model.graph)) == len(names.split()) + around


def test_a_quantized_convolution_takes_scales_and_shifts():
    """The integers stay; each of both ways rounds at most twelve times."""
    parameters = {name: RNG.uniform(0.5, 2, 12).astype(F32) for name in ("scale", "beta", "mean", "variance")}
    given = {"w": RNG.standard_normal((12, 16, 3, 3)).astype(F32), "b": RNG.standard_normal(12).astype(F32),
             "two": F32(-2).reshape(()), "each": RNG.standard_normal((12, 1, 1)).astype(F32), **parameters}  # fmt: skip
    body = ("c = Conv <pads = [1, 1, 1, 1]> (x, w, b) m = Mul (two, c) s = Sub (each, m) "
            "n = BatchNormalization (s, scale, beta, mean, variance) y = Relu (n)")  # fmt: skip
    source = parsed("float[n, 16, 5, 9] x", "float[n, 12, 5, 9] y", body, **given)
    made = ir.to_proto(quantize(source, conv=True).model)
    model = canonical(ir.from_proto(made))[0]
    optimise(model)
    (node,) = list(model.graph)
    assert re.fullmatch("Conv_[0-9a-f]{8}_relu", node.op_type)
    feeds = {"x": RNG.standard_normal((2, 16, 5, 9)).astype(F32)}
    got, want = (in_reference(each, feeds)[0] for each in (ir.to_proto(model), made))
    sums = np.abs(dq.conv(feeds["x"], dq.pack_conv(given["w"], padding=1)))
    g, b, each, beta, mean = (np.abs(each).reshape(-1, 1, 1).astype(np.float64) for each in (
        parameters["scale"] / np.sqrt(parameters["variance"] + 1e-5), *(given[n] for n in ("b", "each", "beta", "mean"))
    ))  # fmt: skip
    most = (2 * (sums + b) + each + mean) * g + beta
    assert (np.abs(got - want) <= 24 * 2.0**-24 * most).all() and (got > 0).any()
    assert np.array_equal(dq.onnx.InferenceSession(made).run(None, feeds)[0], got)


QKV = "float[n, 2, t, 8] q, float[n, 2, u, 8] k, float[n, 2, u, 4] v, {} bias"
_SHAPES = {"q": (2, 2, 5, 8), "k": (2, 2, 6, 8), "v": (2, 2, 6, 4)}
QKV_FEEDS = {name: RNG.standard_normal(shape).astype(F32) for name, shape in _SHAPES.items()}
_NUMBERS = {
    "s": F32(8**-0.5).reshape(()), "s4": F32(8**-0.25).reshape(()), "r": F32(8**0.5).reshape(()),
    "zero": F32(0).reshape(()), "never": F32(-np.inf).reshape(()), "least": np.finfo(F32).min.reshape(()),
}  # fmt: skip


@pytest.mark.parametrize("case", ATTENTION)
def test_attention_in_a_spelling(case):
    names, body = ATTENTION[case]
    boolean = "Where" in body
    seen = RNG.random((2, 1, 5, 6)) < 0.7
    seen[:, :, :, 0] = True
    bias = seen if boolean else RNG.standard_normal((2, 1, 1, 6)).astype(F32)
    inputs = QKV.format("bool[n, 1, t, u]" if boolean else "float[n, 1, 1, u]")
    source = parsed(inputs, "float[n, 2, t, 4] y", body, **_NUMBERS)
    functions, _, _ = optimised(source, {**QKV_FEEDS, "bias": bias})
    assert functions == Counter([names])


_PLACES = (
    "rows = Shape <start = 2, end = 3> (q) keys = Shape <start = 2, end = 3> (k) r1 = Squeeze (rows, front) "
    "k1 = Squeeze (keys, front) i = Range (from, r1, by) row = Unsqueeze (i, beside) key = Range (from, k1, by) "
)
_ENDS = {
    "front": np.array([0]), "beside": np.array([1]), "from": np.array(0), "by": np.array(1), "three": np.array([3]),
    "forty": np.array([40]),
    "square": np.tril(np.ones((7, 7), bool)), "holes": np.tril(np.ones((7, 7), bool)) & ~np.eye(7, k=-5, dtype=bool),
}  # fmt: skip


@pytest.mark.parametrize("keys", [5, 6, 4])
@pytest.mark.parametrize("case", TRIANGLES)
def test_a_triangle(case, keys):
    flag, mask = TRIANGLES[case]
    body = f"ends = Concat <axis = 0> (rows, keys) {mask} {TURN} m = MatMul (q, kt) z = Where (seen, m, never) " + (
        "a = Softmax (z) i2 = IsNaN (a) p2 = Where (i2, zero, a) y = MatMul (p2, v)"
    )
    numbers = {**_NUMBERS, **_ENDS, "both": np.array([0, 0])}
    source = parsed(QKV.split(", {}")[0], "float[n, 2, t, 4] y", _PLACES + body, **numbers)
    feeds = {"q": QKV_FEEDS["q"], **{name: QKV_FEEDS[name][:, :, :keys] for name in "kv"}}
    functions, _, _ = optimised(source, feeds)
    assert functions == Counter([f"Attention_{flag}"])
    session = InferenceSession(source)
    got = session.run(None, feeds)[0]
    if "bias" not in flag:
        alike = {"causal": True, "topleft": "top_left"}[flag]
        assert np.array_equal(got, dq.attention(**feeds, scale=1.0, causal=alike))
    assert not any(step.kernel.startswith("python") for step in session.report())


@pytest.mark.parametrize("lengths", [[6, 3], [0, 9]])
@pytest.mark.parametrize("hidden", ["never", "least"])
def test_how_many_keys_a_batch_has(lengths, hidden):
    body = _PLACES + f"few = Unsqueeze (lengths, others) seen = Less (key, few) {TURN} m = MatMul (q, kt) " + (
        f"z = Where (seen, m, {hidden}) w = Softmax (z) nan = IsNaN (w) p = Where (nan, zero, w) y = MatMul (p, v)"
    )
    numbers = {**_NUMBERS, **_ENDS, "others": np.array([1, 2, 3])}
    source = parsed(f"{QKV.split(', {}')[0]}, int64[n] lengths", "float[n, 2, t, 4] y", body, **numbers)
    feeds = {**QKV_FEEDS, "lengths": np.array(lengths)}
    if hidden == "least":  # where there is no key, all count: it is no length
        model = canonical(ir.from_proto(source))[0]
        optimise(model)
        assert [node.op_type for node in model.graph if node.domain == "dynq"] == ["Attention_bias"]
        return
    assert optimised(source, feeds)[0] == Counter(["Attention_lengths"])
    session = InferenceSession(source)
    got = session.run(None, feeds)[0]
    assert np.array_equal(got, dq.attention(**QKV_FEEDS, scale=1.0, key_lengths=np.clip(lengths, 0, 6)))
    assert not any(step.kernel.startswith("python") for step in session.report())


def test_keys_that_come_transposed():
    body = "kt = Transpose <perm = [0, 2, 3, 1]> (k) z = MatMul (q, kt) p = Softmax (z) y = MatMul (p, v)"
    source = parsed("float[n, 2, t, 8] q, float[n, u, 2, 8] k, float[n, 2, u, 4] v", "float[n, 2, t, 4] y", body)
    feeds = {**QKV_FEEDS, "k": np.ascontiguousarray(QKV_FEEDS["k"].swapaxes(1, 2))}
    functions, model, _ = optimised(source, feeds)
    assert functions == Counter(["Attention"])
    assert [list(node.attributes.get_ints("perm", ())) for node in model.graph] == [[0, 2, 1, 3], []]


def test_attention_without_a_batch_and_in_eight_bits():
    body = "kt = Transpose <perm = [0, 2, 1]> (k) z = MatMul (q, kt) p = Softmax (z) y = MatMul (p, v)"
    source = parsed("float[2, t, 8] q, float[2, u, 8] k, float[2, u, 4] v", "float[2, t, 4] y", body)
    feeds = {name: array[0] for name, array in QKV_FEEDS.items()}
    assert optimised(source, feeds)[0] == Counter(["Attention_3d"])
    model = canonical(ir.from_proto(source))[0]
    optimise(model, attention_bits=8)
    assert [node.op_type for node in model.graph] == ["Attention_3d_8"]
    with pytest.raises(ValueError, match="attention_bits must be 8 or 32; got 4"):
        optimise(model, attention_bits=4)


def test_a_row_that_sees_no_key_is_zeros_in_the_body_too():
    source = parsed(QKV.format("bool[n, 1, t, u]"), "float[n, 2, t, 4] y", ATTENTION["NaN to 0"][1], **_NUMBERS)
    bias = np.ones((2, 1, 5, 6), bool)
    bias[1, 0, 2] = False
    assert optimised(source, {**QKV_FEEDS, "bias": bias})[0] == Counter([BIAS])


@pytest.mark.parametrize("shape", ["n, t, 16", "2, 5, 16"])
def test_a_softmax_of_an_old_opset(shape):
    """onnx raises it as Flatten, Softmax, Reshape."""
    source = parsed(f"float[{shape}] x", f"float[{shape}] y", "y = Softmax <axis = 2> (x)", opset=11)
    _, model, _ = optimised(source, {"x": X})
    assert [node.op_type for node in model.graph] == ["Softmax"]
    assert np.array_equal(*(in_reference(each, {"x": X})[0] for each in (ir.to_proto(model), source)))


@pytest.mark.parametrize("quantized", [False, True])
def test_a_linear_of_one_hot_rows_is_a_lookup_with_the_same_bits(quantized):
    body = "u = Unsqueeze (ids, last) e = Equal (u, numbers) x = Cast <to = 1> (e) p = MatMul (x, table) y = Add (p, b)"
    more = {"numbers": np.arange(70).reshape(1, 1, 70), "table": RNG.standard_normal((70, 16)).astype(F32)}
    source = parsed("int64[n, t] ids", "float[n, t, 16] y", body, **WEIGHTS, **more)
    if quantized:
        source = ir.to_proto(quantize(source).model)
    functions, model, _ = optimised(source, {"ids": IDS})
    assert not functions and not model.functions and not any(node.op_type == "MatMul" for node in model.graph)
    got, want = (in_reference(each, {"ids": IDS})[0] for each in (ir.to_proto(model), source))
    assert np.array_equal(got, want) and np.array_equal(got[0, 3:], np.stack([got[0, 4]] * 2))




@pytest.mark.parametrize("case", STAYS)
def test_why_a_node_stays(case):
    body, name, reason = STAYS[case]
    more = {"first": np.array([1]), "on": np.array(True)}
    source = parsed("float[n, 16, 16] x, float[n, 16, 16] x2", "float[n, p, q] y", body, **WEIGHTS, **more)
    x = RNG.standard_normal((2, 16, 16)).astype(F32)
    if case != "training":
        _, _, notes = optimised(source, {"x": x, "x2": x})
    else:
        notes = optimise(canonical(ir.from_proto(source))[0])
    reasons = [note.reason for note in notes if note.node == name and note.reason]
    assert any(reason in each for each in reasons), notes


@pytest.mark.parametrize("text", ["Linear", "Linear_gelu_tanh_residual", "LayerNorm_residual", "Conv_0123abcd_silu"])
def test_names_of_functions(text):
    assert str(parse(text)) == text
    assert parse("LinearGroup32_gelu_residual") == Name("LinearGroup32", "gelu", True)


def test_constants_that_cannot_be_computed():
    body = "joined = Concat <axis = 5> (w1, w1) y = MatMul (x, joined)"
    source = parsed("float[n, t, 16] x", "float[n, t, 16] y", body, **WEIGHTS)
    with pytest.raises(ValueError, match=r"Concat joined cannot be computed: .*"):
        optimise(ir.from_proto(source))


@pytest.mark.parametrize("body,reason", [
    ("f = Conv (x, w4) y = BatchNormalization (f, w, b, w, wide)", "its parameters have different lengths"),
    ("f = Conv (x, w4) y = BatchNormalization (f, wide, wide, wide, wide)", "a number for each of 16 channels"),
    (MEAN + "h = Mul (d, w) s = Mul (h, wide) v = ReduceMean (s, last) e = Add (v, eps) q = Sqrt (e) y = Div (d, q)",
     "no layer or RMS norm over the last axis"),
])  # fmt: skip
def test_shapes_that_contradict_each_other_are_a_reason(body, reason):
    source = parsed("float[n, 16, t, u] x", "float[n, p, q, r] y", body, **WEIGHTS, wide=np.ones(17, F32))
    assert any(reason in note.reason for note in optimise(ir.from_proto(source)))
