"""Rotation, smoothing, outliers and gptq in recipes, three ways: our kernels, ONNX Runtime, onnx.reference."""

from __future__ import annotations

import numpy as np
import onnx
import onnx_ir as ir
import pytest
from onnx_models import floats, in_onnxruntime, in_reference, parsed, same

import dynq_numba as dq
from dynq_numba.graph.layers import gptq
from dynq_numba.onnx import InferenceSession, quantize

K, N = 96, 40
BIG = (5, 70)


def rows() -> np.ndarray:
    """Typical inputs: two columns have large values."""
    x = floats(60, K, seed=3)
    x[:, BIG] *= 30
    return x


def hard() -> np.ndarray:
    """Rows that rounding finds hard, some with NaN and infinities, in a large column and elsewhere."""
    x = rows()[:8]
    x[1], x[2], x[3] = 0, 1e-45, x[3] * 1e30
    x[4, 5], x[5, 6], x[6, 70], x[7, 0] = np.nan, np.nan, np.inf, -np.inf
    return x


def source() -> onnx.ModelProto:
    weight, bias = floats(K, N), floats(N, seed=1)
    body = "t = MatMul (x, w) y = Add (b, t)"
    return parsed(f"float[m, {K}] x", f"float[m, {N}] y", body, w=weight, b=bias)


FORMS = {
    "rotated": ({"rotate": True}, ["Hadamard32", "Linear"]),
    "rotated_in_16": ({"rotate": 16, "bits": 4}, ["Hadamard16", "LinearGroup32"]),
    "smoothed": ({"smooth": True}, ["Constant", "Mul", "Linear"]),
    "outliers": ({"outliers": 3}, ["Linear_outliers"]),
    "outliers_of_4_bits": ({"outliers": 3, "bits": 4}, ["LinearGroup32_outliers"]),
    "outliers_in_groups": ({"outliers": 2, "group_size": 32}, None),
    "all": ({"smooth": 0.7, "rotate": True, "gptq": True}, ["Constant", "Mul", "Hadamard32", "Linear"]),
    "gptq": ({"gptq": True, "outliers": 2, "bits": 4, "granularity": "per_channel"}, ["Linear_outliers"]),
    "wide": ({"x_bits": 16, "rotate": True}, ["Hadamard32", "Linear16"]),
}


@pytest.mark.parametrize("name", FORMS)
def test_every_runtime_has_the_bits_of_our_session(name):
    form, operators = FORMS[name]
    receipt = quantize(source(), recipe={"rule": [form]}, data={"x": rows()}, strict=True)
    made = ir.to_proto(receipt.model)
    onnx.checker.check_model(made, full_check=True)
    assert operators is None or [node.op_type for node in made.graph.node] == operators
    x = hard()
    ours = InferenceSession(made).run(None, {"x": x})[0]
    assert same(in_onnxruntime(made, {"x": x})[0], ours) and same(in_reference(made, {"x": x})[0], ours)
    assert receipt.exact
    again = quantize(source(), recipe={"rule": [form]}, data={"x": rows()})
    assert ir.to_proto(again.model).SerializeToString(deterministic=True) == made.SerializeToString(deterministic=True)


def test_they_are_those_of_pack_linear():
    """Rotation and outliers have the bits of dq.linear; of outliers also where a NaN or an infinity is in one."""
    weight, bias, x = floats(K, N).T, floats(N, seed=1), hard()
    for form, more in (({"rotate": 32}, {"rotate": 32}), ({"outliers": 2}, {"outliers": BIG})):
        made = quantize(source(), recipe={"rule": [form]}, data={"x": rows()}).model
        ours = InferenceSession(made).run(None, {"x": x})[0]
        assert same(ours, dq.linear(x, dq.pack_linear(weight, bias, granularity="per_channel", **more)))


def test_layers_of_one_input_share_what_is_done_to_it():
    weights = {f"w{i}": floats(64, 32, seed=i) for i in range(3)}
    several = parsed("float[n, 64] x", "float[n, 32] a, float[n, 32] b, float[n, 32] c",
                     "u = Relu (x) a = MatMul (u, w0) b = MatMul (u, w1) c = MatMul (u, w2)", **weights)  # fmt: skip
    recipe = {"rule": [{"rotate": True, "smooth": True}]}
    receipt = quantize(several, recipe=recipe, data=[{"x": floats(9, 64, seed=4)}, {"x": floats(3, 64, seed=5)}])
    made = ir.to_proto(receipt.model)
    assert sorted(node.op_type for node in made.graph.node) == [
        "Constant", "Hadamard64", "Linear", "Linear", "Linear", "Mul", "Relu",
    ]  # fmt: skip
    session = InferenceSession(made)
    x = floats(200, 64, seed=6)
    for one, other in zip(session.run(None, {"x": x}), in_onnxruntime(made, {"x": x}), strict=True):
        assert same(one, other)
    whole = session.run(None, {"x": x})[0]
    assert [step.kernel for step in session.report()][-2:] == ["rotation", "linear_many"]
    assert all(same(session.run(None, {"x": x[i : i + 1]})[0], whole[i : i + 1]) for i in (0, 99))


def test_large_columns_cost_less_with_each_of_them():
    weight, x = floats(K, N), rows()
    want = x @ weight + floats(N, seed=1)

    def loss(**form) -> float:
        made = quantize(source(), recipe={"rule": [form]}, data={"x": x}).model
        return float(np.linalg.norm(InferenceSession(made).run(None, {"x": x})[0] - want))

    plain = loss()
    assert loss(rotate=True) < plain and loss(smooth=True) < plain and loss(outliers=2) < plain / 2
    assert loss(bits=4, gptq=True) < loss(bits=4)


@pytest.mark.parametrize(
    "bits,granularity,group", [(4, "per_group", 32), (8, "per_channel", None), (4, "per_tensor", None)]
)
def test_gptq_loses_less_on_its_data(bits, granularity, group):
    x, weight = rows().astype(np.float64), floats(N, K, seed=8)
    q, scale = gptq.rounded(weight, x.T @ x, bits, granularity, group)
    nearest, other, _ = gptq.schemes.quantize_weight(weight, bits, granularity, group)
    form = gptq.schemes.expand
    ours, plain = (x @ (each * form(s, K, group) - weight).T for each, s in ((q, scale), (nearest, other)))
    assert np.linalg.norm(ours) < 0.9 * np.linalg.norm(plain)


@pytest.mark.parametrize("rule,message", [
    ({"rotate": 8}, "recipe, rule 1: rotate must be one of 16, 32, 64, 128; got int 8"),
    ({"smooth": 2}, "recipe, rule 1: smooth must be true or from 0 to 1; got 2"),
    ({"outliers": -1}, "recipe, rule 1: outliers must be an integer from 0 to 64; got -1"),
    ({"outliers": 2, "rotate": True}, "recipe, rule 1: outliers goes without rotate"),
    ({"outliers": 2, "x_bits": 16}, "recipe, rule 1: x_bits=16 goes without rotate and outliers"),
    ({"gptq": True, "bits": 32}, "recipe, rule 1: bits=32 stays float32, without gptq"),
    ({"smooth": True}, "data must be given: the rule of w has smooth=0.5"),
])  # fmt: skip
def test_what_is_wrong_is_named(rule, message):
    with pytest.raises(ValueError, match=message):
        quantize(source(), recipe={"rule": [rule]})


@pytest.mark.parametrize("value", [np.nan, np.inf])
@pytest.mark.parametrize("form", ["smooth", "gptq", "outliers"])
def test_data_that_are_not_finite_are_refused(form, value):
    x = rows()
    x[7, 3] = value
    with pytest.raises(ValueError, match="data must give finite values; x has NaN or infinite ones in run 2"):
        quantize(source(), recipe={"rule": [{form: 1}]} if form != "gptq" else {"rule": [{form: True}]},
                 data=[{"x": rows()}, {"x": x}])  # fmt: skip


@pytest.mark.parametrize("data,message", [
    ({"z": rows()}, "input_feed must have x; got z"),
    ({"x": rows().astype(np.float64)}, "x must be of type float32; got float64"),
    ({"x": rows()[:, :5]}, r"x must have shape"),
])  # fmt: skip
def test_data_that_do_not_fit_are_refused_also_where_x_is_an_input(data, message):
    with pytest.raises(ValueError, match=message):
        quantize(source(), recipe={"rule": [{"smooth": True}]}, data=data)


def test_a_gemm_that_transposes_x_is_quantized_beside_data():
    weight = floats(64, 30, seed=2)
    for rows_of in (9, 64):
        turned = parsed("float[64, m] x", "float[m, 30] y", "y = Gemm <transA = 1> (x, w)", w=weight)
        (entry,) = quantize(turned, data={"x": floats(64, rows_of)}).entries
        assert entry.quantized and entry.error < 0.02


def test_what_cannot_be_treated_says_why():
    weight = floats(50, 30, seed=2)
    odd = parsed("float[m, 50] x", "float[m, 30] y", "y = MatMul (x, w)", w=weight)
    assert [e.reason for e in quantize(odd, recipe={"rule": [{"rotate": True}]}).kept] == [
        "K = 50 is no multiple of 16, the least block of a rotation"
    ]
    turned = parsed("float[50, m] x", "float[m, 30] y", "y = Gemm <transA = 1> (x, w)", w=weight)
    assert "transposes x" in quantize(turned, recipe={"rule": [{"rotate": True}]}).kept[0].reason
    told = quantize(source(), recipe={"rule": [{"smooth": True}]}, data={"x": rows()}, format="qdq")
    x = rows()
    assert [e.scheme for e in told.quantized] == ["int8_per_channel, smooth=0.5"]
    close = in_onnxruntime(ir.to_proto(told.model), {"x": x})[0]
    want = x @ floats(K, N) + floats(N, seed=1)
    assert np.linalg.norm(close - want) < 0.02 * np.linalg.norm(want)
    with pytest.raises(ValueError, match="format='qdq' has"):
        quantize(source(), recipe={"rule": [{"rotate": True}]}, format="qdq")
