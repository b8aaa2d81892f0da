"""Float LSTM, GRU and RNN in sessions: beside ONNX Runtime, and ONNX's own tests of these operators."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from onnx import numpy_helper
from onnx.backend.test.case.node import collect_testcases
from onnx.backend.test.case.test_case import TestCase
from onnx_models import floats, in_onnxruntime, parsed

import dynq_numba as dq
from dynq_numba.onnx import InferenceSession

F32 = np.float32
GATES = {"LSTM": 4, "GRU": 3, "RNN": 1}
#: Operator, directions, attributes, inputs after B.
CASES = {
    "LSTM": ("LSTM", 1, "", ""),
    "LSTM reverse, lengths": ("LSTM", 1, 'direction = "reverse"', "lens"),
    "LSTM both ways, everything": ("LSTM", 2, 'direction = "bidirectional", clip = 1.5', "lens, h0, c0, p"),
    "LSTM coupled": ("LSTM", 1, "input_forget = 1", ", h0, c0"),
    "LSTM activations": (
        "LSTM", 1, 'activations = ["HardSigmoid", "Softsign", "Relu"], activation_alpha = [0.3], '
        "activation_beta = [0.4]", ""),
    "GRU": ("GRU", 1, "", ""),
    "GRU before, both ways": ("GRU", 2, 'direction = "bidirectional", linear_before_reset = 1', "lens, h0"),
    "GRU reverse": ("GRU", 1, 'direction = "reverse", clip = 0.7', ", h0"),
    "RNN": ("RNN", 1, "", ""),
    "RNN both ways": ("RNN", 2, 'direction = "bidirectional", activations = ["Relu", "Tanh"]', "lens, h0"),
}  # fmt: skip


def model_of(case: str, inputs: int, hidden: int) -> onnx.ModelProto:
    op, ways, attributes, more = CASES[case]
    rows = GATES[op] * hidden
    weights = {
        "w": floats(ways, rows, inputs, seed=1) / 4, "r": floats(ways, rows, hidden, seed=2) / 5,
        "b": floats(ways, 2 * rows, seed=3) / 5,
    }  # fmt: skip
    if "p" in more.split(", "):
        weights["p"] = floats(ways, 3 * hidden, seed=4) / 3
    given = f"float[t, n, {inputs}] x"
    for name in more.split(", "):
        given += {"lens": ", int32[n] lens", "h0": f", float[{ways}, n, {hidden}] h0",
                  "c0": f", float[{ways}, n, {hidden}] c0"}.get(name, "")  # fmt: skip
    states = ["h", "c"] if op == "LSTM" else ["h"]
    outputs = f"float[t, {ways}, n, {hidden}] y, " + ", ".join(f"float[{ways}, n, {hidden}] {each}" for each in states)
    options = f"hidden_size = {hidden}" + (f", {attributes}" if attributes else "")
    tail = f", {more}" if more else ""
    return parsed(given, outputs, f"y, {', '.join(states)} = {op} <{options}> (x, w, r, b{tail})", **weights)


def feeds_of(model: onnx.ModelProto, times: int, batch: int) -> dict[str, np.ndarray]:
    feeds = {}
    for i, value in enumerate(model.graph.input):
        dims = value.type.tensor_type.shape.dim
        sizes = {"t": times, "n": batch}
        feeds[value.name] = floats(*(sizes.get(d.dim_param, d.dim_value) for d in dims), seed=10 + i)
    if "lens" in feeds:
        feeds["lens"] = np.random.default_rng(5).integers(1, times + 1, batch).astype(np.int32)
        feeds["lens"][0] = times
    return feeds


@pytest.mark.parametrize("case", CASES)
def test_beside_onnxruntime(case):
    """Both are chains of float32 sums in different orders: a step's pre-activation, of 64 values and Σ |x|·|w| < 20, is
    off by less than 64·2^-24·20 < 8e-5 in either. These layers do not let errors grow."""
    for inputs, hidden, times, batch in ((24, 40, 9, 3), (3, 5, 4, 1), (24, 40, 1, 17)):
        model = model_of(case, inputs, hidden)
        session, feeds = InferenceSession(model), feeds_of(model, times, batch)
        found = session.run(None, feeds)
        assert not any(step.kernel.startswith("python") for step in session.report())
        assert CASES[case][0].lower() in [step.kernel for step in session.report()]
        for ours, theirs in zip(found, in_onnxruntime(model, feeds), strict=True):
            assert ours.shape == theirs.shape and ours.dtype == F32
            assert np.abs(ours - theirs).max() < 1.6e-4


@pytest.mark.parametrize("case", CASES)
def test_the_bits_depend_on_nothing_else(case, sets):
    model = model_of(case, 24, 40)
    feeds = feeds_of(model, 6, 5)
    expected = InferenceSession(model, threads=1).run(None, feeds)
    for name in sets:
        with dq.force_isa(name):
            found = InferenceSession(model, threads=2).run(None, feeds)
        assert all(np.array_equal(a, b) for a, b in zip(found, expected, strict=True)), name
    alone = {name: each[2:3] if name == "lens" else each[:, 2:3] for name, each in feeds.items()}
    found = InferenceSession(model).run(None, alone)
    assert np.array_equal(found[0][:, :, 0], expected[0][:, :, 2])
    assert np.array_equal(found[1][:, 0], expected[1][:, 2])


def test_lengths_may_be_empty_or_wrong():
    model = model_of("LSTM reverse, lengths", 3, 5)
    session = InferenceSession(model)
    feeds = feeds_of(model, 4, 2)
    feeds["lens"] = np.array([0, 4], np.int32)
    y, h, c = session.run(None, feeds)
    assert not y[:, :, 0].any() and not h[:, 0].any() and not c[:, 0].any() and y[:, :, 1].all()
    feeds["lens"] = np.array([5, 4], np.int32)
    with pytest.raises(ValueError, match="sequence_lens must be from 0 to x's times"):
        session.run(None, feeds)


def test_onnx_s_own():
    """With the weights as constants, as models have them; layout=1 is among them."""
    cases = [case for case in collect_testcases(None) if case.model.graph.node[0].op_type in GATES]
    assert len(cases) >= 18
    for case in cases:
        run_case(case)


def run_case(case: TestCase) -> None:
    model = onnx.ModelProto.FromString(case.model.SerializeToString())
    ((inputs, outputs),) = case.data_sets
    feeds = {}
    for value, given in zip(case.model.graph.input, inputs, strict=True):
        array = numpy_helper.to_array(given) if isinstance(given, onnx.TensorProto) else np.asarray(given)
        if value.name in ("W", "R", "B", "P"):
            model.graph.input.remove(value)
            model.graph.initializer.append(numpy_helper.from_array(array, value.name))
        else:
            feeds[value.name] = array
    session = InferenceSession(model)
    found = session.run(None, feeds)
    assert not any(step.kernel.startswith("python") for step in session.report()), case.name
    for ours, expected in zip(found, outputs, strict=True):
        want = numpy_helper.to_array(expected) if isinstance(expected, onnx.TensorProto) else expected
        np.testing.assert_allclose(ours, want, rtol=case.rtol, atol=case.atol, strict=True, err_msg=case.name)


def test_weights_that_are_computed_stay_in_python():
    body = "w2 = Add (w, x0) y, h = RNN <hidden_size = 4> (x, w2, r)"
    model = parsed("float[t, n, 3] x, float[1, 4, 3] x0", "float[t, 1, n, 4] y", body,
                   w=floats(1, 4, 3), r=floats(1, 4, 4))  # fmt: skip
    session = InferenceSession(model)
    session.run(None, {"x": floats(2, 1, 3), "x0": floats(1, 4, 3)})
    (step,) = [step for step in session.report() if step.kernel == "python RNN"]
    assert "computed at run time" in step.why


def test_an_input_of_another_rank_is_named():
    w, r = floats(1, 16, 3), floats(1, 16, 4)
    model = parsed("float[n, 3] x", "float y", "y = LSTM <hidden_size = 4> (x, w, r)", w=w, r=r)
    with pytest.raises(ValueError, match="axes of X and what the layer takes must be equal; got 2 and 3"):
        InferenceSession(model).run(None, {"x": floats(2, 3)})
