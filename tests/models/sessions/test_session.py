"""InferenceSession: small models beside onnx.reference; shapes, branches, threads, errors."""

from __future__ import annotations

import threading

import numpy as np
import onnx
import onnx_ir as ir
import pytest
from onnx import parser
from onnx_models import floats, in_reference, parsed, same

import dynq_numba as dq
from dynq_numba.onnx import InferenceSession, quantize

F32 = np.float32


def segments(session: InferenceSession) -> int:
    return len(session._plan.segments())


# -- shapes -------------------------------------------------------------------------------------
ATTENTION_SHAPES = """
    shape = Shape (x)
    zero = Constant <value_ints: ints = [0]> ()
    one = Constant <value_ints: ints = [1]> ()
    two = Constant <value_ints: ints = [2]> ()
    batch = Slice (shape, zero, one)
    length = Slice (shape, one, two)
    heads = Constant <value_ints: ints = [4, 8]> ()
    split = Concat <axis: int = 0> (batch, length, heads)
    four = Reshape (x, split)
    turned = Transpose <perm: ints = [0, 2, 1, 3]> (four)
    twice = Add (turned, turned)
    back = Transpose <perm: ints = [0, 2, 1, 3]> (twice)
    minus = Constant <value_ints: ints = [-1]> ()
    flat = Concat <axis: int = 0> (batch, length, minus)
    y = Reshape (back, flat)
"""


def test_one_plan_serves_every_length():
    model = parsed("float[b, t, 32] x", "float[b, t, 32] y", ATTENTION_SHAPES)
    session = InferenceSession(model)
    for batch, length in ((2, 5), (3, 7), (2, 5), (9, 64), (4, 2)):
        x = floats(batch, length, 32, seed=length)
        assert same(session.run(None, {"x": x})[0], x + x)
    assert segments(session) == 1


def test_lengths_of_one_and_none_are_right():
    session = InferenceSession(parsed("float[b, t, 32] x", "float[b, t, 32] y", ATTENTION_SHAPES))
    for batch, length in ((2, 5), (1, 5), (1, 1), (2, 1), (0, 5), (3, 0), (2, 6)):
        x = floats(batch, length, 32)
        assert same(session.run(None, {"x": x})[0], x + x)
    assert segments(session) <= 5


def test_another_broadcast_is_another_plan():
    session = InferenceSession(parsed("float[a, b] x, float[c, d] y", "float[e, f] z", "z = Mul (x, y)"))
    for one, other in (((3, 4), (3, 4)), ((3, 4), (1, 4)), ((1, 4), (3, 4)), ((3, 1), (1, 4)), ((5, 6), (5, 6))):
        x, y = floats(*one), floats(*other, seed=1)
        assert same(session.run(None, {"x": x, "y": y})[0], x * y)
    with pytest.raises(ValueError, match="do not fit"):
        session.run(None, {"x": floats(3, 4), "y": floats(2, 4)})


def test_slices_are_cut_to_the_axis():
    body = "start = Constant <value_ints: ints = [START]> () end = Constant <value_ints: ints = [END]> () " \
           "axis = Constant <value_ints: ints = [0]> () step = Constant <value_ints: ints = [STEP]> () " \
           "y = Slice (x, start, end, axis, step)"  # fmt: skip
    for start, end, step in (
        (1, 4, 1),
        (-3, 100, 1),
        (0, -1, 2),
        (5, 2, 1),
        (-1, -100, -1),
        (4, 0, -2),
        (100, -100, -3),
    ):
        text = body.replace("START", str(start)).replace("END", str(end)).replace("STEP", str(step))
        session = InferenceSession(parsed("float[n] x", "float[m] y", text))
        for n in (7, 3, 1, 9):
            x = floats(n)
            assert same(session.run(None, {"x": x})[0], x[start:end:step]), (start, end, step, n)


def test_shapes_from_an_input_are_looked_at():
    session = InferenceSession(parsed("float[n] x, int64[r] shape", "float y", "y = Reshape (x, shape)"))
    for shape in ((2, 6), (3, 4), (12,), (-1, 3), (2, 2, 3)):
        x = floats(12)
        assert same(session.run(None, {"x": x, "shape": np.array(shape)})[0], x.reshape(shape))


def test_data_decide_a_shape():
    body = """
        zero = Constant <value_float: float = 0.0> ()
        positive = Greater (x, zero)
        found = NonZero (positive)
        y = Add (found, found)
    """
    session = InferenceSession(parsed("float[n] x", "int64[1, m] y", body))
    for seed in range(4):
        x = floats(20 + seed, seed=seed)
        assert same(session.run(None, {"x": x})[0], 2 * np.stack(np.nonzero(x > 0)))


# -- branches and loops -------------------------------------------------------------------------
BRANCHES = """
<ir_version: 10, opset_import: ["": 21]>
choose (bool c, float[n] x) => (float[n] y) {
    y = If (c) <
        then_branch = then () => (float[n] a) { a = Add (x, x) },
        else_branch = otherwise () => (float[n] b) { b = Neg (x) }
    >
}
"""


def test_a_run_takes_its_branch():
    session = InferenceSession(parser.parse_model(BRANCHES))
    x = floats(9)
    for condition in (True, False, True):
        expected = x + x if condition else -x
        assert same(session.run(None, {"c": np.array(condition), "x": x})[0], expected)


LOOP = """
<ir_version: 10, opset_import: ["": 21]>
sum (int64 n, float[k] x) => (float[k] y) {
    yes = Constant <value: tensor = bool {1}> ()
    y = Loop (n, yes, x) <
        body = step (int64 i, bool go, float[k] before) => (bool on, float[k] after) {
            on = Identity (go)
            after = Add (before, x)
        }
    >
}
"""


def test_a_loop_reads_what_is_outside():
    session = InferenceSession(parser.parse_model(LOOP))
    x = np.arange(5, dtype=F32)
    for count in (0, 1, 4):
        assert same(session.run(None, {"n": np.array(count), "x": x})[0], x * (count + 1))


# -- promises -----------------------------------------------------------------------------------
def network() -> onnx.ModelProto:
    """A quantized network of linears, a norm and an activation."""
    body = """
        a = MatMul (x, w1)  b = Add (a, b1)  c = Gelu (b)  d = MatMul (c, w2)  e = Add (d, x)
        y = LayerNormalization (e, scale, shift)
    """
    source = parsed(
        "float[n, t, 48] x", "float[n, t, 48] y", body, w1=floats(48, 96), b1=floats(96), w2=floats(96, 48),
        scale=floats(48, seed=1), shift=floats(48, seed=2),
    )  # fmt: skip
    return ir.to_proto(quantize(source).model)


def test_bits_do_not_depend_on_the_batch_or_threads(isa):
    model = network()
    x = floats(5, 7, 48)
    whole = InferenceSession(model, threads=1).run(None, {"x": x})[0]
    two = InferenceSession(model, threads=2)
    assert same(two.run(None, {"x": x})[0], whole)
    for i in range(5):
        assert same(two.run(None, {"x": x[i : i + 1]})[0], whole[i : i + 1])


def test_many_threads_share_a_session():
    session = InferenceSession(network())
    inputs = [floats(1 + i % 4, 3 + i % 5, 48, seed=i) for i in range(24)]
    expected = [session.run(None, {"x": x})[0] for x in inputs]
    wrong: list[int] = []

    def work() -> None:
        for _ in range(6):
            wrong.extend(i for i, x in enumerate(inputs) if not same(session.run(None, {"x": x})[0], expected[i]))

    threads = [threading.Thread(target=work) for _ in range(8)]
    for each in threads:
        each.start()
    for each in threads:
        each.join()
    assert not wrong


def test_an_artifact_is_what_its_source_is():
    model = network()
    x = floats(2, 5, 48)
    ours, theirs = InferenceSession(model).run(None, {"x": x})[0], in_reference(model, {"x": x})[0]
    assert np.abs(ours - theirs).max() < 1e-5


def test_the_report_says_what_computes_each_step():
    session = InferenceSession(network())
    assert "nothing has run yet" in str(session.report())
    session.run(None, {"x": floats(1, 2, 48)})
    report = session.report()
    assert {"linear"} <= {step.kernel for step in report}
    assert all(step.invariant == (not step.kernel.startswith("python")) for step in report)
    python = sum(step.kernel.startswith("python") for step in report)
    kinds = report.kinds
    assert kinds["python"] == python and kinds["fused"] == sum(len(step.nodes) > 1 for step in report) > 0
    assert kinds["kernel"] == len(report) - python - kinds["fused"]
    fused = f" ({kinds['fused']} of several nodes)"
    assert str(report).endswith(f"\n{len(report) - python} steps by kernels{fused}, {python} in Python")


def test_the_report_times_the_steps_of_a_run():
    session = InferenceSession(network())
    x = floats(1, 2, 48)
    session.run(None, {"x": floats(3, 4, 48)})
    plain = session.report()
    assert all(step.us is None for step in plain)
    timed = session.report(times={"x": x})
    assert [step[:4] for step in timed] == [step[:4] for step in plain]
    assert all(step.us >= 0 for step in timed) and sum(step.us for step in timed) > 0
    assert str(timed).splitlines()[0].split() == ["µs", "step", "invariant", "nodes"]
    assert plain.run_us is None and timed.run_us > 0
    assert str(timed).endswith(f" µs; a whole run takes {timed.run_us:.0f} µs")
    assert same(session.run(None, {"x": x})[0], InferenceSession(network()).run(None, {"x": x})[0])
    with pytest.raises(ValueError, match="input_feed must have x; got z"):
        session.report(times={"z": x})


def test_steps_in_python_have_times_too():
    body = """
        zero = Constant <value_float: float = 0.0> ()
        positive = Greater (x, zero)
        whole = Cast <to = 7> (positive)
        found = Unique (whole)
        y = Add (found, found)
    """
    timed = InferenceSession(parsed("float[n] x", "int64[m] y", body)).report(times={"x": floats(20)})
    (step,) = [step for step in timed if step.kind == "python" and step.nodes]
    assert step.kernel == "python Unique" and step.us > 0


@pytest.mark.parametrize("x_bits", [8, 16])
def test_linears_of_one_input_go_together(x_bits):
    weights = {f"w{i}": floats(64, 32, seed=i) for i in range(3)}
    source = parsed("float[n, 64] x", "float[n, 32] a, float[n, 32] b, float[n, 32] c",
                    "a = MatMul (x, w0) b = MatMul (x, w1) c = MatMul (x, w2)", **weights)  # fmt: skip
    session = InferenceSession(ir.to_proto(quantize(source, x_bits=x_bits).model))
    x, form = floats(4, 64, seed=9), {"granularity": "per_channel", "x_bits": x_bits}
    for result, weight in zip(session.run(None, {"x": x}), weights.values(), strict=True):
        assert same(result, dq.linear(x, dq.pack_linear(weight.T, np.zeros(32, F32), **form)))
    assert [step.kernel for step in session.report()] == ["linear_many"]


@pytest.mark.parametrize("k", [64, 66_400])
def test_a_layer_of_16_bits_with_what_follows_it(k):
    weight, bias = floats(k, 33), floats(33, seed=1)
    body = "a = MatMul (x, w) b = Add (a, bias) c = Relu (b) y = Add (c, r)"
    source = parsed(f"float[n, {k}] x, float[n, 33] r", "float[n, 33] y", body, w=weight, bias=bias)
    session = InferenceSession(ir.to_proto(quantize(source, x_bits=16).model))
    x, r = floats(3, k, seed=2), floats(3, 33, seed=3)
    ours = dq.linear(x, dq.pack_linear(weight.T, bias, x_bits=16), activation="relu", residual=r)
    assert same(session.run(None, {"x": x, "r": r})[0], ours)
    assert [step.kernel for step in session.report()] == ["linear"]


# -- float32 products ---------------------------------------------------------------------------
@pytest.mark.parametrize("one,other", [
    ((5, 7), (7, 3)), ((2, 5, 7), (7, 3)), ((2, 3, 5, 7), (2, 3, 7, 4)), ((1, 3, 5, 7), (2, 1, 7, 4)), ((7,), (7, 3)),
    ((2, 5, 7), (7,)), ((7,), (7,)), ((0, 7), (7, 3)), ((5, 0), (0, 3)),
])  # fmt: skip
def test_products_of_what_a_run_brings(one, other):
    axes = [", ".join(f"{name}{i}" for i in range(len(shape))) for name, shape in (("a", one), ("b", other))]
    session = InferenceSession(parsed(f"float[{axes[0]}] x, float[{axes[1]}] y", "float z", "z = MatMul (x, y)"))
    x, y = floats(*one), floats(*other, seed=1)
    z = session.run(None, {"x": x, "y": y})[0]
    exact = x.astype(np.float64) @ y.astype(np.float64)
    assert z.shape == exact.shape and np.allclose(z, exact, rtol=1e-5, atol=1e-5)
    assert [step.kernel for step in session.report()] == ["sgemm"]


def test_a_float_layer_is_invariant():
    session = InferenceSession(parsed("float[n, 70] x", "float[n, 33] y", "y = MatMul (x, w)", w=floats(70, 33)))
    x = floats(9, 70, seed=1)
    whole = session.run(None, {"x": x})[0]
    assert all(same(session.run(None, {"x": x[i : i + 1]})[0], whole[i : i + 1]) for i in range(9))
    assert [step.kernel for step in session.report()] == ["sgemm"]


# -- attention ----------------------------------------------------------------------------------
def test_a_recipe_says_how_attention_multiplies():
    body = """
        kt = Transpose <perm: ints = [0, 1, 3, 2]> (k)
        products = MatMul (q, kt)
        factor = Constant <value_float: float = 0.25> ()
        scores = Mul (products, factor)
        shares = Softmax (scores)
        y = MatMul (shares, v)
    """
    kind = "float[b, 2, t, 16]"
    source = parsed(f"{kind} q, {kind} k, {kind} v", f"{kind} y", body)
    feeds = {name: floats(2, 2, 9, 16, seed=i) for i, name in enumerate("qkv")}
    for recipe, bits, kernel in ((None, 8, "attention 8 bits"), ({"attention": 32}, None, "attention")):
        receipt = quantize(source, recipe=recipe)
        assert receipt.attention == (bits or 32) and receipt.inexact == ["attention"] * (bits == 8)
        session = InferenceSession(ir.to_proto(receipt.model))
        expected = dq.attention(*feeds.values(), scale=0.25, bits=bits)
        assert same(session.run(None, feeds)[0], expected)
        assert [step.kernel for step in session.report()] == [kernel]
    assert InferenceSession(source).run(None, feeds)[0].tobytes() == expected.tobytes()


@pytest.mark.parametrize(("behind", "attention"), [
    ("y = Identity (s)", None), ("y = ReduceMax (s)", None), ("d = Dropout (s) y = MatMul (d, x)", 8),
    ("t = Transpose (s) y = MatMul (x, t)", 8),
])  # fmt: skip
def test_the_softmax_of_a_classifier_is_no_attention(behind, attention):
    source = parsed("float[n, n] x", "float[a, b] y", f"s = Softmax (x) {behind}")
    receipt = quantize(source)
    assert receipt.attention == attention and receipt.exact == (attention is None)


# -- convolutions of a few pixels ---------------------------------------------------------------
@pytest.mark.parametrize("x,w,attributes", [
    ((1, 5, 4), (7, 5, 3), "pads: ints = [1, 1]"),
    ((2, 5, 3), (7, 5, 3), "pads: ints = [1, 1], strides: ints = [2]"),
    ((1, 3, 5, 4), (6, 3, 3, 3), "pads: ints = [1, 0, 1, 0], strides: ints = [2, 1]"),
    ((1, 3, 5, 6), (6, 3, 2, 2), "dilations: ints = [2, 3], strides: ints = [2, 2]"),
    ((8, 40, 1, 1), (33, 40, 1, 1), "pads: ints = [0, 0, 0, 0]"),
])  # fmt: skip
def test_convolutions_of_few_pixels_have_the_same_bits(x, w, attributes, monkeypatch):
    axes = ", ".join(f"a{i}" for i in range(len(x)))
    body = f"c = Conv <{attributes}> (x, w, b) y = Relu (c)"
    model = parsed(f"float[{axes}] x", "float y", body, w=floats(*w), b=floats(w[0], seed=1))
    image, found = floats(*x, seed=2), {}
    for few in (12, 0):
        monkeypatch.setattr("dynq_numba.planning.lowering.sconv.FEW", few)
        session = InferenceSession(model)
        found[few] = session.run(None, {"x": image})[0]
        assert any(step.kernel == ("sgemm" if few else "sconv") for step in session.report())
    assert same(found[12], found[0])
    assert np.allclose(found[12], in_reference(model, {"x": image})[0], rtol=1e-5, atol=1e-5)


def test_a_product_that_is_reshaped_is_written_where_callers_get_it():
    """And only copied to the second of two results that are the same memory; what is read of it later is right, too."""
    body = """
        g = MatMul (x, w)
        many = Constant <value_ints: ints = [-1, 2, 5]> ()
        flat = Constant <value_ints: ints = [-1]> ()
        y = Reshape (g, many) z = Reshape (g, flat) r = Relu (g)
        t = Transpose <perm = [1, 0]> (g) part = Slice (g, one, two, one)
    """
    model = parsed("float[n, k] x", "float y, float z, float r, float t, float part", body, w=floats(8, 10),
                   one=np.array([1]), two=np.array([2]))  # fmt: skip
    session, kept = InferenceSession(model), []
    for n in (3, 4, 3):
        x = floats(n, 8, seed=n)
        found, g = session.run(None, {"x": x}), InferenceSession(model).run(["z"], {"x": x})[0].reshape(n, 10)
        wanted = g.reshape(n, 2, 5), g.ravel(), np.maximum(g, 0), g.T, g[:, 1:2]
        assert np.allclose(g, x @ floats(8, 10), rtol=1e-5, atol=1e-5)
        assert all(same(a, np.ascontiguousarray(b)) for a, b in zip(found, wanted, strict=True))
        kept += [(found, wanted)]
    assert all(same(a, np.ascontiguousarray(b)) for pair in kept for a, b in zip(*pair, strict=True))
    arrays = [each for found, _ in kept for each in found]
    assert not any(np.may_share_memory(a, b) for i, a in enumerate(arrays) for b in arrays[:i])
    assert sum(step.kernel == "copy" for step in session.report()) == 3  # z, t and part


# -- shapes that do not fit: kernels never see them ---------------------------------------------
@pytest.mark.parametrize("inputs,body,shapes", [
    ("float[n, m] x", "y = MatMul (x, w)", [(3, 64), (3, 63), (3, 65)]),
    ("float[n, m] x", "y = Gemm (x, w, b)", [(3, 64), (3, 32)]),
    ("float[n, m] x, float[a, b] z", "y = MatMul (x, z)", [((3, 4), (4, 5)), ((3, 4), (5, 5))]),
    ("float[n, m] x, float[a, b] z", "y = Concat <axis: int = 0> (x, z)", [((3, 4), (2, 4)), ((3, 4), (2, 5))]),
    ("float[n] x", "s = Constant <value_ints: ints = [3, 4]> () y = Reshape (x, s)", [(12,), (13,), (6,)]),
    ("float[n] x", "s = Constant <value_ints: ints = [-1, 4]> () y = Reshape (x, s)", [(12,), (13,)]),
    ("float[n, m] x", "a = Constant <value_ints: ints = [1]> () y = Squeeze (x, a)", [(3, 1), (3, 2)]),
    ("float[n] x", "p = Constant <value_ints: ints = [2, 3]> () y, z = Split (x, p)", [(5,), (6,), (4,)]),
    ("float[n, m] x", "y = LayerNormalization (x, b, b)", [(3, 32), (3, 31)]),
    ("float[n, c, l] x", "y = Conv (x, k)", [(1, 4, 9), (1, 5, 9), (1, 4, 2)]),
])  # fmt: skip
@pytest.mark.parametrize("quantized", [False, True])
def test_shapes_that_do_not_fit_are_an_error(inputs, body, shapes, quantized):
    weights = {"w": floats(64, 32), "b": floats(32), "k": floats(48, 4, 6)}
    used = {name: array for name, array in weights.items() if f" {name}" in body or f"({name}" in body}
    model = parsed(inputs, "float y", body, **used)
    if quantized:
        model = ir.to_proto(quantize(model, conv=True).model)
    session = InferenceSession(model)
    for i, given in enumerate(shapes):
        each = given if isinstance(given[0], tuple) else (given,)
        feeds = {argument.name: floats(*shape) for argument, shape in zip(session.get_inputs(), each, strict=True)}
        if i == 0:
            session.run(None, feeds)
        else:
            with pytest.raises(ValueError, match="cannot be computed: "):
                session.run(None, feeds)
