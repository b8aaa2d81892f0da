"""Rewrites that make several spellings one, before others look: what is left, and that results keep their bits."""

from __future__ import annotations

from collections import Counter

import numpy as np
import onnx
import onnx_ir as ir
import pytest
from onnx_models import floats, in_onnxruntime, in_reference, parsed
from three_ways import check_calls

from dynq_numba.graph.canonical import canonical
from dynq_numba.graph.optimise import optimise
from dynq_numba.graph.rewrites.base import identifier
from dynq_numba.onnx import InferenceSession, quantize

F32 = np.float32
X = floats(2, 5, 16)


def rewritten(source: onnx.ModelProto) -> tuple[ir.Model, list]:
    model, _ = canonical(ir.from_proto(source))
    notes = optimise(model)
    onnx.checker.check_model(ir.to_proto(model), full_check=True)
    return model, notes


def operators(model: ir.Model) -> list[str]:
    return [identifier(node) for node in model.graph]


# -- GatherND of a grid ---------------------------------------------------------------------------
_INTEGERS = {
    "zero": np.array(0), "by": np.array(1), "first": np.array([0]), "second": np.array([1]), "end": np.array([2]),
    "columns": np.array([1, 2, 3]), "rows": np.array([0, 1, 2]), "last": np.array([-1]), "middle": np.array([0, 2, 3]),
}  # fmt: skip
_RAMPS = (
    "s = Shape (BATCHES) b0 = Slice (s, first, second) b1 = Squeeze (b0, first) bs = Range (zero, b1, by) "
    "u = Shape (x) k0 = Slice (u, second, end) k1 = Squeeze (k0, first) ks = Range (zero, k1, by) "
    "b = Unsqueeze (bs, columns) k = Unsqueeze (ks, rows) "
)
_SPREAD = (
    "m = Max (b, k) to = Shape (m) be = Expand (b, to) bu = Unsqueeze (be, last) ke = Expand (k, to) "
    "ku = Unsqueeze (ke, last) at = Concat <axis = -1> (bu, ku) y = GatherND (x, at)"
)
#: How its indices are computed, and what is left of them.
GRIDS = {
    "all": (_RAMPS.replace("BATCHES", "x") + _SPREAD, {"Unsqueeze"}),
    "batches of another": (_RAMPS.replace("BATCHES", "z") + _SPREAD,
        {"Shape", "Slice", "Squeeze", "Range", "Unsqueeze", "Gather"}),
    "one axis": ("at = Unsqueeze (ids, last) y = GatherND (x, at)", {"Unsqueeze", "Squeeze", "Gather"}),
}  # fmt: skip


@pytest.mark.parametrize("case", GRIDS)
def test_a_gather_of_a_grid(case):
    body, left = GRIDS[case]
    inputs = "bool[b, t] x, float[c, 1] z, int64[e, f] ids"
    source = parsed(inputs, "bool[p, q, r, s] y" if case != "one axis" else "bool[p, q, r] y", body, **_INTEGERS)
    feeds = {"x": floats(3, 5) > 0, "z": floats(2, 1), "ids": np.array([[0, 2], [-1, 1]])}
    model, _ = rewritten(source)
    assert set(operators(model)) <= left
    want = in_reference(source, feeds)[0]
    session = InferenceSession(source)
    assert np.array_equal(in_reference(ir.to_proto(model), feeds)[0], want)
    assert np.array_equal(session.run(None, feeds)[0], want)
    assert session.report().kinds["python"] == 0


#: What is no such grid, and why.
NO_GRIDS = {
    "no indices of each axis": ("at = Concat <axis = 0> (pairs, pairs) y = GatherND (x, at)", "not joined"),
    "a grid turned": (
        _RAMPS.replace("BATCHES", "x").replace("columns", "x1").replace("rows", "x2").replace("x1", "rows")
        .replace("x2", "columns") + _SPREAD, "the order of those of its input"),
    "a shape of its own": (
        _RAMPS.replace("BATCHES", "x") + _SPREAD.replace("to = Shape (m)", "o = Max (m, ids) to = Shape (o)"),
        "not their own"),
}  # fmt: skip


@pytest.mark.parametrize("case", NO_GRIDS)
def test_a_gather_of_no_grid_stays(case):
    body, reason = NO_GRIDS[case]
    source = parsed("bool[b, t] x, int64[1, 1, n, 1] ids, int64[m, 2] pairs", "bool[p, q, r, s] y", body, **_INTEGERS)
    notes = optimise(canonical(ir.from_proto(source))[0])
    assert any(note.node == "y" and reason in note.reason for note in notes), notes


# -- linears of matrices ----------------------------------------------------------------------------
_WEIGHTS = {
    "w": floats(16, 16, seed=1), "c": floats(16, seed=2), "flat": np.array([-1, 16]), "zero": np.array([0]),
    "two": np.array([2]), "wide": np.array([16]), "fixed": np.array([2, 5, 16]), "other": np.array([5, 2, 16]),
    "open": np.array([2, -1, 16]),
}  # fmt: skip
_FLAT = "r = Reshape (x, flat) g = Gemm (r, w, c) "
_LEADING = "s = Shape (x) l = Slice (s, zero, two) h = Concat <axis = 0> (l, wide) "
FLAT = {
    "as GPT-2": _LEADING + _FLAT + "y0 = Reshape (g, h) y = Add (y0, x)",
    "numbers": _FLAT + "y0 = Reshape (g, fixed) y = Add (y0, x)",
    "an open length": _FLAT + "y0 = Reshape (g, open) y = Add (x, y0)",
}


@pytest.mark.parametrize("quantized", [False, True])
@pytest.mark.parametrize("case", FLAT)
def test_a_linear_of_a_matrix_takes_a_residual(case, quantized, monkeypatch):
    monkeypatch.setattr("dynq_numba.graph.quantizer.LEAST", 1)
    shape = "n, t, 16" if case == "as GPT-2" else "2, 5, 16"
    source = parsed(f"float[{shape}] x", f"float[{shape}] y", FLAT[case], **_WEIGHTS)
    source = ir.to_proto(quantize(source).model) if quantized else source
    model, _ = rewritten(source)
    assert operators(model) == ["dynq.Linear_residual" if quantized else "dynq.FloatLinear_residual"]
    assert np.array_equal(*(in_reference(each, {"x": X})[0] for each in (ir.to_proto(model), source)))


def test_a_linear_of_a_matrix_stays_where_rows_get_another_order():
    body = _FLAT + "y = Reshape (g, other)"
    _, notes = rewritten(parsed("float[2, 5, 16] x", "float[5, 2, 16] y", body, **_WEIGHTS))
    assert any(note.node == "y" and "does not restore the axes" in note.reason for note in notes)


# -- auto_pad -----------------------------------------------------------------------------------------
@pytest.mark.parametrize("auto", ["SAME_UPPER", "SAME_LOWER"])
@pytest.mark.parametrize("strides,sizes", [([1, 1], "h, w"), ([2, 3], "9, 10"), ([2, 2], "h, w")])
@pytest.mark.parametrize("kernel", [(3, 2), (1, 4)])
def test_auto_pad(auto, strides, sizes, kernel):
    body = f'y0 = Conv <auto_pad = "{auto}", strides = {strides}> (x, w) y = Relu (y0)'
    source = parsed(f"float[n, 16, {sizes}] x", "float[n, 16, p, q] y", body, w=floats(16, 16, *kernel))
    feeds = {"x": floats(2, 16, 9, 10)}
    model, _ = rewritten(source)
    fused = sizes != "h, w" or strides == [1, 1]
    names = [name.partition("_")[0] + name[-5:] for name in operators(model)]
    assert names == (["dynq.FloatConv_relu"] if fused else ["Conv" + "Conv"[-5:], "ReluRelu"])
    want = in_onnxruntime(source, feeds)[0]
    bound = 2.0**-22 * 16 * 8 * 9
    for got in (in_onnxruntime(ir.to_proto(model), feeds)[0], InferenceSession(source).run(None, feeds)[0]):
        assert got.shape == want.shape and np.abs(got - want).max() <= bound
    if fused:
        assert len(quantize(source, conv=True).quantized) == 1


def test_auto_pad_of_poolings():
    body = 'a = MaxPool <auto_pad = "SAME_LOWER", kernel_shape = [2, 3]> (x) ' \
           'y = AveragePool <auto_pad = "SAME_UPPER", kernel_shape = [3, 2], strides = [2, 1]> (a)'  # fmt: skip
    source = parsed("float[n, 3, 9, 10] x", "float[n, 3, 5, 10] y", body)
    feeds = {"x": floats(2, 3, 9, 10)}
    model, _ = rewritten(source)
    assert not any("auto_pad" in node.attributes for node in model.graph)
    want = in_onnxruntime(source, feeds)[0]
    for got in (in_onnxruntime(ir.to_proto(model), feeds)[0], InferenceSession(source).run(None, feeds)[0]):
        assert got.shape == want.shape and np.allclose(got, want, rtol=2.0**-21, atol=0)


# -- norms of rows of any length ------------------------------------------------------------------------
INSTANCES = {
    "of images": ("float[n, 8, h, w] x", "float[n, 8, h, w] y", "y = InstanceNormalization (x, scale, shift)",
                  ["Reshape", "dynq.LayerNorm_plain", "Shape", "Reshape", "Mul", "Add"]),
    "of rows": ("float[n, 8, w] x", "float[n, 8, w] y",
                "y = InstanceNormalization <epsilon = 0.001> (x, ones, none)", ["dynq.LayerNorm_plain"]),
    "of groups": ("float[n, 8, h, w] x", "float[n, 8, h, w] y",
                  "r = Reshape (x, groups) i = InstanceNormalization (r, fours, nones) s = Shape (x) "
                  "b = Reshape (i, s) m = Mul (b, each) y = Add (m, more)",
                  ["Reshape", "dynq.LayerNorm_plain", "Shape", "Reshape", "Mul", "Add"]),
    "written out": ("float[n, 8, w] x", "float[n, 8, w] y",
                    "m = ReduceMean (x, last) d = Sub (x, m) q = Mul (d, d) v = ReduceMean (q, last) "
                    "e = Add (v, eps) r = Sqrt (e) y = Div (d, r)", ["dynq.LayerNorm_plain"]),
}  # fmt: skip


@pytest.mark.parametrize("case", INSTANCES)
def test_a_norm_of_rows_of_any_length(case):
    inputs, outputs, body, left = INSTANCES[case]
    weights = {
        "scale": floats(8), "shift": floats(8, seed=1), "ones": np.ones(8, F32), "none": np.zeros(8, F32),
        "fours": np.ones(4, F32), "nones": np.zeros(4, F32), "each": floats(8, 1, 1), "more": floats(8, 1, 1, seed=1),
        "groups": np.array([0, 4, -1]), "last": np.array([-1]), "eps": F32(1e-3).reshape(()),
    }  # fmt: skip
    source = parsed(inputs, outputs, body, **weights)
    feeds = {"x": floats(2, 8, 6, 7) if "h, w" in inputs else floats(2, 8, 13)}
    expanded = canonical(ir.from_proto(source))[0]
    model, _ = rewritten(source)
    assert operators(model) == left
    session = InferenceSession(source)
    got, want = session.run(None, feeds)[0], in_onnxruntime(source, feeds)[0]
    assert got.shape == want.shape and np.abs(got - want).max() <= 2.0**-20 * max(1, np.abs(want).max())
    assert session.report().kinds["python"] == 0
    if case == "written out":
        assert Counter(check_calls(ir.to_proto(expanded), model, feeds)) == Counter(["LayerNorm_plain"])


@pytest.mark.parametrize("divisor", [16.0, 6.0])
def test_a_sum_over_a_fixed_number_is_no_mean_of_any_length(divisor):
    """Also where the number is one of the lengths that are tried."""
    body = ("t = ReduceSum (x, last) m = Div (t, k) d = Sub (x, m) s = Mul (d, d) u = ReduceSum (s, last) "
            "v = Div (u, k) e = Add (v, eps) q = Sqrt (e) y = Div (d, q)")  # fmt: skip
    numbers = {"last": np.array([-1]), "k": F32(divisor).reshape(()), "eps": F32(1e-5).reshape(())}
    _, notes = rewritten(parsed("float[n, w] x", "float[n, w] y", body, **numbers))
    assert not any(note.result.startswith("LayerNorm") for note in notes)


# -- Einsum -------------------------------------------------------------------------------------------
LENGTHS = {"b": 2, "t": 3, "h": 4, "d": 5, "s": 6, "k": 7, "n": 2, "r": 3, "l": 3}
EINSUMS = {
    "bthd,bshd->bhts": ["Transpose", "Transpose", "MatMul"], "bhts,bshd->bthd": ["Transpose", "MatMul", "Transpose"],
    "bth,hk->btk": ["MatMul"], "...t,tk->...k": ["MatMul"], "b...h,hk->b...k": ["MatMul"],
    "...th,...hd->...td": ["MatMul"], "b h , h d -> b d": ["MatMul"], "bth,bht": None, "bthd,hdk->btk": None,
    "bth,hdk->btdk": None, "bhld,lrd->bhlr": None, "th,ht->": None, "bt,bt->b": None, "bthr,h->btr": None,
    "bthn,bhn->btn": None, "bt,bt->bt": ["Mul"], "bt,s->bts": ["Unsqueeze", "Unsqueeze", "Mul"],
    "bth->hb": ["ReduceSum", "Transpose"], "bth->b": ["ReduceSum"],
}  # fmt: skip


@pytest.mark.parametrize("equation", EINSUMS)
def test_einsum(equation):
    terms = equation.replace(" ", "").partition("->")[0].split(",")
    lengths = LENGTHS | {"X": 2, "Y": 3}
    shapes = [[lengths[letter] for letter in term.replace("...", "XY")] for term in terms]
    feeds = {name: floats(*shape, seed=i) for i, (name, shape) in enumerate(zip("uv", shapes, strict=False))}
    want = np.einsum(equation.replace(" ", ""), *feeds.values())
    free = {name: ", ".join(f"{name}{i}" for i in range(array.ndim)) for name, array in (feeds | {"y": want}).items()}
    inputs = ", ".join(f"float[{free[name]}] {name}" for name in feeds)
    body = f'y = Einsum <equation = "{equation}"> ({", ".join(feeds)})'
    source = parsed(inputs, f"float[{free['y']}] y", body)
    model, _ = rewritten(source)
    if EINSUMS[equation] is not None:
        assert operators(model) == EINSUMS[equation]
    session = InferenceSession(source)
    got = session.run(None, feeds)[0]
    sizes = np.einsum(equation.replace(" ", ""), *map(np.abs, feeds.values()))
    assert got.shape == want.shape and (np.abs(got - want) <= 2.0**-23 * 40 * sizes).all()
    assert session.report().kinds["python"] == 0


@pytest.mark.parametrize("equation,weight", [("bth,hk->btk", "hk"), ("hk,bth->btk", "hk"), ("bthd,hdk->btk", "hdk")])
def test_the_weight_of_an_einsum_is_quantized(equation, weight, monkeypatch):
    monkeypatch.setattr("dynq_numba.graph.quantizer.LEAST", 1)
    a, b = equation.partition("->")[0].split(",")
    x, w = (a, b) if b == weight else (b, a)
    body = f'y = Einsum <equation = "{equation}"> ({"x, w" if b == weight else "w, x"})'
    source = parsed(f"float[{', '.join(x)}] x", "float[b, t, k] y", body, w=floats(*(LENGTHS[i] for i in w)))
    receipt = quantize(source)
    assert [entry.reason for entry in receipt.entries] == [""]
    feeds = {"x": floats(*(LENGTHS[i] for i in x), seed=3)}
    want, made = in_onnxruntime(source, feeds)[0], ir.to_proto(receipt.model)
    for got in (in_onnxruntime(made, feeds)[0], InferenceSession(made).run(None, feeds)[0]):
        assert np.linalg.norm(got - want) < 0.02 * np.linalg.norm(want)


@pytest.mark.parametrize("equation,reason", [
    ("bb,b->b", "a letter occurs twice"), ("b,b,b->b", "more inputs"),
    ("bthd,thk->bdk", "axis h has length 1 in one input"),
])  # fmt: skip
def test_an_einsum_that_stays(equation, reason):
    terms = equation.partition("->")[0].split(",")
    inputs = ", ".join(f"float[{', '.join(term)}] {name}" for name, term in zip("uvw", terms, strict=False))
    inputs = inputs.replace("[t, h, k]", "[t, 1, k]")
    names = ", ".join("uvw"[: len(terms)])
    result = ", ".join(equation.partition("->")[2])
    source = parsed(inputs, f"float[{result}] y", f'y = Einsum <equation = "{equation}"> ({names})')
    model, notes = rewritten(source)
    assert operators(model) == ["Einsum"] and any(reason in note.reason for note in notes)


# -- operators in other words ---------------------------------------------------------------------------
_CHOICE = "c = Less (x, three) n = Not (c) t = Cast <to = 1> (c) f = Cast <to = 1> (n) "


@pytest.mark.parametrize("body,left", [
    ("y = Max (x, zero)", ["Relu"]), ("y = Max (zero, x)", ["Relu"]), ("y = Max (x, wide)", ["Max"]),
    ("c = CastLike (one, x) y = Mul (x, c)", ["Mul"]),
    (_CHOICE + "l = Mul (t, x) r = Mul (three, f) y = Add (l, r)", ["Less", "Where"]),
    (_CHOICE + "l = Mul (x, f) r = Mul (three, t) y = Add (l, r)", ["Less", "Where"]),
    ("c = CastLike (x, whole) y = CastLike (c, x)", ["CastLike", "CastLike"]),
])  # fmt: skip
def test_an_operator_in_other_words(body, left):
    numbers = {"zero": np.zeros((1, 1), F32), "wide": np.zeros((1, 1, 1, 1), F32), "one": F32(3).reshape(()),
               "three": F32(0.5).reshape(()), "whole": np.array(1)}  # fmt: skip
    result = "1, n, t, 16" if "wide" in body else "n, t, 16"
    source = parsed("float[n, t, 16] x", f"float[{result}] y", body, **numbers)
    model, _ = rewritten(source)
    assert operators(model) == left
    assert np.array_equal(*(in_reference(each, {"x": X})[0] for each in (ir.to_proto(model), source)))


@pytest.mark.parametrize("producer,given,warned", [("pytorch", 0, True), ("pytorch", 1, False), ("keras", 0, False)])
def test_a_gru_that_torch_exported_wrongly(producer, given, warned):
    body = f"y, h = GRU <hidden_size = 8, linear_before_reset = {given}> (x, w, r)"
    source = parsed("float[t, n, 16] x", "float[t, 1, n, 8] y", body, w=floats(1, 24, 16), r=floats(1, 24, 8))
    source.producer_name = producer
    if warned:
        with pytest.warns(UserWarning, match="GRU y lacks linear_before_reset=1, which PyTorch's has"):
            _, notes = canonical(ir.from_proto(source))
        assert len(notes) == 1
    else:
        assert canonical(ir.from_proto(source))[1] == []


# -- stacks of matrices -----------------------------------------------------------------------------------
_STACKS = (
    "qs = Shape (q) ks = Shape (k) qb = Gather (qs, heads) kb = Gather (ks, heads) qn = ReduceProd (qb) "
    "kn = ReduceProd (kb) d = Gather (ks, width) u = Gather (ks, rows) t = Gather (qs, rows) "
    "qr = Concat <axis = 0> (qn, open, d) kr = Concat <axis = 0> (kn, open, d) a = Reshape (q, qr) b = Reshape (k, kr) "
    "c = Transpose <perm = [0, 2, 1]> (b) m = MatMul (a, c) most = Max (qb, kb) "
)
#: The shape behind the product, and why it stays.
STACKS = {
    "restored": ("n, 2, t, 1, 8", "r = Concat <axis = 0> (most, t, u, one)", ""),
    "turned": ("n, 2, t, 1, 8", "r = Concat <axis = 0> (most, u, t, one)", "does not restore the axes"),
    "heads that are not known": ("n, h, t, 1, 8", "r = Concat <axis = 0> (most, t, u, one)", "the second is h and 2"),
}


@pytest.mark.parametrize("case", STACKS)
def test_a_product_of_stacks(case):
    shape, behind, reason = STACKS[case]
    numbers = {"heads": np.array([0, 1]), "width": np.array([4]), "rows": np.array([2]), "open": np.array([-1]),
               "one": np.array([1])}  # fmt: skip
    result = "n, 2, u, t, 1" if case == "turned" else "n, 2, t, u, 1"
    body = f"{_STACKS} {behind} y = Reshape (m, r)"
    source = parsed(f"float[{shape}] q, float[n, 2, u, 1, 8] k", f"float[{result}] y", body, **numbers)
    feeds = {"q": floats(3, 2, 5, 1, 8), "k": floats(3, 2, 6, 1, 8, seed=1)}
    model, notes = rewritten(source)
    found = [note.reason or note.result for note in notes if note.node == "m"]
    assert any((reason or "MatMul") in each for each in found)
    if not reason:
        assert operators(model) == ["Squeeze", "Squeeze", "Transpose", "MatMul", "Unsqueeze"]
    got, want = (in_reference(each, feeds)[0] for each in (ir.to_proto(model), source))
    assert got.shape == want.shape and np.abs(got - want).max() <= 2.0**-20


@pytest.mark.parametrize("axis", ["", "<axis = 0>", "<axis = 1>", "<axis = 2>", "<axis = -1>"])
@pytest.mark.parametrize("opset", [11, 12, 13])
def test_hardmax_of_old_files_goes_over_all_axes_behind(opset, axis):
    model = parsed("float[n, 3, 4] x", "float[n, 3, 4] y", f"y = Hardmax {axis} (x)", opset=opset)
    feeds = {"x": floats(2, 3, 4)}
    (want,), (y,) = in_onnxruntime(model, feeds), InferenceSession(model).run(None, feeds)
    assert np.array_equal(y, want)


@pytest.mark.parametrize("scales", [[1, 1, 2, 2], [1, 1, 1.5, 3], [1, 1, 0.6, 0.6], [1, 1, 0.5, 1], [1, 1, 2.3, 1]])
@pytest.mark.parametrize("mode", ["nearest", "linear"])
@pytest.mark.parametrize("opset, operator", [(9, "Upsample"), (10, "Resize")])
def test_images_of_old_files_start_at_the_first_pixel(opset, operator, mode, scales):
    if operator == "Upsample" and min(scales) < 1:
        pytest.skip("it only makes images larger")
    model = parsed("float[n, 2, 5, 7] x", "float[n, 2, h, w] y", f'y = {operator} <mode = "{mode}"> (x, scales)',
                   opset=opset, scales=np.array(scales, F32))  # fmt: skip
    feeds = {"x": floats(2, 2, 5, 7)}
    (want,), (y,) = in_onnxruntime(model, feeds), InferenceSession(model).run(None, feeds)
    assert y.shape == want.shape and np.allclose(y, want, atol=1e-5)
