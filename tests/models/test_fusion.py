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
from three_ways import check_calls

import dynq_numba as dq
from dynq_numba.graph import quantizer
from dynq_numba.graph.canonical import canonical
from dynq_numba.graph.functions import Name, parse
from dynq_numba.graph.optimise import optimise
from dynq_numba.onnx import InferenceSession, quantize

FILES = Path(__file__).parent / "files"
RNG = np.random.default_rng(0)
X = RNG.standard_normal((2, 5, 16)).astype(np.float32)
MASK = np.array([[1, 1, 1, 1, 1], [1, 1, 1, 0, 0]])
IDS = np.array([[0, 69, 7, -1, 70]])
IMAGE = RNG.standard_normal((2, 3, 8, 10)).astype(np.float32)


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


# -- files of exporters --------------------------------------------------------------------------
MASKED = "Attention_bias FloatLinear FloatLinear FloatLinear FloatLinear"
SUMMED = f"{MASKED}_residual"
LAYER = f"{SUMMED} LayerNorm FloatLinear_gelu FloatLinear_residual LayerNorm"
PLAIN = "Attention FloatLinear FloatLinear FloatLinear FloatLinear"
CAUSAL = PLAIN.replace("Attention", "Attention_causal")
GROUPED = PLAIN.replace("Attention", "Attention_grouped")
LLAMA = f"{PLAIN} Rotary Rotary".replace("Attention", "Attention_grouped_causal")
PAIRS = LLAMA.replace("Rotary", "Rotary_interleaved")
GELUS = "Gelu Gelu GeluTanh GeluTanh GeluTanh Silu"
RMS = "RmsNorm_residual FloatLinear_silu FloatLinear FloatLinear_residual"
#: What each file is to become.
EXPORTED = {
    "bert_13": LAYER, "bert_17": LAYER, "bert_dynamo": LAYER, "sdpa_boolean": SUMMED, "sdpa_boolean_dynamo": SUMMED,
    "sdpa_float": SUMMED, "sdpa_float_dynamo": SUMMED, "sdpa_plain": PLAIN, "sdpa_plain_dynamo": PLAIN,
    "causal": CAUSAL, "distil": MASKED, "mha": "Attention_bias FloatLinear FloatLinear",
    "mha_weights": "Attention_3d_bias FloatLinear FloatLinear", "mha_dynamo": "Attention_bias FloatLinear FloatLinear",
    "norms_13": "LayerNorm LayerNorm", "norms_17": "LayerNorm LayerNorm", "norms_dynamo": "LayerNorm LayerNorm RmsNorm",
    "gelus_13": GELUS, "gelus_20": GELUS, "gelus_dynamo": GELUS, "rms": RMS, "rms_dynamo": RMS,
    **dict.fromkeys(
        (f"triangle_{kind}{by}" for kind in ("sdpa", "tril", "triu", "range") for by in ("", "_dynamo")), CAUSAL
    ),
    "triangle_both": f"{CAUSAL}".replace("causal", "causal_bias"),
    "triangle_both_dynamo": f"{CAUSAL}".replace("causal", "causal_bias"),
    "attention_23": CAUSAL, "attention_23_boolean": SUMMED, "norms_23": "LayerNorm LayerNorm RmsNorm",
    "llama": LLAMA, "llama_dynamo": LLAMA, "llama_23": LLAMA, "interleaved_dynamo": PAIRS,
    "grouped": GROUPED, "grouped_dynamo": GROUPED, "grouped_23": GROUPED,
    "sentence": "LayerNorm MeanPool", "sentence_dynamo": "LayerNorm MeanPool",
    "conv_norm": "FloatConv_relu FloatConv_silu", "conv_norm_dynamo": "FloatConv_relu FloatConv_silu",
}  # fmt: skip


@pytest.mark.parametrize("name", EXPORTED)
def test_an_exported_file(name):
    source = onnx.load(FILES / f"{name}.onnx")
    feeds = {"x": IMAGE} if name.startswith("conv") else {"x": X, "mask": MASK if "rms" not in name else X[::-1]}
    feeds = {each.name: feeds[each.name] for each in source.graph.input}
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
_MEAN = "m = ReduceMean <keepdims = 1> (x, last) d = Sub (x, m) "
_TANH = "t = Tanh (u) t1 = Add (t, one) "
#: What each is to become, and how it is spelled.
SPELLINGS = {
    "a power, Div": ("LayerNorm", _MEAN + "s = Pow (d, two) v = ReduceMean (s, second) e = Add (v, eps) q = Sqrt (e) "
        "n = Div (d, q) nw = Mul (n, w) y = Add (nw, b)"),
    "a product, Reciprocal, swapped": ("LayerNorm", _MEAN + "s = Mul (d, d) v = ReduceMean (s, last) e = Add (eps, v) "
        "q = Sqrt (e) r = Reciprocal (q) n = Mul (r, d) nw = Mul (w, n) y = Add (b, nw)"),
    "Sub twice": ("LayerNorm", "m = ReduceMean (x, last) d = Sub (x, m) m2 = ReduceMean (x, last) f = Sub (x, m2) "
        "s = Pow (f, two) v = ReduceMean (s, last) e = Add (v, eps) q = Sqrt (e) n = Div (d, q) y = Mul (n, w)"),
    "TensorFlow": ("LayerNorm", _MEAN + "s = Mul (d, d) v = ReduceMean (s, last) e = Add (v, eps) q = Sqrt (e) "
        "r = Reciprocal (q) g = Mul (r, w) h = Mul (m, g) i = Sub (b, h) j = Mul (x, g) y = Add (j, i)"),
    "sums": ("LayerNorm", "t = ReduceSum (x, last) m = Mul (t, k) d = Sub (x, m) s = Mul (d, d) "
        "u = ReduceSum (s, last) v = Mul (u, k) e = Add (v, eps) q = Sqrt (e) n = Div (d, q) y = Add (n, b)"),
    "JAX": ("LayerNorm", "m = ReduceMean (x, last) s = Mul (x, x) u = ReduceMean (s, second) r = Mul (m, m) "
        "f = Sub (u, r) v = Max (zero, f) e = Add (v, eps) q = Sqrt (e) i = Div (one, q) g = Mul (i, w) d = Sub (x, m) "
        "n = Mul (d, g) y = Add (n, b)"),
    "JAX, Relu": ("LayerNorm", "m = ReduceMean (x, last) s = Mul (x, x) u = ReduceMean (s, second) r = Pow (m, two) "
        "f = Sub (u, r) v = Relu (f) e = Add (v, eps) q = Sqrt (e) i = Reciprocal (q) d = Sub (x, m) "
        "g = Mul (i, w) n = Mul (g, d) y = Add (b, n)"),
    "no parameters": ("LayerNorm", _MEAN + "s = Mul (d, d) v = ReduceMean (s, last) e = Add (v, eps) q = Sqrt (e) "
        "y = Div (d, q)"),
    "the operator, expanded": ("LayerNorm", "a = Identity (x) y = LayerNormalization <axis = 2> (a, w, b)"),
    "a sum before, used twice": ("LayerNorm_residual", "r = Neg (x) z = Mul (x, w) t = Add (r, z) "
        "n = LayerNormalization (t, w, b) y = Sub (n, t)"),
    "RMS, a power": ("RmsNorm", "s = Pow (x, two) v = ReduceMean (s, last) e = Add (v, tiny) q = Sqrt (e) "
        "n = Div (x, q) y = Mul (w, n)"),
    "RMS, 1 / x": ("RmsNorm", "s = Mul (x, x) v = ReduceMean (s, last) e = Add (v, tiny) q = Sqrt (e) "
        "r = Div (one, q) n = Mul (x, r) y = Mul (n, w)"),
    "RMS, the scale first": ("RmsNorm", "s = Mul (x, x) v = ReduceMean (s, last) e = Add (v, tiny) p = Sqrt (e) "
        "g = Div (w, p) y = Mul (x, g)"),
    "half at the end": ("Gelu", "u = Div (x, root2) e = Erf (u) o = Add (e, one) g = Mul (x, o) y = Mul (g, half)"),
    "half at the start": ("Gelu",
        "h = Mul (half, x) u = Mul (x, half_root) e = Erf (u) o = Add (one, e) y = Mul (h, o)"),
    "half in the middle": ("Gelu",
        "u = Mul (x, half_root) e = Erf (u) o = Add (e, one) h = Mul (o, half) y = Mul (x, h)"),
    "half multiplied out": ("Gelu",
        "u = Mul (x, half_root) e = Erf (u) h = Mul (e, half) o = Add (h, half) y = Mul (o, x)"),
    "tanh, a power": ("GeluTanh", "p = Pow (x, three) q = Mul (p, share) r = Add (x, q) u = Mul (r, c) " + _TANH
        + "h = Mul (x, half) y = Mul (h, t1)"),
    "tanh, products": ("GeluTanh", "p = Mul (x, x) p3 = Mul (p, x) q = Mul (share, p3) r = Add (q, x) u = Mul (c, r) "
        + _TANH + "h = Mul (t1, half) y = Mul (x, h)"),
    "tanh, Megatron": ("GeluTanh", "a = Mul (x, c) p = Mul (share, x) q = Mul (p, x) r = Add (one, q) u = Mul (a, r) "
        + _TANH + "h = Mul (half, x) y = Mul (h, t1)"),
    "SiLU": ("Silu", "s = Sigmoid (x) y = Mul (s, x)"),
    "SiLU, written out": ("Silu", "n = Neg (x) e = Exp (n) o = Add (e, one) y = Div (x, o)"),
    "a bias on the left": ("FloatLinear_gelu", "p = MatMul (x, w1) l = Add (b, p) y = Gelu (l)"),
    "a residual of two linears": ("FloatLinear_residual FloatLinear",
        "p = MatMul (x, w1) q = MatMul (x, w1) y = Add (p, q)"),
    "a convolution and a residual": ("FloatConv_silu_residual",
        "u = Unsqueeze (x, last) v = Transpose <perm = [0, 2, 1, 3]> (u) f = Conv (v, w4) s = Sigmoid (f) "
        "g = Mul (f, s) a = Add (g, v) t = Transpose <perm = [0, 2, 1, 3]> (a) y = Squeeze (t, last)"),
    "a convolution, scaled and shifted": ("FloatConv",
        "u = Unsqueeze (x, last) v = Transpose <perm = [0, 2, 1, 3]> (u) f = Conv (v, w4) g = Mul (channels, f) "
        "h = Div (g, root2) i = Sub (half, h) a = Add (i, channels) t = Transpose <perm = [0, 2, 1, 3]> (a) "
        "y = Squeeze (t, last)"),
    "relu and a residual": ("FloatLinear_relu_residual", "p = MatMul (x, w1) r = Relu (p) y = Add (x, r)"),
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
_T, _BIAS, _END = "kt = Transpose <perm = [0, 1, 3, 2]> (k) ", "Attention_bias", "p = Softmax (z) y = MatMul (p, v)"
ATTENTION = {
    "scale on scores": ("Attention", _T + "m = MatMul (q, kt) z = Mul (m, s) " + _END),
    "Div": ("Attention", _T + "m = MatMul (q, kt) z = Div (m, r) " + _END),
    "scale on both": ("Attention", _T + "qs = Mul (s4, q) ks = Mul (kt, s4) z = MatMul (qs, ks) " + _END),
    "scale on k": ("Attention", "ks = Mul (k, s) kt = Transpose <perm = [0, 1, 3, 2]> (ks) z = MatMul (q, kt) " + _END),
    "no scale": ("Attention", _T + "z = MatMul (q, kt) " + _END),
    "bias": (_BIAS, _T + "m = MatMul (q, kt) n = Mul (m, s) z = Add (n, bias) " + _END),
    "bias on the left": (_BIAS, _T + "m = MatMul (q, kt) n = Mul (m, s) z = Add (bias, n) " + _END),
    "two biases": (_BIAS, _T + "m = MatMul (q, kt) n = Add (m, bias) f = Neg (bias) z = Add (n, f) " + _END),
    "Where": (_BIAS, _T + "m = MatMul (q, kt) n = Mul (m, s) z = Where (bias, n, never) " + _END),
    "Where not": (_BIAS, _T + "m = MatMul (q, kt) o = Not (bias) z = Where (o, least, m) " + _END),
    "NaN to 0": (_BIAS, _T + "m = MatMul (q, kt) z = Where (bias, m, never) a = Softmax (z) i = IsNaN (a) "
        "p = Where (i, zero, a) y = MatMul (p, v)"),
    "the axis by its number": ("Attention", _T + "z = MatMul (q, kt) p = Softmax <axis = 3> (z) y = MatMul (p, v)"),
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
#: What each is to become, and how a mask of booleans is computed.
TRIANGLES = {
    "the last row sees all": ("causal", "d = Sub (keys, rows) p = Add (row, d) seen = LessOrEqual (key, p)"),
    "the first row sees one": ("topleft", "seen = GreaterOrEqual (row, key)"),
    "all but what is behind": ("topleft", "behind = Greater (key, row) seen = Not (behind)"),
    "a wide window": ("bias", "d = Sub (row, key) near = Less (d, forty) w = LessOrEqual (key, row) "
        "n1 = Cast <to = 7> (near) w1 = Cast <to = 7> (w) both1 = Mul (n1, w1) seen = Cast <to = 9> (both1)"),
    "a window": ("topleft_bias",
        "d = Sub (row, key) near = Less (d, three) w = LessOrEqual (key, row) seen = And (near, w)"),
    "one more": ("bias", "d = Sub (row, key) minus = Neg (by) seen = GreaterOrEqual (d, minus)"),
    "constant": ("topleft", "seen = Slice (square, both, ends)"),
    "constant, with a hole": ("bias", "seen = Slice (holes, both, ends)"),
}  # fmt: skip


@pytest.mark.parametrize("keys", [5, 6, 4])
@pytest.mark.parametrize("case", TRIANGLES)
def test_a_triangle(case, keys):
    flag, mask = TRIANGLES[case]
    body = f"ends = Concat <axis = 0> (rows, keys) {mask} {_T} m = MatMul (q, kt) z = Where (seen, m, never) " + (
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
    body = _PLACES + f"few = Unsqueeze (lengths, others) seen = Less (key, few) {_T} m = MatMul (q, kt) " + (
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
    assert optimised(source, {**QKV_FEEDS, "bias": bias})[0] == Counter([_BIAS])


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


#: Body, the node asked about, and why it stays.
STAYS = {
    "another axis": ("m = ReduceMean (x, first) y = Sub (x, m)", "m", "not along the last axis"),
    "no norm": ("m = ReduceMean (x, last) y = Sub (x, m)", "m", "no layer or RMS norm"),
    "a value in between": (_MEAN + "s = Mul (d, d) v = ReduceMean (s, last) e = Add (v, eps) q = Sqrt (e) "
        "n = Div (d, q) f = Neg (v) y = Add (n, f)", "m", "no layer or RMS norm"),
    "half forgotten": ("u = Div (x, root2) e = Erf (u) o = Add (e, one) y = Mul (x, o)", "e", "no GELU or SiLU"),
    "quick GELU": ("u = Mul (x, quick) e = Sigmoid (u) y = Mul (x, e)", "e", "no GELU or SiLU"),
    "two that vary": ("y = MatMul (x, x2)", "y", "both factors are computed at run time"),
    "a residual that broadcasts": ("p = MatMul (x, w1) r = ReduceMean (x, first) y = Add (p, r)", "y", "another shape"),
    "softmax alone": ("y = Softmax (x)", "y", "used in several places"),
    "softmax over rows": ("s = MatMul (x, x2) p = Softmax <axis = 1> (s) y = MatMul (p, x)", "p", "along axis 1 of 3"),
    "a mask that is none": ("s = MatMul (x, x2) f = Cast <to = 9> (s) q = Where (f, s, one) p = Softmax (q) "
        "y = MatMul (p, x)", "p", "a mask has at most -1000.0"),
    "training": ("y0 = Dropout (x, half, on) y = Neg (y0)", "y0", "it may be in training mode"),
}  # fmt: skip


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
    (_MEAN + "h = Mul (d, w) s = Mul (h, wide) v = ReduceMean (s, last) e = Add (v, eps) q = Sqrt (e) y = Div (d, q)",
     "no layer or RMS norm over the last axis"),
])  # fmt: skip
def test_shapes_that_contradict_each_other_are_a_reason(body, reason):
    source = parsed("float[n, 16, t, u] x", "float[n, p, q, r] y", body, **WEIGHTS, wide=np.ones(17, F32))
    assert any(reason in note.reason for note in optimise(ir.from_proto(source)))
