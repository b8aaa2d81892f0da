"""quantize on what exporters really write: old formats, branches, external data, odd types, weights of two users.

Each artifact passes the full checker, and is compared with the float model in ONNX Runtime.
"""

from __future__ import annotations

import gc
from dataclasses import replace

import numpy as np
import onnx
import onnx_ir as ir
import onnxruntime
import pytest
from onnx import TensorProto, helper, numpy_helper, parser
from onnx_models import in_onnxruntime, parsed

import dynq_numba as dq
from dynq_numba.onnx import Receipt, quantize

F16 = np.float16


def floats(*shape: int, seed: int = 0, kind: type = np.float32) -> np.ndarray:
    return (np.random.default_rng(seed).standard_normal(shape) / 4).astype(kind)


X = floats(3, 40, seed=9)


def compared(source: onnx.ModelProto, feeds: dict[str, np.ndarray], **options) -> tuple[onnx.ModelProto, Receipt]:
    """The artifact, whose results have the types and shapes of the source's, and nearly the values."""
    before = source.SerializeToString(deterministic=True)
    receipt = quantize(source, **options)
    assert source.SerializeToString(deterministic=True) == before
    made = ir.to_proto(receipt.model)
    onnx.checker.check_model(made, full_check=True)
    for got, want in zip(in_onnxruntime(made, feeds), in_onnxruntime(source, feeds), strict=True):
        assert got.dtype == want.dtype and got.shape == want.shape
        assert np.linalg.norm(np.float64(got) - want) <= 0.03 * np.linalg.norm(np.float64(want))
    return made, receipt


# -- types --------------------------------------------------------------------------------------
@pytest.mark.parametrize("kind,name", [(F16, "float16"), (np.float64, "double")])
@pytest.mark.parametrize("shape", [(50,), (3, 50), (1,), (3, 1)])
def test_a_gemm_with_beta_of_another_float_type(kind, name, shape):
    body, weights = "y = Gemm <beta = 2.0> (x, w, c)", {"w": floats(40, 50, kind=kind), "c": floats(*shape, kind=kind)}
    _, receipt = compared(parsed(f"{name}[3, 40] x", f"{name}[3, 50] y", body, **weights), {"x": X.astype(kind)})
    assert len(receipt.quantized) == 1


RESULTS = {
    "all": (
        "float[t, 1, n, 24] y, float[1, n, 24] h, float[1, n, 24] c", "y, h, c = LSTM <hidden_size = 24> (x, w, r, b)"),
    "last": ("float[1, n, 24] c", ", , c = LSTM <hidden_size = 24> (x, w, r, b)"),
    "middle": ("float[1, n, 24] h", ", h = LSTM <hidden_size = 24> (x, w, r, b)"),
    "no hidden_size": ("float[t, 1, n, 24] y, float[1, n, 24] h", "y, h = LSTM (x, w, r, b)"),
    "lengths": ("float[1, n, 24] h", "y, h = LSTM <hidden_size = 24> (x, w, r, b, lens)"),
}  # fmt: skip


@pytest.mark.parametrize("kind,name", [(np.float32, "float"), (F16, "float16")])
@pytest.mark.parametrize("case", RESULTS)
def test_results_of_an_lstm(case, kind, name):
    outputs, body = RESULTS[case]
    weights = {"w": floats(1, 96, 40, kind=kind), "r": floats(1, 96, 24, kind=kind), "b": floats(1, 192, kind=kind)}
    inputs, feeds = f"{name}[t, n, 40] x", {"x": floats(5, 3, 40, seed=1, kind=kind)}
    if "lens" in body:
        inputs, feeds["lens"] = f"{inputs}, int32[n] lens", np.array([5, 2, 1], np.int32)
    source = parsed(inputs, outputs.replace("float[", f"{name}["), body, **weights)
    if case == "no hidden_size" or kind == F16:  # ONNX Runtime has no such LSTM, but the artifact runs there
        made = ir.to_proto(quantize(source).model)
        onnx.checker.check_model(made, full_check=True)
        whole = parsed(
            inputs.replace(name, "float"), outputs, body.replace("LSTM (", "LSTM <hidden_size = 24> ("),
            **{role: array.astype(np.float32) for role, array in weights.items()},
        )  # fmt: skip
        want = in_onnxruntime(whole, {role: x if x.dtype == np.int32 else np.float32(x) for role, x in feeds.items()})
        for got, each in zip(in_onnxruntime(made, feeds), want, strict=True):
            assert got.dtype == kind and np.linalg.norm(got - each) < 0.03 * np.linalg.norm(each)
    else:
        compared(source, feeds)


# -- which weights ------------------------------------------------------------------------------
@pytest.mark.parametrize("axis", [0, 1, -2])
def test_a_lookup_in_the_weight_of_a_linear_keeps_its_axis(axis):
    body = f"y = Gemm <transB = 1> (x, w) z = Gather <axis = {axis}> (w, ids)"
    source = parsed("float[m, 40] x, int64[b] ids", "float[m, 40] y, float[p, q] z", body, w=floats(40, 40))
    _, receipt = compared(source, {"x": X, "ids": np.array([1, -2])})
    assert [entry.reason for entry in receipt.entries][1:] == [
        "Gather along axis 1 of 2 axes" if axis == 1 else "stored with w"
    ]


def test_a_weight_that_a_float_operator_takes_too_is_listed_twice():
    body = "y = MatMul (x, w) s = ReduceSum (x) z = Mul (w, s)"
    source = parsed("float[m, 40] x", "float[m, 50] y, float[40, 50] z", body, w=floats(40, 50))
    _, receipt = compared(source, {"x": X})
    assert [(entry.op_type, entry.reason) for entry in receipt.entries] == [
        ("MatMul", ""),
        ("Mul", "Mul is not quantized"),
    ]
    assert receipt.coverage == 0.5


@pytest.mark.parametrize("x", [floats(3, 1100), floats(1100)])
def test_an_addend_that_widens_the_result_is_no_bias(x):
    rows = "m, " * (x.ndim - 1)
    source = parsed(
        f"float[{rows}1100] x", f"float[{rows}5] y", "t = MatMul (x, w) y = Add (t, b)", w=floats(1100, 1), b=floats(5)
    )
    made, receipt = compared(source, {"x": x})
    assert receipt.coverage == 1 and [node.op_type for node in made.graph.node] == ["Linear", "Add"]


def test_a_convolution_of_constants_is_a_constant():
    weights = {"image": floats(1, 8, 7, 10), "kernel": floats(16, 8, 3, 3), "s": np.array([40, 16])}
    body = "c = Conv (image, kernel) w = Reshape (c, s) y = MatMul (x, w)"
    _, receipt = compared(parsed("float[m, 40] x", "float[m, 16] y", body, **weights), {"x": X}, conv=True)
    assert [(entry.weight, entry.op_type) for entry in receipt.entries] == [("w", "MatMul")]


def test_integers_of_another_quantizer_stay():
    weight = np.random.default_rng(0).integers(-127, 128, (40, 50)).astype(np.int8)
    source = parsed(
        "float[m, 40] x",
        "float[m, 50] y",
        "t = DequantizeLinear (w, s) y = MatMul (x, t)",
        w=weight,
        s=np.float32(0.01).reshape(()),
    )
    made, receipt = compared(source, {"x": X})
    assert [tensor.name for tensor in made.graph.initializer] == ["w", "s"]
    entry = ("w", "DequantizeLinear", "int8", "integers of the file", 2000, 2000)
    (found,) = receipt.entries
    assert (found.weight, found.op_type, found.scheme, found.reason, found.bytes_before, found.bytes_after) == entry
    assert len(receipt.notes) == 1 and receipt.notes[0].startswith("integers of the file stay")


@pytest.mark.parametrize("bits", [8, 4])
def test_an_artifact_keeps_its_functions_when_it_is_quantized_again(bits):
    source = parsed(
        "float[m, 64] x, float[n, 64] z",
        "float[m, 50] y, float[n, 50] q",
        "y = MatMul (x, w) q = MatMul (z, v)",
        w=floats(64, 50),
        v=floats(64, 50, seed=1),
    )
    first = quantize(source, bits=bits, exclude="v")
    once = ir.to_proto(first.model)
    made, receipt = compared(once, {"x": floats(3, 64), "z": floats(2, 64)})
    assert [node.op_type for node in made.graph.node] == ["Linear" if bits == 8 else "LinearGroup32", "Linear"]
    assert receipt.notes == ["the model had been quantized before: its functions of domain dynq stay"]
    (fresh, kept), before = receipt.entries, first.quantized[0]
    assert (fresh.weight, fresh.reason) == ("v", "") and kept == replace(before, reason="quantized before")
    again = quantize(made, bits=bits)  # the scales of its functions are no weights of a float operator
    assert [(each.weight, each.reason) for each in again.entries] == [(n, "quantized before") for n in ("v", "w")]
    assert again.bytes_after == receipt.bytes_after and again.coverage == 1
    again = quantize(quantize(source, format="qdq").model)
    assert {each.reason for each in again.entries} == {"quantized before"}
    assert again.notes[0] == "the model had been quantized before: what is integers stays"


def test_what_no_table_needs_is_not_kept_in_memory():
    weights = {f"w{i}": floats(40, 40, seed=i) for i in range(6)}
    body = "".join(f"h{i + 1} = MatMul (h{i}, w{i}) " for i in range(6))
    alive = []

    def count(*_):
        gc.collect()
        alive.append(sum(type(each) is dq.PackedLinear for each in gc.get_objects()))

    quantize(parsed("float[m, 40] h0", "float[m, 40] h6", body, **weights), progress=count)
    assert len(alive) == 6 and alive[-1] <= alive[0] + 1


def test_functions_of_others_in_our_domain_keep_their_meaning():
    source = parser.parse_model("""
        <ir_version: 10, opset_import: ["": 21, "dynq": 1]>
        g (float[m, 40] x) => (float[m, 50] y) { t = MatMul (x, w) y = dynq.Linear (t) }
        <domain: "dynq", opset_import: ["": 21]> Linear (a) => (b) { b = Neg (a) }""")
    source.graph.initializer.append(numpy_helper.from_array(floats(40, 50), "w"))
    compared(source, {"x": X})


# -- scopes, names, formats ---------------------------------------------------------------------
@pytest.mark.parametrize("opset", [11, 13, 21])
@pytest.mark.parametrize("condition", [True, False])
def test_a_branch_with_a_weight_of_its_own(opset, condition):
    own = numpy_helper.from_array(floats(40, 50, seed=3), "w")
    output = helper.make_tensor_value_info("p", TensorProto.FLOAT, ["m", 50])
    branches = {
        f"{name}_branch": helper.make_graph(
            [helper.make_node("MatMul", ["x", "w"], ["p"])], name, [], [output], weights
        )
        for name, weights in (("then", [own]), ("else", [numpy_helper.from_array(floats(40, 50), "w")]))
    }
    source = parsed("float[m, 40] x, bool c", "float[m, 50] y", "y = Identity (x)", opset=opset)
    source.graph.node[0].CopyFrom(helper.make_node("If", ["c"], ["y"], **branches))
    made, receipt = compared(source, {"x": X, "c": np.array(condition)})
    assert len(receipt.quantized) == 2 and not any(len(a.g.initializer) for a in made.graph.node[0].attribute)
    assert all(tensor.data_type != TensorProto.FLOAT or np.prod(tensor.dims) < 100 for tensor in made.graph.initializer)


def test_new_names_in_a_branch_are_none_of_outside():
    source = parser.parse_model("""
        <ir_version: 10, opset_import: ["": 21]>
        g (float16[m, 40] x, bool c) => (float16[m, 50] y, float16[m, 40] val_0) {
            val_0 = Neg (x)
            y = If (c) <then_branch = a () => (float16[m, 50] p) { p = MatMul (x, w) },
                        else_branch = b () => (float16[m, 50] q) { t = Neg (x) q = MatMul (t, w) }>
        }""")
    source.graph.initializer.append(numpy_helper.from_array(floats(40, 50, kind=F16), "w"))
    compared(source, {"x": X.astype(F16), "c": np.array(False)})


def test_an_input_that_has_the_name_we_would_give():
    source = parsed("float[m, 40] x", "float[m, 50] y", "y = MatMul (x, w)", w=floats(40, 50))
    source.graph.input.append(helper.make_tensor_value_info("w.weight", TensorProto.FLOAT, ["m"]))
    compared(source, {"x": X, "w.weight": floats(3)})


@pytest.mark.parametrize("opset,ir_version", [(9, 3), (21, 3), (17, 8), (21, 10)])
def test_initializers_that_are_inputs_too(opset, ir_version):
    body, weights = "t = MatMul (x, w) y = Mul (t, s)", {"w": floats(40, 50), "s": floats(1)}
    source = parsed("float[m, 40] x, float[40, 50] w, float[1] s", "float[m, 50] y", body, opset=opset, **weights)
    source.ir_version = ir_version
    made, receipt = compared(source, {"x": X})
    assert receipt.coverage == 1
    if ir_version < 4:
        assert [each.name for each in made.graph.input] == ["x"] and not receipt.notes
    else:  # what is a default value, and small, stays one
        compared(source, {"x": X, "s": floats(1, seed=5)})
        assert [each.name for each in made.graph.input] == ["x", "s"]
        assert receipt.notes == ["no longer inputs, which a caller could replace: w"]


def test_what_a_model_says_of_itself_is_kept():
    source = parsed("float[m, 40] x", "float[m, 50] y", "y = MatMul (x, w)", w=floats(40, 50))
    source.opset_import.append(helper.make_opsetid("other", 3))
    helper.set_model_props(source, {"author": "me"})
    source.graph.node[0].doc_string = "of the first layer"
    source.graph.node[0].metadata_props.add(key="module", value="first")
    made, _ = compared(source, {"x": X})
    node = made.graph.node[0]
    assert node.doc_string == "of the first layer" and {p.key: p.value for p in node.metadata_props} == {
        "module": "first"
    }
    assert {each.domain: each.version for each in made.opset_import} == {"": 21, "other": 3, "dynq": 1}
    assert [each.key for each in made.metadata_props] == ["author", "dynq.receipt"]


def test_a_sparse_weight_is_a_clear_error():
    values, places = (
        helper.make_tensor("w", TensorProto.FLOAT, [2], [1, 2]),
        helper.make_tensor("i", TensorProto.INT64, [2], [3, 7]),
    )
    source = parsed("float[m, 40] x", "float[m, 50] y", "y = MatMul (x, w)")
    source.graph.sparse_initializer.append(helper.make_sparse_tensor(values, places, [40, 50]))
    with pytest.raises(ValueError, match=r"model is no valid .*: it has sparse initializers, which cannot be read: w"):
        quantize(source)


# -- files --------------------------------------------------------------------------------------
@pytest.mark.parametrize("opset", [17, 21])
def test_external_data_goes_where_the_artifact_goes(opset, tmp_path):
    body = "t = MatMul (x, w) u = Add (t, b) v = MatMul (u, keep) y = Reshape (v, s)"
    weights = {"w": floats(40, 50), "b": floats(1, 50), "keep": floats(50, 50, seed=2), "s": np.array([0, 2, 25])}
    source = parsed("float[m, 40] x", "float[m, 2, 25] y", body, opset=opset, **weights)
    (tmp_path / "in").mkdir()
    (tmp_path / "out").mkdir()
    path, out = tmp_path / "in" / "model.onnx", tmp_path / "out" / "model.onnx"
    want = in_onnxruntime(source, {"x": X})[0]
    onnx.save(source, path, save_as_external_data=True, location="model.bin", size_threshold=0)
    made = []
    for given in (path, ir.load(path)):
        quantize(given, out, exclude="keep")
        onnx.checker.check_model(out, full_check=True)
        got = onnxruntime.InferenceSession(out, providers=["CPUExecutionProvider"]).run(None, {"x": X})[0]
        assert np.linalg.norm(got - want) < 0.03 * np.linalg.norm(want)
        assert [each.name for each in out.parent.iterdir()] == ["model.onnx"]
        made.append(onnx.load(out).graph.SerializeToString(deterministic=True))
    assert made[0] == made[1]


def test_a_folder_that_is_not_there_is_noticed_before_the_work(tmp_path):
    seen = []
    source = parsed("float[m, 40] x", "float[m, 50] y", "y = MatMul (x, w)", w=floats(40, 50))
    with pytest.raises(FileNotFoundError, match=r"out must be in a folder that exists; got .*absent.x\.onnx"):
        quantize(source, tmp_path / "absent" / "x.onnx", progress=lambda *each: seen.append(each))
    assert not seen


def test_a_weight_behind_other_nodes_has_the_name_that_its_author_gave_it():
    body = "c = Cast <to = 1> (head) t = Transpose <perm = [1, 0]> (c) y = MatMul (x, t)"
    source = parsed("float[m, 40] x", "float[m, 50] y", body, head=np.eye(50, 40, dtype=np.float16))
    assert [entry.weight for entry in quantize(source, include="^head$").quantized] == ["head"]
    assert [entry.reason for entry in quantize(source, exclude="^t$").kept] == ["excluded"]
