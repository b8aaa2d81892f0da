"""InferenceSession: what it is given, and whose its results are."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from onnx import parser
from onnx_models import floats, parsed, same

from dynq_numba.onnx import InferenceSession

F32 = np.float32


# -- results ------------------------------------------------------------------------------------
def test_results_are_the_caller_s():
    session = InferenceSession(parsed("float[n] x", "float[n] y", "y = Neg (x)"))
    x = floats(8)
    first = session.run(None, {"x": x})[0]
    kept = first.copy()
    session.run(None, {"x": x + 1})
    assert same(first, kept)
    first[:] = 0
    assert same(session.run(None, {"x": x})[0], kept)


def test_a_result_that_is_an_input_or_a_constant_is_a_copy():
    body = "y = Identity (x) z = Identity (w)"
    session = InferenceSession(parsed("float[n] x", "float[n] y, float[2] z", body, w=floats(2)))
    x = floats(3)
    y, z = session.run(None, {"x": x})
    assert same(y, x) and same(z, floats(2)) and not np.shares_memory(x, y)
    y[:], z[:] = 0, 0
    assert same(session.run(None, {"x": x})[1], floats(2))


def test_chosen_results_in_the_order_asked_for():
    session = InferenceSession(parsed("float[n] x", "float[n] y, float[n] z", "y = Neg (x) z = Abs (x)"))
    x = floats(4)
    z, y = session.run(["z", "y"], {"x": x})
    assert same(y, -x) and same(z, abs(x))
    assert [each.name for each in session.get_outputs()] == ["y", "z"]
    assert session.get_inputs()[0] == ("x", "tensor(float)", ["n"])


def test_results_go_where_they_are_asked_to():
    session = InferenceSession(parsed("float[n] x", "float[n] y", "y = Neg (x)"))
    x, y = floats(6), np.empty(6, F32)
    assert session.run(None, {"x": x}, out={"y": y})[0] is y and same(y, -x)
    for wrong in (np.empty(5, F32), np.empty(6), np.empty(12, F32)[::2]):
        with pytest.raises(ValueError, match="out\\['y'\\]"):
            session.run(None, {"x": x}, out={"y": wrong})
    with pytest.raises(ValueError, match="names of y; got 'q'"):
        session.run(None, {"x": x}, out={"q": y})
    with pytest.raises(TypeError, match="out must be a mapping of names of outputs to arrays; got list"):
        session.run(None, {"x": x}, out=[y])


# -- feeds --------------------------------------------------------------------------------------
@pytest.mark.parametrize("feeds,message", [
    ({}, "input_feed must have x; got nothing"),
    ({"z": floats(2, 3)}, "input_feed must have x; got z"),
    ({"x": floats(2, 3), "z": floats(2, 3)}, "input_feed must have x; got x, z"),
    ({"x": floats(2, 3).astype(np.float64)}, "x must be of type float32; got float64"),
    ({"x": floats(2, 4)}, r"x must have shape \(n, 3\); got \(2, 4\)"),
    ({"x": floats(3)}, r"x must have shape \(n, 3\); got \(3,\)"),
])  # fmt: skip
def test_bad_feeds_are_named(feeds, message):
    session = InferenceSession(parsed("float[n, 3] x", "float[n, 3] y", "y = Neg (x)"))
    with pytest.raises(ValueError, match=message):
        session.run(None, feeds)


def test_feeds_that_share_a_dimension_agree_on_it():
    model = parsed("float[n, 3] x, float[n, 3] z, float[m, 3] w", "float y", "y = Concat <axis = 0> (x, z, w)")
    session = InferenceSession(model)
    x, z, w = floats(2, 3), floats(2, 3, seed=1), floats(5, 3, seed=2)
    assert same(session.run(None, {"x": x, "z": z, "w": w})[0], np.concatenate([x, z, w]))
    with pytest.raises(ValueError, match=r"^n must be one length in all inputs, or 1; x has \(2, 3\), z has \(3, 3\)$"):
        session.run(None, {"x": x, "z": floats(3, 3), "w": w})
    one = floats(1, 3)  # a length of 1 may broadcast
    assert same(session.run(None, {"x": one, "z": z, "w": w})[0], np.concatenate([one, z, w]))
    for value in model.graph.input[:2]:
        value.type.tensor_type.shape.dim[0].dim_param = "?"  # some exporters' way to say nothing
    assert InferenceSession(model).run(None, {"x": x, "z": w, "w": w})[0].shape == (12, 3)


@pytest.mark.parametrize("given,kind,message", [
    (3, TypeError, "path_or_bytes must be a path, bytes, .*; got int"),
    (b"no model", ValueError, "path_or_bytes is no valid ONNX model: "),
    (parsed("float[n] x", "float[n] y", "y = Cast <to: int = 1> (x)", opset=8), ValueError,
     "path_or_bytes must have opset 9 or"),
])  # fmt: skip
def test_what_is_no_model_is_called_as_it_was_given(given, kind, message, tmp_path):
    with pytest.raises(kind, match=f"^{message}"):
        InferenceSession(given)
    if isinstance(given, onnx.ModelProto):
        path = tmp_path / "old.onnx"
        onnx.save(given, path)
        with pytest.raises(ValueError, match=f"^{path} must have opset 9 or newer; got 8$"):
            InferenceSession(path)


def test_feeds_of_any_strides_and_read_only():
    session = InferenceSession(parsed("float[n, m] x", "float[n, m] y", "y = Neg (x)"))
    x = floats(6, 8)
    x.flags.writeable = False
    for view in (x, x.T, x[::2, ::-1], x[:0]):
        assert same(session.run(None, {"x": view})[0], -view)


def test_operators_that_nothing_computes_are_listed():
    text = """<ir_version: 10, opset_import: ["": 21, "other": 1]>
        graph (float[n] x) => (float[n] y) { a = other.First (x) b = other.Second (a) y = other.First (b) }"""
    with pytest.raises(ValueError, match=r"nothing here computes: other.First, other.Second$"):
        InferenceSession(parser.parse_model(text))


def test_an_index_that_is_not_there():
    session = InferenceSession(parsed("float[n, k] x, int64[m] i", "float[m, k] y", "y = Gather (x, i)"))
    x = floats(5, 3)
    assert same(session.run(None, {"x": x, "i": np.array([0, -1, 4])})[0], x[[0, -1, 4]])
    with pytest.raises(ValueError, match="indices"):
        session.run(None, {"x": x, "i": np.array([0, 5])})
