"""quantize on small models: every kind of layer, three ways: our kernel, ONNX Runtime and onnx.reference."""

from __future__ import annotations

import ml_dtypes
import numpy as np
import onnx
import onnx_ir as ir
import pytest
from onnx import helper, parser
from onnx_models import floats, in_onnxruntime, in_reference, parsed

import dynq_numba as dq
from dynq_numba.graph.formulas import Body, Formula, input_named
from dynq_numba.graph.functions import MOST_K
from dynq_numba.graph.layers.linear_body import of_groups
from dynq_numba.kernels.recurrent.reference_activations import ACTIVATIONS
from dynq_numba.onnx import CoverageError, InferenceSession, Receipt, quantize

F32 = np.float32


def extremes(rows: np.ndarray) -> np.ndarray:
    """The rows, and behind them what rounding finds hard: zeros, denormals, ties, large values, NaN, infinities."""
    k = rows.shape[-1]
    hard = np.stack([
        np.zeros(k), np.full(k, 1e-45), rows[0] * 1e-42, rows[0] * 1e30, np.full(k, -3e38), np.arange(k) - k / 2,
        np.where(np.arange(k) == k // 2, np.nan, rows[0]), np.where(np.arange(k) == 0, np.inf, rows[0]),
        np.where(np.arange(k) == k - 1, -np.inf, rows[0]), np.where(np.arange(k) % 2, 3e38, -3e38),
    ])  # fmt: skip
    return np.concatenate([rows, hard.astype(F32)])


def artifact(model: onnx.ModelProto, **options) -> tuple[onnx.ModelProto, Receipt]:
    receipt = quantize(model, **options)
    made = ir.to_proto(receipt.model)
    onnx.checker.check_model(made, full_check=True)
    return made, receipt


def same(a: np.ndarray, b: np.ndarray) -> bool:
    """Equal bits, but for which NaN it is."""
    return a.dtype == b.dtype and a.shape == b.shape and np.array_equal(a, b, equal_nan=True)


# -- linears ------------------------------------------------------------------------------------
@pytest.mark.parametrize("granularity", ["per_channel", "per_tensor"])
@pytest.mark.parametrize("k,n", [(48, 33), (300, 70), (17, 64)])
def test_a_linear_has_the_bits_of_our_kernel_in_every_runtime(k, n, granularity):
    weight, bias, x = floats(k, n), floats(n, seed=1), extremes(floats(5, k, seed=2))
    source = parsed(f"float[m, {k}] x", f"float[m, {n}] y", "t = MatMul (x, w) y = Add (b, t)", w=weight, b=bias)
    made, receipt = artifact(source, granularity=granularity)
    ours = dq.linear(x, dq.pack_linear(weight.T, bias, granularity=granularity))
    assert [(e.weight, e.scheme, e.exact) for e in receipt.entries] == [("w", f"int8_{granularity}", True)]
    assert [node.op_type for node in made.graph.node] == ["Linear"]
    assert same(in_onnxruntime(made, {"x": x})[0], ours)
    assert same(in_reference(made, {"x": x})[0], ours)


@pytest.mark.parametrize("granularity", ["per_channel", "per_tensor"])
@pytest.mark.parametrize("k,n", [(48, 33), (300, 70), (17, 64)])
def test_a_linear_of_16_bits_has_the_bits_of_our_kernel_in_every_runtime(k, n, granularity):
    weight, bias, x = floats(k, n), floats(n, seed=1), extremes(floats(5, k, seed=2))
    source = parsed(f"float[m, {k}] x", f"float[m, {n}] y", "t = MatMul (x, w) y = Add (b, t)", w=weight, b=bias)
    made, receipt = artifact(source, granularity=granularity, x_bits=16)
    ours = dq.linear(x, dq.pack_linear(weight.T, bias, granularity=granularity, x_bits=16))
    assert [(e.weight, e.scheme, e.exact) for e in receipt.entries] == [("w", f"int8_{granularity}, x_bits=16", True)]
    assert [node.op_type for node in made.graph.node] == ["Linear16"]
    assert same(in_onnxruntime(made, {"x": x})[0], ours)
    assert same(in_reference(made, {"x": x})[0], ours)


def test_the_largest_sums_of_16_bits():
    """Products of bytes at the end of int32, and beyond it in the long form."""
    for k, name in ((MOST_K, "Linear16"), (MOST_K + 30, "Linear16Long")):
        x, weight = np.full((3, k), 65535, F32), np.full((k, 3), 127, F32)
        x[1], x[2, ::2], weight[:, 1], weight[1::2, 2] = -65535, 0, -127, -127
        made, _ = artifact(parsed(f"float[m, {k}] x", "float[m, 3] y", "y = MatMul (x, w)", w=weight), x_bits=16)
        assert [function.name for function in made.functions] == [name]
        ours = dq.linear(x, dq.pack_linear(weight.T, x_bits=16))
        assert ours[0, 0] == -ours[1, 0] == F32(65535 * 127 * k)
        assert same(in_onnxruntime(made, {"x": x})[0], ours) and same(in_reference(made, {"x": x})[0], ours)


def test_16_bits_are_for_linears_and_the_rest_keeps_8():
    weights = {"e": floats(100, 48), "w": floats(48, 40), "r": floats(1, 96, 24) / 6, "i": floats(1, 96, 40) / 6}
    body = "a = Gather (e, ids) b = MatMul (a, w) y, h, c = LSTM <hidden_size = 24> (b, i, r)"
    source = parsed("int64[t, n] ids", "float[t, 1, n, 24] y", body, **weights)
    made, receipt = artifact(source, x_bits=16)
    assert [entry.scheme for entry in receipt.entries] == [
        "uint8_per_row", "int8_per_channel, x_bits=16", "int8_per_channel", "int8_per_channel",
    ]  # fmt: skip
    ids = np.array([[0, 5], [99, 1]])
    assert in_onnxruntime(made, {"ids": ids})[0].shape == (2, 1, 2, 24)
    told = quantize(source, recipe={"rule": [{"op": "LSTM", "x_bits": 16}]}).kept
    reason = "recurrent layers have 8 bits per channel; not per_channel, 8 bits, x_bits=16"
    assert [entry.reason for entry in told] == [reason] * 2


def test_a_linear_of_more_axes_and_of_one():
    weight = floats(40, 50)
    for shape in ((2, 3, 40), (40,)):
        x = floats(*shape, seed=1)
        axes = ", ".join(f"a{i}" for i in range(len(shape) - 1))
        first, last = (f"{axes}, 40", f"{axes}, 50") if axes else ("40", "50")
        made, _ = artifact(parsed(f"float[{first}] x", f"float[{last}] y", "y = MatMul (x, w)", w=weight))
        ours = dq.linear(x, dq.pack_linear(weight.T, granularity="per_channel"))
        assert same(in_onnxruntime(made, {"x": x})[0], ours) and same(in_reference(made, {"x": x})[0], ours)


def test_a_sum_that_int32_cannot_hold():
    k = MOST_K + 30
    weight, x = np.full((k, 2), 1, F32), np.full((1, k), 1, F32)
    weight[:, 1] = -1
    x[0, 0] = 0.001  # so that the other values are not the whole range
    made, _ = artifact(parsed(f"float[m, {k}] x", "float[m, 2] y", "y = MatMul (x, w)", w=weight))
    assert made.functions[0].name == "LinearLong"
    ours = dq.linear(x, dq.pack_linear(weight.T, granularity="per_channel"))
    assert same(in_onnxruntime(made, {"x": x})[0], ours) and same(in_reference(made, {"x": x})[0], ours)
    assert abs(ours[0, 0] - k) < 300


GEMMS = {
    "plain": ("y = Gemm (x, w)", {}),
    "transB, alpha": ("y = Gemm <transB = 1, alpha = 0.5> (x, w)", {"w": floats(50, 40)}),
    "vector, beta": ("y = Gemm <beta = 2.0> (x, w, c)", {"c": floats(50)}),
    "matrix": ("y = Gemm (x, w, c)", {"c": floats(4, 50)}),
    "row": ("y = Gemm <beta = 0.5> (x, w, c)", {"c": floats(1, 50)}),
    "transA": ("t = Transpose <perm = [1, 0]> (x) y = Gemm <transA = 1> (t, w, c)", {"c": floats(50)}),
    "computed": ("c = Gather <axis = 1> (x, first) y = Gemm <beta = 3.0> (x, w, c)", {"first": np.array([0])}),
}


@pytest.mark.parametrize("case", GEMMS)
def test_a_gemm(case):
    body, given = GEMMS[case]
    source = parsed("float[4, 40] x", "float[4, 50] y", body, **({"w": floats(40, 50)} | given))
    made, receipt = artifact(source)
    x = floats(4, 40, seed=3)
    want = in_reference(source, {"x": x})[0]
    got = in_onnxruntime(made, {"x": x})[0]
    assert receipt.quantized and same(got, in_reference(made, {"x": x})[0])
    assert np.linalg.norm(got - want) < 0.02 * np.linalg.norm(want)


@pytest.mark.parametrize("bits,group", [(8, 32), (8, 64), (4, 32), (4, 128)])
def test_groups_have_the_bits_of_our_kernel_in_every_runtime(bits, group):
    # scales of many sizes: sums that lie in the middle between two floats need them
    weight, x = floats(256, 48) * np.exp(floats(256, 1, seed=3)), extremes(floats(200, 256, seed=1))
    bias = floats(48, seed=2)
    source = parsed("float[m, 256] x", "float[m, 48] y", "t = MatMul (x, w) y = Add (t, b)", w=weight, b=bias)
    made, receipt = artifact(source, bits=bits, group_size=group)
    entry = receipt.entries[0]
    ours = dq.linear(x, dq.pack_linear(weight.T, bias, bits=bits, group_size=group))
    assert same(in_onnxruntime(made, {"x": x})[0], ours) and same(in_reference(made, {"x": x})[0], ours)
    assert same(InferenceSession(made).run(None, {"x": x})[0], ours)
    assert entry.exact and entry.error < (0.02 if bits == 8 else 0.2)
    assert entry.bytes_after < entry.bytes_before / (3.4 if bits == 8 else 6)


@pytest.mark.parametrize("bits,group,apart,how", [
    (4, 32, 0, ""), (8, 32, 0, "_8_wide"), (8, 64, 12, "_8_wide"), (4, 128, 0, "_wide"), (8, 32, 30, "_8_ties"),
    (4, 64, 40, "_ties"), (4, 32, 60, ""),
])  # fmt: skip
def test_groups_are_added_up_in_what_holds_their_sums(bits, group, apart, how):
    """Every other group is smaller by 2**apart; a group in the middle is 0."""
    weight, x = floats(256, 24), extremes(floats(100, 256, seed=1))
    parts = weight.reshape(-1, group, 24)
    parts[1::2] *= F32(2.0**-apart)
    parts[len(parts) // 2] = 0
    made, _ = artifact(parsed("float[m, 256] x", "float[m, 24] y", "y = MatMul (x, w)", w=weight), bits=bits,
                       group_size=group)  # fmt: skip
    ours = dq.linear(x, dq.pack_linear(weight.T, bits=bits, group_size=group))
    assert [function.name for function in made.functions] == [f"LinearGroup{group}{how}"]
    assert same(in_onnxruntime(made, {"x": x})[0], ours) and same(in_reference(made, {"x": x})[0], ours)
    assert same(InferenceSession(made).run(None, {"x": x})[0], ours)


def test_scales_of_24_bits_are_multiplied_in_float64():
    q, scale = np.full((2, 64), 7, np.int8), np.full((2, 2), np.nextafter(F32(1), F32(2)))
    assert of_groups(q, scale, np.zeros(2, F32), 4)[0].name == "LinearGroup32_wide"


# -- tables -------------------------------------------------------------------------------------
@pytest.mark.parametrize("ids", [np.array([[0, 5], [99, 1]]), np.array([3]), np.array(7), np.zeros((0, 2), np.int64)])
def test_a_table(ids):
    table = floats(100, 24)
    axes = ", ".join(f"a{i}" for i in range(ids.ndim))
    source = parsed(f"int64[{axes}] ids", f"float[{axes + ', ' if axes else ''}24] y", "y = Gather (w, ids)", w=table)
    made, receipt = artifact(source)
    ours = dq.embedding(ids, dq.pack_embedding(table))
    assert receipt.entries[0].exact and same(in_onnxruntime(made, {"ids": ids})[0], ours)
    assert same(in_reference(made, {"ids": ids})[0], ours)


def test_a_tied_table_and_a_transposed_copy_are_stored_once():
    table = floats(200, 64)
    body = "x = Gather (e, ids) h = MatMul (x, square) y = MatMul (h, w) z = Gemm <transB = 1> (h, e)"
    weights = {"e": table, "w": table.T.copy(), "square": floats(64, 64)}
    source = parsed("int64[n] ids", "float[n, 200] y, float[n, 200] z", body, **weights)
    made, receipt = artifact(source)
    shared = [entry for entry in receipt.entries if entry.bytes_after == 0]
    assert {entry.op_type for entry in receipt.quantized} == {"Gather", "MatMul", "Gemm"} and len(shared) == 2
    assert sum(len(tensor.raw_data) for tensor in made.graph.initializer) < 200 * 64 + 64 * 64 + 20 * 264
    got = in_onnxruntime(made, {"ids": np.array([3, 199])})
    assert same(got[0], got[1]) and same(got[0], in_reference(made, {"ids": np.array([3, 199])})[0])


@pytest.mark.parametrize("ids", [[3, 199], [-1], [], [-200, 0, 5, 5]])
def test_a_session_reads_a_tied_table_in_the_weight_of_the_linear(ids):
    table = floats(200, 64)
    body = "x = Gather (e, ids) y = MatMul (x, w)"
    made, _ = artifact(parsed("int64[n] ids", "float[n, 64] x, float[n, 200] y", body, e=table, w=table.T.copy()))
    session, feeds = InferenceSession(made), {"ids": np.array(ids, np.int64)}
    assert all(map(same, session.run(None, feeds), in_onnxruntime(made, feeds)))
    assert [step.kernel for step in session.report()] == ["embedding of linear", "linear"]
    with pytest.raises(ValueError, match="indices must be from -200 to 199"):
        session.run(None, {"ids": np.array([0, 200])})


# -- recurrent layers ---------------------------------------------------------------------------
RECURRENT = {
    "LSTM": ("y, h, c = LSTM <hidden_size = 24> (x, w, r, b)", 4, 1),
    "LSTM both ways, states": (
        'y, h, c = LSTM <hidden_size = 24, direction = "bidirectional", clip = 3.0> (x, w, r, b, , h0, c0)', 4, 2),
    "GRU": ("y, h = GRU <hidden_size = 24, linear_before_reset = 1> (x, w, r, b)", 3, 1),
    "GRU reverse, lengths": ('y, h = GRU <hidden_size = 24, direction = "reverse"> (x, w, r, , lens)', 3, 1),
    "RNN": ('y, h = RNN <hidden_size = 24, activations = ["Relu"]> (x, w, r, b)', 1, 1),
    "LSTM coupled, peepholes, lengths": (
        "y, h, c = LSTM <hidden_size = 24, input_forget = 1> (x, w, r, b, lens, , , p)", 4, 1),
    "LSTM peepholes": ("y, h, c = LSTM <hidden_size = 24> (x, w, r, b, , , , p)", 4, 1),
    "RNN both ways": (
        'y, h = RNN <hidden_size = 24, direction = "bidirectional", activations = ["ScaledTanh", "HardSigmoid"], '
        "activation_alpha = [0.7, 0.3], activation_beta = [1.2, 0.4]> (x, w, r, b)", 1, 2),
}  # fmt: skip


@pytest.mark.parametrize("case", RECURRENT)
def test_a_recurrent_layer_has_the_bits_of_our_kernel_in_every_runtime(case):
    body, gates, ways = RECURRENT[case]
    feeds = {"x": floats(9, 3, 40, seed=1)}
    inputs = "float[t, n, 40] x"
    if "h0" in body:
        inputs += ", float[2, n, 24] h0, float[2, n, 24] c0"
        feeds |= {"h0": floats(2, 3, 24, seed=2), "c0": floats(2, 3, 24, seed=3)}
    weights = {"w": floats(ways, 24 * gates, 40) / 6, "r": floats(ways, 24 * gates, 24, seed=4) / 5}
    if "lens" in body:
        inputs += ", int32[n] lens"
        feeds["lens"] = np.array([9, 4, 7], np.int32)
    if ", b" in body:
        weights["b"] = floats(ways, 48 * gates, seed=5) / 5
    if ", p)" in body:
        weights["p"] = floats(ways, 72, seed=6)
    results = body.split(" = ")[0].split(", ")
    outputs = ", ".join([f"float[t, {ways}, n, 24] y", *(f"float[{ways}, n, 24] {name}" for name in results[1:])])
    source = parsed(inputs, outputs, body, **{k: v.astype(F32) for k, v in weights.items()})
    made, receipt = artifact(source)
    ours, want = InferenceSession(made).run(None, feeds), in_onnxruntime(source, feeds)
    for run in (in_onnxruntime, in_reference):
        assert all(map(same, run(made, feeds), ours))
    assert [(entry.scheme, entry.exact) for entry in receipt.entries] == [("int8_per_channel", True)] * 2
    assert 0 < np.linalg.norm(ours[0] - want[0]) < 0.03 * np.linalg.norm(want[0])


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_an_activation_as_standard_nodes_has_our_bits(name):
    x = np.random.default_rng(0).integers(0, 2**32, 20_000, np.uint32).view(F32)
    x = np.concatenate([x, floats(20_000) * 4, np.array([0, np.nan, np.inf, -np.inf, 1e-45, 89, -104, -88], F32)])
    alpha, beta, body, given = F32(0.3), F32(0.7), Body(), input_named("x")
    formula = ACTIVATIONS[name][0]
    y = formula(Formula(body, given), alpha, beta).value
    graph = ir.Graph([given], [y], nodes=body.nodes, opset_imports={"": 21}, name="one")
    given.shape, y.shape, y.type = ir.Shape(["n"]), ir.Shape(["n"]), given.type
    made = ir.to_proto(ir.Model(graph, ir_version=10))
    with np.errstate(all="ignore"):
        want = formula(x, alpha, beta)
    assert same(in_onnxruntime(made, {"x": x})[0], want) and same(in_reference(made, {"x": x})[0], want)


# -- convolutions -------------------------------------------------------------------------------
CONVS = {
    "plain": ("", (16, 12, 3, 3), (2, 12, 9, 11)),
    "strides, pads, dilations": (
        "<strides = [2, 1], pads = [1, 2, 0, 1], dilations = [1, 2]>", (16, 12, 3, 3), (1, 12, 12, 13)),
    "groups": ("<group = 4, pads = [1, 1, 1, 1]>", (16, 8, 3, 3), (1, 32, 6, 7)),
    "one axis": ("<pads = [2, 2]>", (32, 16, 5), (3, 16, 30)),
}  # fmt: skip


@pytest.mark.parametrize("case", CONVS)
def test_a_convolution(case):
    attributes, shape, size = CONVS[case]
    weight, bias = floats(*shape), floats(shape[0], seed=1)
    axes = ", ".join(f"a{i}" for i in range(len(size)))
    image, body = f"float[{', '.join(map(str, size))}] x", f"y = Conv {attributes} (x, w, b)"
    source = parsed(image, f"float[{axes}] y", body, w=weight, b=bias)
    assert quantize(source).entries[0].reason == "convolutions are quantized with conv=True"
    made, receipt = artifact(source, conv=True)
    node = source.graph.node[0]
    given = {a.name: helper.get_attribute_value(a) for a in node.attribute}
    pads = given.get("pads", [0] * (2 * len(size) - 4))
    half = len(pads) // 2
    ones = [1] * half
    packed = dq.pack_conv(
        weight, bias, stride=tuple(given.get("strides", ones)), dilation=tuple(given.get("dilations", ones)),
        padding=tuple(zip(pads[:half], pads[half:], strict=True)), groups=given.get("group", 1),
    )  # fmt: skip
    x = floats(*size, seed=2)
    x[0].flat[3] = 40
    ours = dq.conv(x, packed)
    assert receipt.entries[0].exact and receipt.entries[0].error < 0.03
    assert same(in_onnxruntime(made, {"x": x})[0], ours) and same(in_reference(made, {"x": x})[0], ours)


def test_a_depthwise_convolution_stays_float():
    source = parsed("float[1, 128, 6, 7] x", "float[1, 128, 4, 5] y", "y = Conv <group = 128> (x, w)",
                    w=floats(128, 1, 3, 3))  # fmt: skip
    (entry,) = quantize(source, conv=True).entries
    assert entry.reason == "depthwise: it has few bytes, and float32 is faster"


# -- where weights stand ------------------------------------------------------------------------
SPELLINGS = {
    "Constant node": ("w = Constant <value = VALUE> () y = MatMul (x, w)", {}),
    "Transpose": ("t = Transpose <perm = [1, 0]> (w) y = MatMul (x, t)", {"w": floats(50, 40)}),
    "Reshape, Identity": (
        "i = Identity (w) t = Reshape (i, s) y = MatMul (x, t)", {"w": floats(2000), "s": np.array([40, 50])}),
    "Cast": ("t = Cast <to = 1> (w) y = MatMul (x, t)", {"w": floats(40, 50).astype(np.float16)}),
    "Slice, Concat, Unsqueeze, Squeeze": (
        "a = Slice (w, zero, one, zero) b = Slice (w, one, two, zero) c = Concat <axis = 0> (b, a)"
        "u = Unsqueeze (c, zero) t = Squeeze (u, zero) y = MatMul (x, t)",
        {"w": floats(2, 20 * 50), "zero": np.array([0]), "one": np.array([1]), "two": np.array([2])}),
    "scale folded": ("t = Mul (w, s) y = MatMul (x, t)", {"w": floats(40, 50), "s": floats(50)}),
}  # fmt: skip


@pytest.mark.parametrize("case", SPELLINGS)
def test_weights_are_found_wherever_exporters_put_them(case):
    body, weights = SPELLINGS[case]
    if "Slice" in case:
        body = body.replace("y = MatMul (x, t)", "m = Reshape (t, s) y = MatMul (x, m)")
        weights = weights | {"s": np.array([40, 50])}
    source = parsed("float[m, 40] x", "float[m, 50] y", body.replace("VALUE", "float {0}"), **weights)
    if case == "Constant node":
        source.graph.node[0].attribute[0].t.CopyFrom(onnx.numpy_helper.from_array(floats(40, 50)))
    made, receipt = artifact(source)
    x = floats(3, 40, seed=1)
    want, got = in_reference(source, {"x": x})[0], in_onnxruntime(made, {"x": x})[0]
    assert [entry.exact for entry in receipt.entries] == [True]
    assert np.linalg.norm(got - want) < 0.02 * np.linalg.norm(want)
    assert all(node.op_type == "Linear" for node in made.graph.node)


def test_weights_of_an_outer_scope_and_of_both_branches():
    source = parser.parse_model("""
        <ir_version: 10, opset_import: ["": 21]>
        g (float[m, 40] x, bool c) => (float[m, 50] y) {
            y = If (c) <then_branch = a () => (float[m, 50] p) { p = MatMul (x, w) },
                        else_branch = b () => (float[m, 50] q) { t = Neg (x) q = MatMul (t, w) }>
        }""")
    weight = floats(40, 50)
    source.graph.initializer.append(onnx.numpy_helper.from_array(weight, "w"))
    made, receipt = artifact(source)
    assert len(receipt.quantized) == 2 and [entry.bytes_after == 0 for entry in receipt.entries] == [False, True]
    x, packed = floats(3, 40, seed=1), dq.pack_linear(weight.T, granularity="per_channel")
    for condition, sign in ((True, 1), (False, -1)):
        assert same(in_onnxruntime(made, {"x": x, "c": np.array(condition)})[0], dq.linear(F32(sign) * x, packed))


@pytest.mark.parametrize("kind", [np.float16, np.float64, ml_dtypes.bfloat16])
def test_models_of_other_float_types(kind):
    name = {"float16": "float16", "float64": "double", "bfloat16": "bfloat16"}[np.dtype(kind).name]
    weight = floats(40, 50).astype(kind)
    source = parsed(f"{name}[m, 40] x", f"{name}[m, 50] y", "y = MatMul (x, w)", w=weight)
    made, receipt = artifact(source)
    x = floats(3, 40, seed=1).astype(kind)
    got = in_reference(made, {"x": x})[0]
    ours = dq.linear(x.astype(F32), dq.pack_linear(weight.T.astype(F32), granularity="per_channel"))
    assert receipt.entries[0].exact and got.dtype == kind and same(got, ours.astype(kind))


def test_a_newer_opset_stays():
    source = parsed("float[m, 40] x", "float[m, 50] y", "y = MatMul (x, w)", opset=23, w=floats(40, 50))
    made, _ = artifact(source)
    x = floats(3, 40, seed=1)
    opsets = [{entry.domain: entry.version for entry in each.opset_import}[""] for each in (made, *made.functions)]
    assert opsets == [23, 23] and same(in_onnxruntime(made, {"x": x})[0], in_reference(made, {"x": x})[0])


def test_an_opset_that_is_too_old():
    source = parsed("float[m, 40] x", "float[m, 50] y", "y = MatMul (x, w)", opset=8, w=floats(40, 50))
    with pytest.raises(ValueError, match="model must have opset 9 or newer; got 8"):
        quantize(source)


@pytest.mark.parametrize("opset", [9, 11, 13, 17])
def test_old_opsets_are_raised(opset):
    body = "t = MatMul (x, w) u = Unsqueeze <axes = [0]> (t) s = Softmax (u) y = Squeeze <axes = [0]> (s)"
    if opset >= 13:
        body = "u = MatMul (x, w) y = Softmax (u)"
    source = parsed("float[m, 40] x", "float[m, 50] y", body, opset=opset, w=floats(40, 50))
    made, receipt = artifact(source)
    x = floats(3, 40, seed=1)
    assert {entry.domain: entry.version for entry in made.opset_import}[""] == 21 and receipt.quantized
    assert np.abs(in_onnxruntime(made, {"x": x})[0] - in_onnxruntime(source, {"x": x})[0]).max() < 0.02


def test_functions_of_the_model_itself_are_inlined():
    source = parser.parse_model("""
        <ir_version: 10, opset_import: ["": 21, "own": 1]>
        g (float[m, 40] x) => (float[m, 50] y) { y = own.Layer (x, w) }
        <domain: "own", opset_import: ["": 21]>
        Layer (a, b) => (c) { d = MatMul (a, b)  c = Relu (d) }""")
    source.graph.initializer.append(onnx.numpy_helper.from_array(floats(40, 50), "w"))
    made, receipt = artifact(source)
    assert [node.op_type for node in made.graph.node] == ["Linear", "Relu"] and receipt.coverage == 1


# -- what stays ---------------------------------------------------------------------------------
def test_everything_that_stays_has_a_reason():
    weight = floats(40, 50)
    nan = weight.copy()
    nan[1, 1] = np.nan
    body = (
        "a = MatMul (x, w3) b = MatMul (left, x2) c = MatMul (x, small) d = MatMul (x, nan)"
        "e = ConvTranspose (image, turned) f = MatMul (x, keep) g = MatMul (x, x2)"
    )
    source = parsed(
        "float[1, 2, 40] x, float[40, 40] x2, float[1, 8, 5, 5] image",
        "float[1, 2, 50] a, float[50, 40] b, float[1, 2, 8] c, float[1, 2, 50] d, float[1, 16, 7, 7] e,"
        "float[1, 2, 50] f, float[1, 2, 40] g",
        body, w3=floats(1, 40, 50), left=floats(50, 40), small=floats(40, 8), nan=nan, turned=floats(8, 16, 3, 3),
        keep=weight,
    )  # fmt: skip
    made, receipt = artifact(source, exclude="^keep$")
    assert {entry.weight: entry.reason for entry in receipt.kept} == {
        "w3": "the weight has 3 axes", "left": "the constant is the left factor", "small": "fewer than 1024 values",
        "nan": "the weight has NaN or infinite values", "turned": "ConvTranspose is not quantized", "keep": "excluded",
    }  # fmt: skip
    assert receipt.coverage == 0 and not made.functions
    with pytest.raises(CoverageError, match="strict: 5 of 6 weights stay in floats: w3: the weight") as caught:
        quantize(source, exclude="^keep$", strict=True)
    assert len(caught.value.receipt.kept) == 6
    every = ["^keep$", "^w3$", "^left$", "^small$", "^nan$", "^turned$"]  # of what is no layer of ours, too
    receipt = quantize(source, exclude=every, strict=True)
    assert {entry.reason for entry in receipt.kept} == {"excluded"} and len(receipt.kept) == 6
    with pytest.raises(ValueError, match=r"rule '\^other\$' matches no layer"):
        quantize(source, exclude=[*every, "^other$"])
