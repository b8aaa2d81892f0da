"""Looks at layers against whole artifacts, of which one layer is quantized or all but one; known damage is found."""

from __future__ import annotations

import json
from dataclasses import asdict

import numpy as np
import onnx
import pytest
from onnx_models import floats, in_onnxruntime, parsed
from onnxruntime.quantization import quantize_dynamic

import dynq_numba as dq
from dynq_numba.evaluate.comparison import LOOKS
from dynq_numba.kernels.linear.reference import linear as meaning
from dynq_numba.operators.linear.pack import pack_linear

N = 48


def named(model: onnx.ModelProto) -> onnx.ModelProto:
    """Each node by the name of its first result, as exporters name them."""
    for node in model.graph.node:
        node.name = next(name for name in node.output if name)
    return model


def products() -> tuple[onnx.ModelProto, dict[str, np.ndarray]]:
    body = """
        a = MatMul (x, wa)  b = Add (a, bias)  c = Relu (b)  d = Gemm <transB: int = 1> (c, wb, bias)
        e = Add (d, c)  f = MatMul (e, wc)  y = Softmax (f)"""
    weights = {name: floats(N, N, seed=i) / np.float32(4) for i, name in enumerate(("wa", "wb", "wc"))}
    return named(parsed("float[n,48] x", "float[n,48] y", body, bias=floats(N, seed=9), **weights)), {"x": floats(9, N)}


def tables() -> tuple[onnx.ModelProto, dict[str, np.ndarray]]:
    body = """
        e = Gather (table, ids)  t = Transpose <perm: ints = [1, 0, 2]> (e)
        s, h = GRU <hidden_size: int = 32, linear_before_reset: int = 1> (t, W, R)
        q = Squeeze (s, one)  l, k, m = LSTM <hidden_size: int = 32> (q, V, U)
        r = Squeeze (l, one)  y = ReduceMean (r, zero)"""
    weights = {
        "table": floats(90, N, seed=1), "W": floats(1, 96, N, seed=2) / 4, "R": floats(1, 96, 32, seed=3) / 4,
        "V": floats(1, 128, 32, seed=4) / 4, "U": floats(1, 128, 32, seed=5) / 4, "one": np.array([1]),
        "zero": np.array([0]),
    }  # fmt: skip
    weights = {name: each.astype(np.float32) if each.dtype.kind == "f" else each for name, each in weights.items()}
    ids = np.random.default_rng(0).integers(0, 90, (5, 7))
    return named(parsed("int64[n,t] ids", "float[1,n,32] y", body, **weights)), {"ids": ids}


def images() -> tuple[onnx.ModelProto, dict[str, np.ndarray]]:
    body = """
        a = Conv <kernel_shape: ints = [3, 3], pads: ints = [1, 1, 1, 1]> (x, wa, ba)  b = Relu (a)
        c = Conv <kernel_shape: ints = [3, 3], pads: ints = [1, 1, 1, 1]> (b, wb, ba)  d = Add (c, b)
        y = ReduceMean <keepdims: int = 0> (d, axes)"""
    weights = {"wa": floats(16, 8, 3, 3, seed=1) / 8, "wb": floats(16, 16, 3, 3, seed=2) / 8, "ba": floats(16, seed=3)}
    weights = {name: each.astype(np.float32) for name, each in weights.items()} | {"axes": np.array([2, 3])}
    return named(parsed("float[n,8,h,w] x", "float[n,16] y", body, **weights)), {"x": floats(3, 8, 10, 11)}


MODELS = {"products": (products, "adf"), "tables": (tables, "esl"), "images": (images, "ac")}


@pytest.mark.parametrize("name", MODELS)
def test_looks_are_what_whole_artifacts_give(name):
    make, layers = MODELS[name]
    model, feeds = make()
    artifact = dq.onnx.quantize(model, conv=True).model
    found = dq.onnx.compare(model, artifact, feeds)
    assert [each.layer for each in found.layers] == list(layers) and found.looks == LOOKS
    assert all(each.scheme and each.weights and each.own.sqnr_db < 60 for each in found.layers)
    for each in found.layers:
        pattern = f"^{each.layer}$"
        for look, options in ((each.only_quantized, {"include": pattern}), (each.only_float, {"exclude": pattern})):
            other = dq.onnx.quantize(model, conv=True, **options).model
            assert [asdict(one) for one in look] == [
                asdict(one) for one in dq.onnx.compare(model, other, feeds, layers=False).outputs
            ]
            assert not look[0].identical
    whole = dq.onnx.compare(model, artifact, feeds, layers=False)
    assert [asdict(each) for each in found.outputs] == [asdict(each) for each in whole.outputs]
    assert whole.layers == [] and whole.looks == ()


def test_its_own_error_is_that_before_activation_and_residual():
    model, feeds = products()
    found = dq.onnx.compare(model, dq.onnx.quantize(model).model, feeds, layers=["own"])
    weights = {tensor.name: onnx.numpy_helper.to_array(tensor) for tensor in model.graph.initializer}
    copy = onnx.ModelProto.FromString(model.SerializeToString())
    copy.graph.output.extend(onnx.helper.make_tensor_value_info(n, onnx.TensorProto.FLOAT, None) for n in "bcd")
    _, b, c, d = in_onnxruntime(copy, feeds)
    for layer, x, want, weight in (("a", feeds["x"], b, weights["wa"].T), ("d", c, d, weights["wb"])):
        packed = pack_linear(weight)
        q, scale = packed.qweight, packed.scale.reshape(-1, 1)
        got = meaning(x, q, scale, weights["bias"]).astype(np.float64)
        sqnr = 10 * np.log10(np.sum(np.float64(want) ** 2) / np.sum((want - got) ** 2))
        own = next(each.own for each in found.layers if each.layer == layer)
        assert own.sqnr_db == pytest.approx(sqnr, abs=0.01)  # ONNX Runtime adds in another order
    assert all(not each.only_quantized and not each.only_float for each in found.layers)


def damaged() -> tuple[onnx.ModelProto, dict[str, np.ndarray]]:
    """In `c` each channel has one weight that is 1000 times the others, for a feature that is always 0."""
    body = "a = MatMul (x, wa)  b = MatMul (a, wb)  r = Mul (b, mask)  c = MatMul (r, wc)  y = MatMul (c, wd)"
    weights = {f"w{name}": (floats(N, N, seed=i) / 7).astype(np.float32) for i, name in enumerate("abcd")}
    weights["wc"][5] = 300
    mask = np.ones(N, np.float32)
    mask[5] = 0
    return named(parsed("float[n,48] x", "float[n,48] y", body, mask=mask, **weights)), {"x": floats(40, N)}


def test_the_layer_that_hurts_is_found_by_all_three_looks():
    model, feeds = damaged()
    found = dq.onnx.compare(model, dq.onnx.quantize(model).model, feeds)
    for look in LOOKS:
        assert found.worst(look)[0].layer == "c", look
    by_name = {each.layer: each for each in found.layers}
    assert by_name["c"].loss_alone > 100 * max(by_name[name].loss_alone for name in "aby")
    assert by_name["c"].loss_without < found.loss / 100
    assert min(by_name[name].loss_without for name in "aby") > found.loss / 2
    assert "c" in found.table() and "| c |" in found.to_markdown()


def test_tables_fit_a_terminal_and_are_whole_in_a_pipe(monkeypatch):
    source, feeds = damaged()
    found = dq.onnx.compare(source, dq.onnx.quantize(source).model, feeds)
    monkeypatch.delenv("COLUMNS", raising=False)  # pytest-xdist sets it
    assert all(name in found.table() for name in ("p99 error", "all but it", found.summary()))
    monkeypatch.setenv("COLUMNS", "60")
    assert max(map(len, found.table().splitlines())) <= 60 and "p99 error" not in found.table()


def test_batches_change_nothing_but_the_last_bits_of_sums():
    model, feeds = products()
    artifact = dq.onnx.quantize(model).model
    whole, parts = (dq.onnx.compare(model, artifact, feeds, batch=batch) for batch in (64, 2))
    assert (whole.batches, parts.batches, parts.rows) == (1, 5, 9)
    for one, other in zip(whole.layers, parts.layers, strict=True):
        assert one.own.max_abs_error == other.own.max_abs_error
        assert one.loss_alone == pytest.approx(other.loss_alone, rel=1e-9)
        assert one.loss_without == pytest.approx(other.loss_without, rel=1e-9)


def test_a_file_of_another_tool_is_looked_at_layer_by_layer(tmp_path):
    model, feeds = products()
    onnx.save(model, tmp_path / "float.onnx")
    quantize_dynamic(tmp_path / "float.onnx", tmp_path / "theirs.onnx", per_channel=True)
    found = dq.onnx.compare(tmp_path / "float.onnx", tmp_path / "theirs.onnx", feeds)
    assert [each.layer for each in found.layers] == ["a", "d", "f"] and all(each.scheme for each in found.layers)
    assert all(0 < each.loss_alone < 1e-2 for each in found.layers)


def test_layers_for_which_columns_of_x_are_scaled_together_are_told_apart():
    body = "p = MatMul (x, wp)  q = MatMul (x, wq)  y = Mul (p, q)"
    model = named(parsed("float[n,48] x", "float[n,48] y", body, wp=floats(N, N), wq=floats(N, N, seed=1)))
    feeds = {"x": floats(9, N) * np.linspace(0.1, 10, N, dtype=np.float32)}
    artifact = dq.onnx.quantize(model, recipe={"rule": [{"match": ".", "smooth": True}]}, data=feeds).model
    found = dq.onnx.compare(model, artifact, feeds)
    assert [(each.layer, "smooth" in each.scheme) for each in found.layers] == [("p", True), ("q", True)]
    whole = dq.onnx.compare(model, artifact, feeds, layers=False)
    assert [asdict(each) for each in found.outputs] == [asdict(each) for each in whole.outputs]


def test_the_same_model_has_no_layers_that_differ():
    model, feeds = products()
    found = dq.onnx.compare(model, model, feeds)
    assert found.layers == [] and found.outputs[0].identical and "identical" in found.summary()


def test_another_model_is_compared_by_its_outputs_and_that_is_told():
    model, feeds = products()
    other = named(parsed("float[n,48] x", "float[n,48] y", "p = MatMul (x, w)  q = Tanh (p)  y = Softmax (q)",
                         w=floats(N, N, seed=4)))  # fmt: skip
    found = dq.onnx.compare(model, other, feeds)
    assert found.layers == [] and any("could not be matched" in note for note in found.notes)
    assert found.outputs[0].kl_mean > 0


def test_another_width_under_the_same_names_is_another_model():
    def model(width: int) -> onnx.ModelProto:
        weights = {"wa": floats(N, width), "wb": floats(width, N, seed=1)}
        return named(parsed("float[n,48] x", "float[n,48] y", "a = MatMul (x, wa)  b = Tanh (a)  y = MatMul (b, wb)",
                            **weights))  # fmt: skip

    feeds = {"x": floats(9, N)}
    found = dq.onnx.compare(model(48), model(32), feeds)
    assert found.layers == [] and any("could not be matched" in note for note in found.notes)
    whole = dq.onnx.compare(model(48), model(32), feeds, layers=False)
    assert asdict(found.outputs[0]) == asdict(whole.outputs[0])


def test_a_layer_in_a_branch_is_looked_at_with_its_branch():
    body = """
        some = Greater (flag, zero)
        y = If (some) <then_branch: graph = one () => (float[n,48] p) { p = MatMul (x, wa) },
                       else_branch: graph = two () => (float[n,48] q) { q = MatMul (x, wb) }>"""
    model = named(parsed("float[n,48] x, float flag", "float[n,48] y", body, zero=np.array(0, np.float32),
                         wa=floats(N, N), wb=floats(N, N, seed=1)))  # fmt: skip
    feeds = [{"x": floats(4, N), "flag": np.array(flag, np.float32)} for flag in (1, -1)]
    found = dq.onnx.compare(model, dq.onnx.quantize(model).model, feeds)
    (layer,) = found.layers
    assert layer.loss_alone == pytest.approx(found.loss) and layer.only_float[0].identical and found.rows == 2


def test_json_has_all_and_no_value_of_a_row():
    model, feeds = products()
    found = dq.onnx.compare(model, dq.onnx.quantize(model).model, feeds)
    whole = json.loads(found.to_json())
    assert whole["kind"] == "comparison" and whole["loss"] == found.loss
    assert whole["layers"][0]["loss_alone"] == found.layers[0].loss_alone
    assert set(whole["layers"][0]["own"]) == {"loss", *asdict(found.outputs[0])}
    same = json.loads(dq.onnx.compare(model, model, feeds).to_json())
    assert same["outputs"][0]["sqnr_db"] is None and same["outputs"][0]["identical"]


@pytest.mark.parametrize(
    "options,message",
    [
        ({"layers": "all"}, "layers must be .*own"),
        ({"candidate": parsed("float[n,48] z", "float[n,48] y", "y = Relu (z)")}, "must have the inputs x; got z"),
        ({"candidate": parsed("float[n,48] x", "float[n,48] y, float[n,48] v", "y = Relu (x)  v = Abs (x)")},
         "candidate must have the outputs y; got y, v"),
        ({"feeds": []}, "feeds must have rows"),
    ],
)  # fmt: skip
def test_what_cannot_be_compared_is_told(options, message):
    model, feeds = products()
    given = {"candidate": model, "feeds": feeds} | options
    with pytest.raises(ValueError, match=message):
        dq.onnx.compare(model, given.pop("candidate"), given.pop("feeds"), **given)
