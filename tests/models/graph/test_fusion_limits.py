"""What is nearly one of the fused calls, and is not: a session computes what other programs compute of the nodes."""

from __future__ import annotations

import itertools

import numpy as np
import onnx
import pytest
from onnx import helper
from onnx_models import in_onnxruntime, in_reference, parsed

from dynq_numba.onnx import InferenceSession

RNG = np.random.default_rng(0)
F32 = np.float32
NAN, INF = np.nan, np.inf


def floats(*shape: int) -> np.ndarray:
    return RNG.standard_normal(shape).astype(F32)


def agree(
    source: onnx.ModelProto, feeds: dict[str, np.ndarray], kernel: str, *, among: bool, program=in_onnxruntime
) -> None:
    """Sums have some tens of terms of size 1 here; a wrong fusion is off by the size of its results."""
    session = InferenceSession(source)
    for got, want in zip(session.run(None, feeds), program(source, feeds), strict=True):
        assert got.shape == want.shape and got.dtype == want.dtype
        np.testing.assert_allclose(got, want, rtol=1e-5, atol=1e-5)
    assert any(step.kernel.startswith(kernel) for step in session.report()) == among


# -- rotary embeddings ---------------------------------------------------------------------------
@pytest.mark.parametrize("tokens", [2, 3, 5])
@pytest.mark.parametrize("lengths", [(None, None), ("b", "s"), ("p", "q"), (1, None)])
@pytest.mark.parametrize("axis", [1, 2])
def test_rotary_of_angles_whose_lengths_are_not_known(axis, lengths, tokens):
    body = (
        "cu = Unsqueeze (cos, ax) su = Unsqueeze (sin, ax) x1 = Slice (x, low, middle, last) "
        "x2 = Slice (x, middle, high, last) n = Neg (x2) t = Concat <axis = -1> (n, x1) a = Mul (x, cu) "
        "c = Mul (t, su) y = Add (a, c)"
    )
    numbers = {"ax": [axis], "low": [0], "middle": [4], "high": [8], "last": [-1]}
    axes = "b, s, 3, 8" if axis == 2 else "b, 3, s, 8"
    source = parsed(
        f"float[{axes}] x, float[b, s, 8] cos, float[b, s, 8] sin", "float[p0, p1, p2, p3] y", body,
        **{name: np.array(each) for name, each in numbers.items()},
    )  # fmt: skip
    for value in source.graph.input[1:]:
        value.CopyFrom(helper.make_tensor_value_info(value.name, onnx.TensorProto.FLOAT, [*lengths, 8]))
    batch = 1 if lengths[0] == 1 else 2
    shape = (2, tokens, 3, 8) if axis == 2 else (2, 3, tokens, 8)
    feeds = {"x": floats(*shape), "cos": floats(batch, tokens, 8), "sin": floats(batch, tokens, 8)}
    agree(source, feeds, "region Mul·Mul·Sub", among=lengths[0] != "p")


# -- means of tokens -----------------------------------------------------------------------------
_COLUMN = "f = Cast <to = 1> (mask) c = Unsqueeze (f, second) "
_SUMS = "m = Mul (x, c) s = ReduceSum <keepdims = 0> (m, one) n = ReduceSum <keepdims = 0> (c, one) "
_HIDDEN = "i = Unsqueeze (mask, second) e = Equal (i, none) m = Where (e, zero, x) " + _SUMS.split(") ", 1)[1]
MEANS = {
    "the mean": (True, _SUMS + "d = Max (n, least) y = Div (s, d)"),
    "clipped below": (True, _SUMS + "d = Clip (n, least) y = Div (s, d)"),
    "clipped above, too": (False, _SUMS + "d = Clip (n, least, most) y = Div (s, d)"),
    "twice the mean": (False, _SUMS + "d = Max (n, least) t = Add (s, s) y = Div (t, d)"),
    "a square": (False, _SUMS + "d = Max (n, least) t = Mul (s, s) y = Div (t, d)"),
    "Where": (False, _HIDDEN + "d = Max (n, least) y = Div (s, d)"),
}  # fmt: skip


@pytest.mark.parametrize("batch", ["n", "1"])
@pytest.mark.parametrize("case", MEANS)
def test_the_mean_of_tokens(case, batch):
    fused, body = MEANS[case]
    numbers = {
        "second": np.array([2]), "one": np.array([1]), "none": np.array(0), "zero": F32(0).reshape(()),
        "least": F32(1e-9).reshape(()), "most": F32(4).reshape(()),
    }  # fmt: skip
    source = parsed(f"float[{batch}, t, 4] x, int64[{batch}, t] mask", "float[m, 4] y", _COLUMN + body, **numbers)
    x, mask = floats(1, 6, 4), np.array([[1, 2, 3, 0, 1, 0]])
    agree(source, {"x": x, "mask": mask}, "sgemm", among=fused)
    x[0, 3], x[0, 5] = NAN, INF
    agree(source, {"x": x, "mask": mask}, "sgemm", among=fused)


# -- attention -----------------------------------------------------------------------------------
_T = "kt = Transpose <perm = [0, 1, 3, 2]> (k) "
_END = "w = Softmax (z) y = MatMul (w, v)"
#: Shapes of q, k, v and a bias, and the lengths that they have.
SPREAD = {
    "batches of k and v": ("b, 4, s, 8", "1, 4, t, 8", "1, 4, t, 8", "s, t", {}),
    "the batch of q": ("1, 4, s, 8", "b, 4, t, 8", "b, 4, t, 8", "s, t", {}),
    "the head of k": ("b, 4, s, 8", "b, 1, t, 8", "b, 4, t, 8", "s, t", {}),
    "the head of q": ("b, 1, s, 8", "b, 4, t, 8", "b, 4, t, 8", "s, t", {}),
    "the batch of scores": ("1, 4, s, 8", "1, 4, t, 8", "1, 4, t, 8", "b, 1, s, t", {}),
    "rows of scores": ("b, 4, 1, 8", "b, 4, t, 8", "b, 4, t, 8", "s, t", {}),
}  # fmt: skip


@pytest.mark.parametrize("case", SPREAD)
def test_products_and_masks_that_broadcast(case):
    shapes = SPREAD[case][:4]
    inputs = ", ".join(f"float[{shape}] {name}" for shape, name in zip(shapes, ("q", "k", "v", "bias"), strict=True))
    source = parsed(inputs, "float[m, 4, n, 8] y", _T + f"p = MatMul (q, kt) z = Add (p, bias) {_END}")
    lengths = {"b": 2, "s": 3, "t": 5}
    feeds = {
        name: floats(*(lengths.get(each) or int(each) for each in shape.split(", ")))
        for name, shape in zip(("q", "k", "v", "bias"), shapes, strict=True)
    }
    agree(source, feeds, "attention", among=False)


def test_a_batch_that_turns_out_to_be_one_serves_the_others():
    inputs = "float[a, 4, s, 8] q, float[b, 4, t, 8] k, float[c, 4, t, 8] v, float[d, 1, s, t] bias"
    source = parsed(inputs, "float[m, 4, s, 8] y", _T + f"p = MatMul (q, kt) z = Add (p, bias) {_END}")
    shapes = {"q": (4, 3, 8), "k": (4, 5, 8), "v": (4, 5, 8), "bias": (1, 3, 5)}
    session = InferenceSession(source)
    for batches in [*itertools.product((1, 2), repeat=4), (1, 1, 3, 1)]:
        feeds = {name: floats(n, *shape) for n, (name, shape) in zip(batches, shapes.items(), strict=True)}
        got, want = session.run(None, feeds)[0], in_onnxruntime(source, feeds)[0]
        np.testing.assert_allclose(got, want, rtol=1e-5, atol=1e-5)
        assert "attention" in [step.kernel for step in session.report()] and got.shape == want.shape


@pytest.mark.parametrize("second", ["Not (i)", "Identity (i)"])
def test_weights_of_which_two_ask_whether_they_are_a_number(second):
    source = parsed("float[n, 2, t, 4] x", "bool[n, 2, t, 4] z, bool[n, 2, t, 4] y",
                    f"w = Softmax (x) z = IsNaN (w) i = IsNaN (w) y = {second}")  # fmt: skip
    feeds = {"x": floats(1, 2, 3, 4)}
    feeds["x"][0, 1, 2, 0] = NAN
    agree(source, feeds, "attention", among=False)


@pytest.mark.parametrize("scores", ["a = Where (seen, p, never) z = Add (a, behind)",
                                    "a = Add (p, behind) z = Where (seen, a, never)"])  # fmt: skip
def test_lengths_and_a_triangle(scores):
    body = (
        "keys = Shape <start = 2, end = 3> (k) end = Squeeze (keys, front) key = Range (from, end, by) "
        "few = Unsqueeze (lengths, others) seen = Less (key, few) rows = Shape <start = 2, end = 3> (q) "
        "ends = Concat <axis = 0> (rows, keys) behind = Slice (square, both, ends) "
    )
    square = np.where(np.tril(np.ones((7, 7), bool)), F32(0), F32(-INF))
    numbers = {"front": [0], "from": 0, "by": 1, "others": [1, 2, 3], "both": [0, 0]}
    source = parsed(
        "float[b, 4, s, 8] q, float[b, 4, s, 8] k, float[b, 4, s, 8] v, int64[b] lengths", "float[b, 4, s, 8] y",
        f"{body} {_T} p = MatMul (q, kt) {scores} {_END}", square=square, never=F32(-INF).reshape(()),
        **{name: np.array(each) for name, each in numbers.items()},
    )  # fmt: skip
    feeds = {name: floats(2, 4, 5, 8) for name in "qkv"} | {"lengths": np.array([5, 3])}
    agree(source, feeds, "attention", among=True)


# -- convolutions --------------------------------------------------------------------------------
@pytest.mark.parametrize("operator,factor", [("Div", 0), ("Mul", INF), ("Mul", NAN), ("Div", 2)])
def test_a_convolution_times_a_number_that_is_not_finite(operator, factor):
    weight = floats(4, 3, 1, 1)
    weight[:, 0] = 0
    source = parsed("float[n, 3, h, w0] x", "float[n, 4, p, q] y", f"c = Conv (x, w) y = {operator} (c, g)", w=weight,
                    g=np.array([1, factor, 1, 1], F32).reshape(4, 1, 1))  # fmt: skip
    # ONNX Runtime puts the factor into the weight: 0 · inf
    agree(source, {"x": floats(2, 3, 4, 5)}, "region", among=factor != 2, program=in_reference)
