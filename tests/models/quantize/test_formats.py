"""quantize(format=…): what stands in the artifact, and what ONNX Runtime and onnx.reference compute of it."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import onnx_ir as ir
import pytest
from onnx import numpy_helper
from onnx_models import floats, in_onnxruntime, in_reference, parsed, same

import dynq_numba as dq
from dynq_numba.cli import main
from dynq_numba.cli.quantize import _FORMATS
from dynq_numba.graph.formats import FORMATS
from dynq_numba.graph.functions import MOST_K
from dynq_numba.onnx import CoverageError, InferenceSession, Receipt, inspect, quantize

F32, EPS = np.float32, float(np.finfo(np.float32).eps)
OTHERS = [name for name in FORMATS if name != "dynq"]
#: Bits and group sizes that a format has.
WIDE = [(8, None), (8, 32), (8, 128), (4, None), (4, 32), (4, 64), (4, 128)]
SCHEMES = {name: WIDE if name in ("qdq", "nbits") else [(8, None)] for name in OTHERS}


def artifact(model: onnx.ModelProto, **options) -> tuple[onnx.ModelProto, Receipt]:
    receipt = quantize(model, **options)
    made = ir.to_proto(receipt.model)
    onnx.checker.check_model(made, full_check=True)
    return made, receipt


def stored(made: onnx.ModelProto) -> dict[str, np.ndarray]:
    return {each.name: numpy_helper.to_array(each) for each in made.graph.initializer}


def operators(made: onnx.ModelProto) -> list[str]:
    return [node.op_type for node in made.graph.node if node.op_type != "Constant"]


def weights(made: onnx.ModelProto, n: int, k: int) -> np.ndarray:
    """The one weight of an artifact as floats [N, K], in float64, by what ONNX and ONNX Runtime say of the nodes."""
    arrays = stored(made)
    nodes = {node.op_type: node for node in made.graph.node}
    if "MatMulNBits" in nodes:
        given = {each.name: each.i for each in nodes["MatMulNBits"].attribute}
        bits, block, blob = given["bits"], given["block_size"], arrays["w.weight"]
        assert (given["K"], given["N"]) == (k, n) and blob.shape == (n, -(-k // block), block * bits // 8)
        q = blob if bits == 8 else np.stack([blob & 15, blob >> 4], axis=-1).reshape(n, -1, block)
        scale = arrays["w.scales"].reshape(n, -1, 1)
        return ((q.astype(np.float64) - 2 ** (bits - 1)) * scale).reshape(n, -1)[:, :k]
    q, scale = arrays["w.weight"].astype(np.float64), arrays["w.scale"].astype(np.float64)
    assert q.shape == (k, n)
    if "MatMulInteger" in nodes:
        q = q - arrays[nodes["MatMulInteger"].input[3]]
    return (q * (scale if scale.ndim == 1 else np.repeat(scale, k // len(scale), axis=0))).T


def rounding(x: np.ndarray, weight: np.ndarray, bias: np.ndarray) -> np.ndarray:
    """What float32 sums of K products, of a weight that was rounded, may be off: Higham's gamma."""
    k = weight.shape[1] + 4
    return k * EPS / (1 - k * EPS) * (np.abs(x.astype(np.float64)) @ np.abs(weight).T + np.abs(bias))


def of_blocks(x: np.ndarray, weight: np.ndarray, block: int) -> np.ndarray:
    """What x costs as int8 times a scale of each row and block, the largest value over 127: half of it for each."""
    k = x.shape[1]
    padded = np.pad(np.abs(x).astype(np.float64), ((0, 0), (0, -k % block))).reshape(len(x), -1, block)
    step = np.repeat(padded.max(axis=2), block, axis=1)[:, :k] / 127
    return (0.5 + 127 * 2 * EPS) * step @ np.abs(weight).T


def of_tensor(x: np.ndarray) -> float:
    """What a value of x is off after DynamicQuantizeLinear: half a step, and half of one for the zero point."""
    top, low = max(float(x.max()), 0.0), min(float(x.min()), 0.0)
    return (1 + 512 * EPS) * (top - low) / 255


# -- linears ------------------------------------------------------------------------------------
#: Format, bits, group size, K, N, block of x in ONNX Runtime.
LINEARS = [
    (name, bits, group, k, n, group or (32 if name == "qdq" or k == 20 else 128))
    for name in OTHERS for bits, group in SCHEMES[name] for k, n in ((256, 48), (300, 33), (20, 70))
    if not group or k % group == 0
]  # fmt: skip


@pytest.mark.parametrize("name,bits,group,k,n,block", LINEARS)
def test_a_linear(name, bits, group, k, n, block):
    """The integers of our kernels, and results within what the format costs."""
    weight, bias, x = floats(k, n), floats(n, seed=1), floats(9, k, seed=2) * np.exp(floats(9, 1, seed=3))
    source = parsed(f"float[m, {k}] x", f"float[m, {n}] y", "t = MatMul (x, w) y = Add (t, b)", w=weight, b=bias)
    scheme = {"bits": bits, "granularity": "per_group" if group else "per_channel", "group_size": group}
    made, receipt = artifact(source, format=name, **scheme)
    packed = dq.pack_linear(weight.T, **scheme)
    rounded = weights(made, n, k)
    assert np.array_equal(rounded.astype(F32), packed.dequantize())
    want = x.astype(np.float64) @ rounded.T + bias
    got = in_onnxruntime(made, {"x": x})[0]
    by_block = name in ("qdq", "nbits")
    steps = of_blocks(x, rounded, block) if by_block else of_tensor(x) * np.abs(rounded).sum(axis=1)
    assert np.all(np.abs(got - want) <= steps + rounding(x, rounded, bias))
    if name == "qdq":  # onnx.reference multiplies floats
        assert np.all(np.abs(in_reference(made, {"x": x})[0] - want) <= rounding(x, rounded, bias))
    elif name != "nbits":
        reference = in_reference(made, {"x": x})[0]
        assert np.all(np.abs(reference - want) <= steps + rounding(x, rounded, bias))
    entry = receipt.entries[0]
    assert (receipt.format, entry.scheme, entry.exact) == (name, packed.scheme, False)
    assert entry.bytes_after == sum(array.nbytes if array.dtype.name != "int4" else array.size // 2
                                    for array in stored(made).values())  # fmt: skip


GEMMS = {
    "plain": ("y = Gemm (x, w)", {}),
    "transB, alpha": ("y = Gemm <transB = 1, alpha = 0.5> (x, w)", {"w": floats(50, 40)}),
    "vector, beta": ("y = Gemm <beta = 2.0> (x, w, c)", {"c": floats(50)}),
    "matrix": ("y = Gemm (x, w, c)", {"c": floats(4, 50)}),
    "transA": ("t = Transpose <perm = [1, 0]> (x) y = Gemm <transA = 1> (t, w, c)", {"c": floats(50)}),
}


@pytest.mark.parametrize("name", OTHERS)
@pytest.mark.parametrize("case", GEMMS)
def test_a_gemm(case, name):
    """Compared with the default's integers times float x, within what x costs."""
    body, given = GEMMS[case]
    source = parsed("float[4, 40] x", "float[4, 50] y", body, **({"w": floats(40, 50)} | given))
    x = floats(4, 40, seed=3)
    whole, _ = artifact(source, format="qdq")
    want = in_reference(whole, {"x": x})[0]
    plain = artifact(source, format=name)[0]
    rounded = dq.pack_linear(_plain(case, given)).dequantize().astype(np.float64)
    steps = np.maximum(of_blocks(x, rounded, 64), of_tensor(x) * np.abs(rounded).sum(axis=1))
    got = in_onnxruntime(plain, {"x": x})[0]
    assert np.all(np.abs(got - want) <= steps + 2 * rounding(x, rounded, np.float64(4 * np.abs(want).max())))


def _plain(case: str, given: dict[str, np.ndarray]) -> np.ndarray:
    """The weight [N, K] that the Gemm multiplies by."""
    return given["w"] * F32(0.5) if case == "transB, alpha" else floats(40, 50).T


@pytest.mark.parametrize("name", OTHERS)
@pytest.mark.parametrize("shape", [(2, 3, 40), (40,), (0, 40)])
def test_a_linear_of_other_ranks(name, shape):
    weight, x = floats(40, 50), floats(*shape, seed=1)
    axes = [f"a{i}" for i in range(len(shape) - 1)]
    first, last = (", ".join([*axes, size]) for size in ("40", "50"))
    made, _ = artifact(parsed(f"float[{first}] x", f"float[{last}] y", "y = MatMul (x, w)", w=weight), format=name)
    got = in_onnxruntime(made, {"x": x})[0]
    assert got.shape == (*shape[:-1], 50)
    if x.size:
        rounded, rows = weights(made, 50, 40), x.reshape(-1, 40)
        bound = np.maximum(of_blocks(rows, rounded, 64), of_tensor(x) * np.abs(rounded).sum(axis=1))
        off = np.abs(got.reshape(-1, 50) - rows.astype(np.float64) @ rounded.T)
        assert np.all(off <= bound + rounding(rows, rounded, np.zeros(50)))


@pytest.mark.parametrize("name", OTHERS)
def test_a_model_in_float16(name):
    weight, x = floats(64, 48).astype(np.float16), floats(5, 64, seed=1).astype(np.float16)
    made, _ = artifact(parsed("float16[m, 64] x", "float16[m, 48] y", "y = MatMul (x, w)", w=weight), format=name)
    rounded, got = weights(made, 48, 64), in_onnxruntime(made, {"x": x})[0]
    want = x.astype(np.float64) @ rounded.T
    bound = np.maximum(of_blocks(x, rounded, 64), of_tensor(x) * np.abs(rounded).sum(axis=1))
    assert got.dtype == np.float16
    assert np.all(np.abs(got - want) <= bound + rounding(x, rounded, np.zeros(48)) + 2.0**-11 * (np.abs(want) + bound))


def test_what_runtimes_fuse_stands_as_they_look_for_it():
    """ONNX Runtime makes MatMulNBits of a DequantizeLinear of [K, N] that one MatMul alone takes."""
    body, arrays = "t = MatMul (x, w) y = Add (t, b)", {"w": floats(64, 48), "b": floats(48)}
    source = parsed("float[m, 64] x", "float[m, 48] y", body, **arrays)
    made, _ = artifact(source, format="qdq")
    assert operators(made) == ["DequantizeLinear", "MatMul", "Add"]
    assert [(each.name, each.i) for each in made.graph.node[0].attribute] == [("axis", 1)]
    groups, _ = artifact(source, format="qdq", bits=4)
    assert {each.name: each.i for each in groups.graph.node[0].attribute} == {"axis": 0, "block_size": 32}
    assert stored(groups)["w.weight"].shape == (64, 48) and stored(groups)["w.scale"].shape == (2, 48)
    nbits, _ = artifact(source, format="nbits", bits=4)
    assert operators(nbits) == ["MatMulNBits"] and [each.domain for each in nbits.opset_import] == ["", "com.microsoft"]
    assert {each.name: each.i for each in nbits.graph.node[0].attribute}["accuracy_level"] == 4
    old, _ = artifact(source, format="qoperator")
    assert operators(old) == ["DynamicQuantizeLinear", "MatMulInteger", "Cast", "Mul", "Mul", "Add"]
    assert [each.domain for each in old.opset_import] == [""] and not old.functions
    fast, _ = artifact(source, format="qoperator_u8s8")
    assert [stored(each)["w.weight"].dtype.name for each in (old, fast)] == ["uint8", "int8"]


# -- tables -------------------------------------------------------------------------------------
@pytest.mark.parametrize("name", OTHERS)
def test_a_table_has_our_bits(name):
    table, ids = floats(100, 24), np.array([[0, 5], [99, 1]])
    source = parsed("int64[a, b] ids", "float[a, b, 24] y", "y = Gather (w, ids)", w=table)
    made, receipt = artifact(source, format=name)
    ours = dq.embedding(ids, dq.pack_embedding(table))
    assert receipt.exact and "DequantizeLinear" not in operators(made)
    assert same(in_onnxruntime(made, {"ids": ids})[0], ours) and same(in_reference(made, {"ids": ids})[0], ours)


@pytest.mark.parametrize("name", OTHERS)
def test_a_tied_table_is_stored_once_where_the_layout_allows(name):
    table = floats(200, 64)
    body = "x = Gather (e, ids) y = Gemm <transB = 1> (x, e)"
    made, receipt = artifact(parsed("int64[n] ids", "float[n, 200] y", body, e=table), format=name)
    ids, rounded = np.array([3, 199, 0]), dq.pack_linear(table).dequantize()
    once = name != "nbits"  # whose blocks no Gather reads
    assert [entry.bytes_after == 0 for entry in receipt.entries] == [once, False]
    got = in_onnxruntime(made, {"ids": ids})[0]
    x = rounded[ids] if once else dq.embedding(ids, dq.pack_embedding(table))
    rows = rounded.astype(np.float64)
    bound = np.maximum(of_blocks(x, rows, 64), of_tensor(x) * np.abs(rows).sum(axis=1))
    assert np.all(np.abs(got - x.astype(np.float64) @ rows.T) <= bound + rounding(x, rows, np.zeros(200)))


# -- recurrent layers and convolutions ----------------------------------------------------------
RECURRENT = {
    "LSTM": ("y, h, c = LSTM <hidden_size = 24> (x, w, r, b)", 4, 1),
    "LSTM both ways, states": (
        'y, h, c = LSTM <hidden_size = 24, direction = "bidirectional", layout = 0> (x, w, r, b, , h0, c0)', 4, 2),
    "LSTM peepholes, no bias": ("y, h, c = LSTM <hidden_size = 24> (x, w, r, , , , , p)", 4, 1),
    "GRU": ("y, h = GRU <hidden_size = 24, linear_before_reset = 1> (x, w, r, b)", 3, 1),
    "GRU reverse, lengths": ('y, h = GRU <hidden_size = 24, direction = "reverse"> (x, w, r, , lens)', 3, 1),
    "RNN": ('y, h = RNN <hidden_size = 24, direction = "reverse"> (x, w, r, b)', 1, 1),
}  # fmt: skip


def recurrent(case: str) -> tuple[onnx.ModelProto, dict[str, np.ndarray], dict[str, np.ndarray]]:
    """A model, what is fed to it, and its weights."""
    body, gates, directions = RECURRENT[case]
    arrays = {
        "w": floats(directions, gates * 24, 40) / F32(6), "r": floats(directions, gates * 24, 24, seed=1) / F32(5),
        "b": floats(directions, 2 * gates * 24, seed=2), "p": floats(directions, 72, seed=3) / F32(4),
    }  # fmt: skip
    feeds = {"x": floats(6, 3, 40, seed=4)}
    text, results = "float[t, 3, 40] x", f"float[t, {directions}, 3, 24] y, float[{directions}, 3, 24] h"
    if "h0" in body:
        feeds |= {name: floats(directions, 3, 24, seed=5) for name in ("h0", "c0")}
        text += "".join(f", float[{directions}, 3, 24] {name}" for name in ("h0", "c0"))
    if "lens" in body:
        feeds["lens"] = np.array([6, 2, 4], np.int32)
        text += ", int32[3] lens"
    return parsed(text, results, body, **{name: array for name, array in arrays.items() if name in body}), feeds, arrays


def rounded_rows(array: np.ndarray) -> np.ndarray:
    return np.stack([dq.pack_linear(part, granularity="per_channel").dequantize() for part in array])


@pytest.mark.parametrize("case", RECURRENT)
def test_qdq_of_a_recurrent_layer_is_the_float_layer_of_rounded_weights(case):
    source, feeds, arrays = recurrent(case)
    made, receipt = artifact(source, format="qdq")
    rounded = onnx.ModelProto.FromString(source.SerializeToString())
    for tensor in rounded.graph.initializer:
        if tensor.name in ("w", "r"):
            tensor.CopyFrom(numpy_helper.from_array(rounded_rows(arrays[tensor.name]), tensor.name))
    for run in (in_onnxruntime, in_reference):
        assert all(same(a, b) for a, b in zip(run(made, feeds), run(rounded, feeds), strict=True))
    assert [entry.exact for entry in receipt.entries] == [False, False]


@pytest.mark.parametrize("name", ["qoperator", "qoperator_u8s8"])
@pytest.mark.parametrize("case", ["LSTM", "LSTM both ways, states", "LSTM peepholes, no bias"])
def test_an_lstm_of_integers(case, name):
    """One step of time: sigmoid has slopes up to 1/4, tanh up to 1; ONNX Runtime's are within 1e-6 of them."""
    source, feeds, arrays = recurrent(case)
    feeds["x"] = feeds["x"][:1]
    made, receipt = artifact(source, format=name)
    assert operators(made) == ["DynamicQuantizeLSTM"] and receipt.coverage == 1
    w, r = (rounded_rows(arrays[each]).astype(np.float64) for each in ("w", "r"))
    h0, c0 = (feeds.get(each, np.zeros((len(w), 3, 24))) for each in ("h0", "c0"))
    gate = of_tensor(feeds["x"]) * np.abs(w).sum(axis=2).max() + of_tensor(h0) * np.abs(r).sum(axis=2).max()
    gate += 100 * EPS * (np.abs(w).sum(axis=2).max() * np.abs(feeds["x"]).max() + np.abs(arrays["b"]).max() * 2)
    peephole = np.abs(arrays["p"]).max() if "p" in RECURRENT[case][0] else 0
    cell = gate * (np.abs(c0).max() / 4 + 1.25) + 3e-6 * (1 + np.abs(c0).max())
    bound = (gate + peephole * cell) / 4 + cell + 3e-6
    rounded = onnx.ModelProto.FromString(source.SerializeToString())
    for tensor in rounded.graph.initializer:
        if tensor.name in ("w", "r"):
            tensor.CopyFrom(numpy_helper.from_array(rounded_rows(arrays[tensor.name]), tensor.name))
    for got, want in zip(in_onnxruntime(made, feeds), in_reference(rounded, feeds), strict=True):
        assert 0 < np.abs(got.astype(np.float64) - want).max() <= bound


@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize("name", ["qdq", "qoperator", "qoperator_u8s8"])
def test_a_convolution(name, bias):
    weight, x, b = floats(32, 8, 3, 3), floats(2, 16, 9, 9, seed=1), floats(32, seed=2)
    body = f"y = Conv <group = 2, pads = [1, 0, 2, 1], strides = [2, 1]> (x, w{', b' if bias else ''})"
    values, given = ("float[2, 16, 9, 9] x", "float[2, 32, 5, 8] y", body), {"b": b} if bias else {}
    source = parsed(*values, w=weight, **given)
    made, receipt = artifact(source, format=name, conv=True)
    assert receipt.coverage == 1
    q = dq.pack_conv(weight, groups=2)
    rounded = (q.qweight.reshape(32, -1) * q.scale.reshape(32, 1)).reshape(weight.shape).astype(F32)
    want = in_reference(parsed(*values, w=rounded, **given), {"x": x})[0]
    sums = np.abs(rounded).sum(axis=(1, 2, 3), dtype=np.float64).reshape(-1, 1, 1)
    bound = 80 * EPS * (sums * np.abs(x).max() + 4) + (0 if name == "qdq" else of_tensor(x) * sums)
    runs = [in_onnxruntime(made, {"x": x})[0]]
    if name != "qoperator_u8s8":  # onnx.reference adds up int8 in int8
        runs.append(in_reference(made, {"x": x})[0])
    for got in runs:
        assert np.all(np.abs(got - want) <= bound)


# -- and back -----------------------------------------------------------------------------------
LSTMS = [case for case in RECURRENT if case.startswith("LSTM")]
INTEGERS = ("qoperator", "qoperator_u8s8")


@pytest.mark.parametrize("name,case", [
    *(("qdq", case) for case in RECURRENT), *((name, case) for name in INTEGERS for case in LSTMS),
])  # fmt: skip
def test_our_session_has_the_same_bits_of_a_recurrent_layer_in_any_format(name, case):
    source, feeds, _ = recurrent(case)
    results = [InferenceSession(quantize(source, format=each).model).run(None, feeds) for each in ("dynq", name)]
    assert all(same(a, b) for a, b in zip(*results, strict=True))


@pytest.mark.parametrize("name,bits,group", [(name, *scheme) for name in OTHERS for scheme in SCHEMES[name]])
def test_our_session_has_the_same_bits_of_a_linear_in_any_format(name, bits, group):
    scheme = {"bits": bits, "granularity": "per_group" if group else "per_channel", "group_size": group}
    weight, bias, x = floats(256, 48), floats(48, seed=1), floats(9, 256, seed=2)
    source = parsed("float[m, 256] x", "float[m, 48] y", "t = MatMul (x, w) y = Add (t, b)", w=weight, b=bias)
    got = InferenceSession(quantize(source, format=name, **scheme).model).run(None, {"x": x})[0]
    assert same(got, dq.linear(x, dq.pack_linear(weight.T, bias, **scheme)))


@pytest.mark.parametrize("name", ["qdq", *INTEGERS])
def test_our_session_has_the_same_bits_of_other_layers_in_any_format(name):
    """A table that is a linear's weight, too, a linear with a bias, a Gemm, and a convolution."""
    arrays = {"e": floats(100, 48), "w": floats(48, 64), "b": floats(64), "k": floats(128, 1, 3, 3)}
    body = (
        "a = Gather (e, ids) p = MatMul (a, w) q = Add (p, b) y = Gemm <transB = 1> (a, e) "
        "axes = Constant <value_ints = [0, 1]> () i = Unsqueeze (q, axes) z = Conv <pads = [1, 1, 1, 1]> (i, k)"
    )
    source = parsed("int64[n] ids", "float[n, 100] y, float[1, 128, n, 64] z", body, **arrays)
    feeds = {"ids": np.array([3, 99, 0, 41])}
    results = []
    for each in ("dynq", name):
        receipt = quantize(source, format=each, conv=True)
        assert receipt.coverage == 1
        results.append(InferenceSession(receipt.model).run(None, feeds))
    assert all(same(a, b) for a, b in zip(*results, strict=True))


# -- what a format cannot say -------------------------------------------------------------------
def everything() -> onnx.ModelProto:
    given = {
        "e": floats(100, 48), "w": floats(48, 64), "i": floats(1, 96, 64), "r": floats(1, 96, 24),
        "g": floats(1, 72, 24), "gr": floats(1, 72, 24), "axis": np.array([1]),
    }  # fmt: skip
    body = (
        "a = Gather (e, ids) p = MatMul (a, w) t, h, c = LSTM <hidden_size = 24> (p, i, r) s = Squeeze (t, axis) "
        "y, last = GRU <hidden_size = 24> (s, g, gr)"
    )
    return parsed("int64[t, n] ids", "float[t, 1, n, 24] y", body, **given)


@pytest.mark.parametrize("name,floating", [
    ("qdq", []),
    ("nbits", ["LSTM", "LSTM", "GRU", "GRU"]),
    ("qoperator", ["GRU", "GRU"]),
    ("qoperator_u8s8", ["GRU", "GRU"]),
])  # fmt: skip
def test_layers_that_a_format_does_not_have_stay_in_floats_with_the_reason(name, floating):
    made, receipt = artifact(everything(), format=name)
    assert [entry.op_type for entry in receipt.kept] == floating
    assert [entry.reason for entry in receipt.kept] == [f"format={name!r} has no {op}" for op in floating]
    assert in_onnxruntime(made, {"ids": np.array([[1, 2], [3, 99]])})[0].shape == (2, 1, 2, 24)
    if floating:
        with pytest.raises(CoverageError, match=rf"strict: {len(floating)} of \d+ weights .*has no GRU"):
            quantize(everything(), format=name, strict=True)


SAID = {"qdq": "weights of 8 or 4 bits and says nothing of x", "nbits": "weights of 8 or 4 bits and says nothing of x",
        "qoperator": "weights of 8 bits per channel or per tensor, and 8 bits of x"}  # fmt: skip


@pytest.mark.parametrize("name,options,asked", [
    ("qdq", {"x_bits": 16}, "the call asks for per_channel, 8 bits, x_bits=16"),
    ("nbits", {"x_bits": 16}, "the call asks for per_channel, 8 bits, x_bits=16"),
    ("qoperator", {"bits": 4}, "the call asks for per_group, 4 bits"),
    ("qoperator", {"group_size": 64}, "the call asks for per_group, 8 bits"),
    ("qoperator", {"recipe": {"rule": [{"op": "GRU", "bits": 32}, {"match": "w", "bits": 4}]}},
     "rule 2 of the recipe asks for per_group, 4 bits"),
])  # fmt: skip
def test_a_scheme_that_a_format_does_not_have(name, options, asked, tmp_path):
    with pytest.raises(ValueError) as caught:
        quantize(everything(), tmp_path / "out.onnx", format=name, **options)
    assert str(caught.value) == f"format={name!r} has {SAID[name]}; {asked}" and not list(tmp_path.iterdir())


def test_a_format_that_is_none():
    with pytest.raises(ValueError, match=r"format must be one of 'dynq', 'qdq', 'nbits', .*; got str 'gguf'"):
        quantize(everything(), format="gguf")


def test_sums_that_int32_cannot_hold_stay_in_floats():
    k = MOST_K + 10
    source = parsed(f"float[m, {k}] x", "float[m, 2] y", "y = MatMul (x, w)", w=floats(k, 2))
    told = quantize(source, format="qoperator").kept[0]
    assert told.reason == f"K = {k}: at most {MOST_K} products fit the int32 sums of MatMulInteger"
    assert quantize(source, format="qdq").coverage == quantize(source, format="nbits").coverage == 1


# -- the artifact -------------------------------------------------------------------------------
@pytest.mark.parametrize("name", FORMATS)
def test_the_same_model_gives_the_same_bytes_and_the_receipt_names_the_format(name, tmp_path):
    paths = [tmp_path / "a.onnx", tmp_path / "b.onnx"]
    for path in paths:
        quantize(everything(), path, format=name)
    assert paths[0].read_bytes() == paths[1].read_bytes()
    told = inspect(paths[0])
    assert told.format == name == json.loads(told.to_json())["format"]
    assert [note for note in told.notes if note.startswith(f"{name}: ")] == [FORMATS[name].runtimes] * (name != "dynq")


@pytest.mark.parametrize("name", OTHERS)
def test_layers_in_branches_and_names_that_are_taken(name):
    """Layers of one weight, one of them in each branch, and values that are called as those of the bodies."""
    text = """<ir_version: 10, opset_import: ["": 21]>
    g (bool yes, float[m, 64] x) => (float[m, 32] y, float[m, 32] z) {
        floats = Identity (x) product = Identity (floats)
        z = MatMul (product, weight)
        y = If (yes) <then_branch = a () => (float[m, 32] p) { p = MatMul (product, weight) },
                      else_branch = b () => (float[m, 32] q) { r = MatMul (product, weight) q = Neg (r) }>
    }"""
    source = onnx.parser.parse_model(text)
    source.graph.initializer.append(numpy_helper.from_array(floats(64, 32), "weight"))
    made, receipt = artifact(source, format=name)
    names = [value for graph in graphs(made.graph) for node in graph.node for value in node.output]
    assert len(names) == len(set(names)) and receipt.quantized
    x = floats(3, 64, seed=1)
    for yes, sign in ((True, 1), (False, -1)):
        y, z = in_onnxruntime(made, {"yes": np.array(yes), "x": x})
        assert np.array_equal(y, sign * z) and y.any()


def graphs(graph: onnx.GraphProto) -> list[onnx.GraphProto]:
    inner = [each.g for node in graph.node for each in node.attribute if each.HasField("g")]
    return [graph, *(found for each in inner for found in graphs(each))]


def test_an_artifact_in_another_format_is_not_quantized_twice():
    first = quantize(everything(), format="qdq")
    again = quantize(first.model, format="nbits")
    assert again.quantized == [replace(each, reason="quantized before") for each in first.quantized]
    assert again.quantized


def test_the_command(tmp_path, capsys):
    onnx.save(everything(), tmp_path / "model.onnx")
    assert _FORMATS == tuple(FORMATS)
    assert main(["quantize", str(tmp_path / "model.onnx"), "--format", "nbits"]) == 0
    out = capsys.readouterr().out
    assert "format='nbits' has no LSTM" in out and FORMATS["nbits"].runtimes in " ".join(out.split())
    made = onnx.load(tmp_path / "model.int8.nbits.onnx")
    assert "MatMulNBits" in operators(made)
    assert main(["quantize", str(tmp_path / "model.onnx"), "--format", "qoperator", "--bits", "4"]) == 1
    assert f"has {SAID['qoperator']}; the call asks for per_group, 4 bits" in capsys.readouterr().err
    assert sorted(path.name for path in Path(tmp_path).iterdir()) == ["model.int8.nbits.onnx", "model.onnx"]
