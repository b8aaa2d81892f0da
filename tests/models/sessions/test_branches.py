"""Sessions where planning has to be careful: branches, Python steps, views, results that are others again."""

from __future__ import annotations

import numpy as np
import onnxruntime
import pytest
from onnx import parser
from onnx_models import floats, in_onnxruntime, in_reference, parsed

import dynq_numba as dq
from dynq_numba.onnx import InferenceSession, SessionOptions

F32 = np.float32


def close(a: np.ndarray, b: np.ndarray) -> bool:
    return a.shape == b.shape and np.allclose(a, b, rtol=1e-5, atol=1e-6)


RESIZE = """
    none = Constant <value_floats: floats = [1.0]> ()
    scales = Constant <value_floats: floats = [1.0, 1.0, 1.5, 1.5]> ()
"""


@pytest.mark.parametrize("body,outputs", [
    ("a = Relu (x) b = Add (a, a) y = Resize <mode: string = \"linear\"> (b, , scales)", "float y"),
    ("a = Relu (x) y = Resize <mode: string = \"linear\"> (a, , scales)", "float a, float y"),
    ("e = Exp (x) b = Relu (e) c = Resize <mode: string = \"linear\"> (b, , scales) y = Sqrt (b)",
     "float e, float c, float y"),
])  # fmt: skip
def test_what_a_lowering_left_behind_when_it_gave_up_does_not_count(body, outputs):
    model = parsed("float[n, c, h, w] x", outputs, RESIZE + body)
    session, x = InferenceSession(model), floats(1, 2, 4, 6)
    for _ in range(3):
        for ours, theirs in zip(session.run(None, {"x": x}), in_reference(model, {"x": x}), strict=True):
            assert close(ours, theirs)


CONSTANTS = """
<ir_version: 10, opset_import: ["": 21]>
choose (bool c, float[n, 2] x) => (float[n, 2] y)
<float[2, 2] one = {1.0, 2.0, 3.0, 4.0}, float[2, 2] other = {5.0, 6.0, 7.0, 8.0}> {
    w = If (c) <
        then_branch = then () => (float[2, 2] a) { a = Identity (one) },
        else_branch = otherwise () => (float[2, 2] b) { b = Identity (other) }
    >
    y = MatMul (x, w)
}
"""


def test_a_weight_is_that_of_the_branch():
    session, x = InferenceSession(parser.parse_model(CONSTANTS)), floats(3, 2)
    weights = {True: np.array([[1, 2], [3, 4]], F32), False: np.array([[5, 6], [7, 8]], F32)}
    for condition in (True, False, True):
        assert close(session.run(None, {"c": np.array(condition), "x": x})[0], x @ weights[condition])


@pytest.mark.parametrize("last", ["y = MatMul (cut, w)", "y = Softmax (cut)"])
def test_rows_of_a_view_with_an_axis_of_one(last):
    body = """
        shape = Constant <value_ints: ints = [2, 1, 4, 3]> ()
        four = Reshape (x, shape)
        start = Constant <value_ints: ints = [0]> ()
        end = Constant <value_ints: ints = [3]> ()
        axis = Constant <value_ints: ints = [2]> ()
        cut = Slice (four, start, end, axis)
    """
    model = parsed("float[8, 3] x", "float y", body + last, **({"w": floats(3, 5)} if "w" in last else {}))
    x = floats(8, 3, seed=1)
    assert close(InferenceSession(model).run(None, {"x": x})[0], in_reference(model, {"x": x})[0])


def test_largest_of_three_lengths_changes_none_of_them():
    body = """
        a = Shape (x)  b = Shape (z)  c = Constant <value_ints: ints = [3]> ()
        y = Max (a, b, c)  kept = Add (c, y)
    """
    session = InferenceSession(parsed("float[n] x, float[m] z", "int64[1] y, int64[1] kept", body))
    for n, m, most in ((1, 2, 3), (5, 2, 5), (1, 7, 7)):
        y, kept = session.run(None, {"x": floats(n), "z": floats(m)})
        assert y.tolist() == [most] and kept.tolist() == [3 + most]


@pytest.mark.parametrize("name", ["i0", "i2", "o0"])
def test_names_of_what_a_loop_reads_outside_are_free(name):
    text = """
    <ir_version: 10, opset_import: ["": 21]>
    sum (int64 n, float[k] x, float[k] NAME) => (float[k] y) {
        yes = Constant <value: tensor = bool {1}> ()
        y = Loop (n, yes, x) <
            body = step (int64 i, bool go, float[k] before) => (bool on, float[k] after) {
                on = Identity (go)
                after = Add (before, NAME)
            }
        >
    }
    """.replace("NAME", name)
    session, x, more = InferenceSession(parser.parse_model(text)), floats(4), floats(4, seed=1)
    assert close(session.run(None, {"n": np.array(3), "x": x, name: more})[0], x + more + more + more)


def test_an_empty_axis_backwards():
    body = """
        start = Constant <value_ints: ints = [-1]> ()
        end = Constant <value_ints: ints = [-9223372036854775808]> ()
        axis = Constant <value_ints: ints = [0]> ()
        step = Constant <value_ints: ints = [-1]> ()
        y = Slice (x, start, end, axis, step)
    """
    session = InferenceSession(parsed("float[n] x", "float[m] y", body))
    for n in (3, 0, 1, 5):
        x = floats(n)
        assert np.array_equal(session.run(None, {"x": x})[0], x[::-1])


def test_a_bound_of_clip_that_is_computed():
    session = InferenceSession(parsed("float[n] x, float m", "float[n] y", "most = Neg (m) y = Clip (x, , most)"))
    x = floats(9)
    assert np.array_equal(session.run(None, {"x": x, "m": np.array(-0.5, F32)})[0], np.minimum(x, F32(0.5)))


def test_many_norms_in_a_row():
    steps = " ".join(f"t{i + 1} = BatchNormalization (t{i}, s, b, m, v)" for i in range(40))
    body = steps.replace("(t0", "(x").replace("t40 =", "y =")
    weights = {"s": floats(3), "b": floats(3, seed=1), "m": floats(3, seed=2), "v": abs(floats(3, seed=3)) + F32(0.5)}
    model, x = parsed("float[n, 3, k] x", "float[n, 3, k] y", body, **weights), floats(2, 3, 4)
    ours, theirs = InferenceSession(model).run(None, {"x": x})[0], in_reference(model, {"x": x})[0]
    assert np.allclose(ours, theirs, rtol=1e-3, atol=1e-4)


def test_more_axes_than_a_region_has():
    model = parsed("float[a,b,c,d,e,f,g] x", "float y", "t = Transpose <perm: ints = [6,5,4,3,2,1,0]> (x) y = Relu (t)")
    x = floats(2, 3, 2, 1, 2, 3, 2)
    assert np.array_equal(InferenceSession(model).run(None, {"x": x})[0], np.maximum(x.T, 0))


def test_memory_of_an_input_is_no_place_for_a_result():
    session, x = InferenceSession(parsed("float[n, m] x", "float[m, n] y", "y = Transpose (x)")), floats(3, 3)
    with pytest.raises(ValueError, match="must not share memory"):
        session.run(None, {"x": x}, out={"y": x})


def test_calls_written_for_onnxruntime():
    model, x = parsed("float[n] x", "float[n] y", "y = Neg (x)"), floats(3)
    options = SessionOptions()
    options.intra_op_num_threads, options.log_severity_level = 1, 3
    options.graph_optimization_level = dq.onnx.GraphOptimizationLevel.ORT_ENABLE_ALL
    options.execution_mode = dq.onnx.ExecutionMode.ORT_SEQUENTIAL
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    assert dq.onnx.get_available_providers() == ["CPUExecutionProvider"]
    levels = onnxruntime.GraphOptimizationLevel.__members__
    assert {name: int(level) for name, level in levels.items()} == dict(dq.onnx.GraphOptimizationLevel.__members__)
    session = InferenceSession(model, options, providers=["CUDAExecutionProvider", "CPUExecutionProvider"])
    assert session.get_providers() == ["CPUExecutionProvider"] and session.get_modelmeta().graph_name == "g"
    run_options = dq.onnx.RunOptions()
    run_options.log_severity_level = 3
    run_options.add_run_config_entry("memory.enable_memory_arena_shrinkage", "cpu:0")
    assert np.array_equal(session.run([], {"x": x.tolist()}, run_options)[0], -x)
    options.intra_op_num_threads = -1
    with pytest.raises(ValueError, match="intra_op_num_threads must be from 1 to"):
        InferenceSession(model, options)
    with pytest.raises(ValueError, match="providers must have"):
        InferenceSession(model, providers=["CUDAExecutionProvider"])
    for feeds in (None, [x]):
        with pytest.raises(TypeError, match="input_feed must be a mapping"):
            session.run(None, feeds)
    with pytest.raises(TypeError, match="output_names must be a list"):
        session.run("y", {"x": x})


def test_an_initializer_that_is_an_input_may_be_left_out():
    model = parsed("float[n] x, float[1] w", "float[n] y", "y = Mul (x, w)", w=np.array([3], F32))
    session, x = InferenceSession(model), floats(4)
    assert [each.name for each in session.get_inputs()] == ["x"]
    assert [each.name for each in session.get_overridable_initializers()] == ["w"]
    assert np.array_equal(session.run(None, {"x": x})[0], in_onnxruntime(model, {"x": x})[0])
    assert np.array_equal(session.run(None, {"x": x, "w": np.array([2], F32)})[0], x * 2)
    assert np.array_equal(session.run(None, {"x": x})[0], x * 3)
    with pytest.raises(ValueError, match=r"input_feed must have x; (x is missing|got w)"):
        session.run(None, {"w": np.array([2], F32)})
    with pytest.raises(ValueError, match="input_feed must have x; got x, z"):
        session.run(None, {"x": x, "z": x})


def test_an_input_without_a_shape_is_no_scalar():
    model = parsed("float x", "float y", "y = Neg (x)")
    model.graph.input[0].type.tensor_type.ClearField("shape")
    with pytest.raises(ValueError, match="'shape' of 'type' is required"):
        InferenceSession(model)


def test_attention_to_no_key_is_zeros():
    body = """
        turned = Transpose <perm: ints = [0, 1, 3, 2]> (k) scores = MatMul (q, turned)
        weights = Softmax <axis: int = -1> (scores) y = MatMul (weights, v)
    """
    session = InferenceSession(parsed(
        "float[b, h, s, 8] q, float[b, h, t, 8] k, float[b, h, t, 4] v", "float[b, h, s, 4] y", body
    ))  # fmt: skip
    for heads, keys in ((2, 3), (2, 0), (0, 3), (2, 5)):
        q, k, v = floats(1, heads, 5, 8), floats(1, heads, keys, 8, seed=1), floats(1, heads, keys, 4, seed=2)
        (y,) = session.run(None, {"q": q, "k": k, "v": v})
        assert y.shape == (1, heads, 5, 4) and np.isfinite(y).all() and bool(y.any()) == bool(heads * keys)
    assert any(step.kernel.startswith("attention") for step in session.report())


@pytest.mark.parametrize("operator", ["Add", "Sub", "Mul", "Div", "Max", "Min"])
def test_float16_is_rounded_after_every_operator(operator):
    model = parsed("float16[n] x, float16[n] z", "float16[n] y", f"a = {operator} (x, z) b = Sqrt (a) y = Neg (b)")
    session = InferenceSession(model)
    with np.errstate(all="ignore"):
        x, z = np.random.default_rng(0).standard_normal((2, 4000)).astype(np.float16) * np.float16(300)
        x[:4], z[:4] = np.array([[np.inf, -0.0, 6e-8, 65504], [2, 0, 3, 65504]], np.float16)
        numpy = {"Add": np.add, "Sub": np.subtract, "Mul": np.multiply, "Div": np.divide}
        want = -np.sqrt({**numpy, "Max": np.maximum, "Min": np.minimum}[operator](x, z))
        (found,) = session.run(None, {"x": x, "z": z})
    assert found.dtype == np.float16 and np.array_equal(found, want, equal_nan=True)
    assert len(session.report()) == 1 and session.report()[0].kernel.startswith("region")
