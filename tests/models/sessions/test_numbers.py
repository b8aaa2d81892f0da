"""Numbers of inputs that shapes are made of: compiled code reads them, so that a run stays one program."""

import numpy as np
import pytest
from onnx_models import floats, in_reference, parsed, same

from dynq_numba.onnx import InferenceSession


def check(model, *feeds, segments=1):
    session = InferenceSession(model)
    for each in feeds:
        for got, want in zip(session.run(None, each), in_reference(model, each), strict=True):
            assert same(got, want)
    assert not any(step.kind == "python" for step in session.report())
    assert len(session._plan.segments()) == segments
    return session


def numbers(*values, kind=np.int64):
    return np.array(values, kind)


def test_one_plan_for_all_shapes_of_a_length():
    model = parsed("float[n] x, int64[k] shape", "float y", "y = Reshape (x, shape)")
    feeds = [{"x": floats(24), "shape": numbers(*shape)} for shape in ((4, 6), (2, 12), (3, 8))]
    check(model, *feeds)
    check(model, *feeds, {"x": floats(24), "shape": numbers(2, 3, 4)}, segments=2)


@pytest.mark.parametrize("kind", ["int8", "uint8", "int16", "uint16", "int32", "uint32", "uint64", "bool"])
def test_every_type_of_numbers(kind):
    name = {"bool": "bool"}.get(kind, kind)
    model = parsed(
        f"float[n] x, {name}[k] given", "float y",
        "wide = Cast <to = 7> (given)\nstart = Constant <value_ints = [0]> ()\ny = Slice (x, start, wide)",
    )  # fmt: skip
    values = (
        [0, 1] if kind == "bool" else [0, 5, np.iinfo(kind).max, *([-3, np.iinfo(kind).min] if kind[0] == "i" else [])]
    )
    values = [n for n in values if n < 2**63]
    session = InferenceSession(model)
    for n in values:
        feeds = {"x": floats(300), "given": numbers(n, kind=kind)}
        assert same(session.run(None, feeds)[0], feeds["x"][: int(n)])
    assert not any(step.kind == "python" for step in session.report())


def test_a_branch_that_an_input_chooses():
    model = parsed(
        "float[n] x, bool c", "float y",
        "y = If (c) <then_branch = t () => (float a) { a = Neg (x) }, else_branch = e () => (float b) { b = Abs (x) }>",
    )  # fmt: skip
    check(model, {"x": floats(5), "c": np.array(True)}, {"x": floats(9), "c": np.array(False)}, segments=2)


def test_numbers_are_data_as_well():
    model = parsed("float[n] x, int64[k] s", "float y, int64 z", "y = Expand (x, s)\nz = Mul (s, s)")
    check(model, {"x": floats(1), "s": numbers(3)}, {"x": floats(1), "s": numbers(8)})


def test_many_numbers_are_looked_at_by_python():
    model = parsed(
        "float[n] x, int64[k] s", "float y", "t = Slice (s, a, b)\ny = Reshape (x, t)", a=numbers(0), b=numbers(2)
    )
    session = InferenceSession(model)
    feeds = {"x": floats(6), "s": numbers(2, 3, *range(100))}
    assert same(session.run(None, feeds)[0], feeds["x"].reshape(2, 3))
    assert sum(step.kind == "python" for step in session.report()) == 1


def test_a_number_without_axes_is_a_truth():
    body = "n = Size (x)\np = Cast <to = 9> (n)\nq = Not (p)\nk = Cast <to = 7> (q)\ny = Add (k, n)"
    check(parsed("float[n] x", "bool p, int64 y", body), *({"x": floats(n)} for n in (3, 5, 0, 1)))
