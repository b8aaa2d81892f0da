"""Loops: bodies as programs that one step calls in every turn, or as plans of their own; beside numpy."""

from __future__ import annotations

import threading

import numpy as np
import pytest
from onnx import parser
from onnx_models import floats, in_reference, parsed

from dynq_numba.onnx import InferenceSession

F32 = np.float32


def same(a: np.ndarray, b: np.ndarray) -> bool:
    return a.dtype == b.dtype and a.shape == b.shape and np.array_equal(a, b)


def model(text: str):
    parsed = parser.parse_model(f'<ir_version: 10, opset_import: ["": 21]> {text}')
    for value in (*parsed.graph.input, *parsed.graph.output):
        value.type.tensor_type.shape.SetInParent()  # of a scalar the parser gives no shape
    return parsed


def looped(inputs: str, outputs: str, call: str, body: str, before: str = "", after: str = ""):
    """A model with one Loop; `call` is results = Loop (…)."""
    yes = "yes = Constant <value: tensor = bool {1}> ()"
    return model(f"g ({inputs}) => ({outputs}) {{ {yes} {before} {call} <body = step {body}> {after} }}")


def kernels(session: InferenceSession) -> list[str]:
    return [step.kernel for step in session.report()]


def in_python(session: InferenceSession) -> list[str]:
    return [each for each in kernels(session) if each.startswith("python ")]


FIBONACCI = looped(
    "int64 n, float[k] x, float[k] y", "float[k] a, float[k] b", "a, b = Loop (n, yes, x, y)",
    "(int64 i, bool go, float[k] one, float[k] two) => (bool on, float[k] other, float[k] sum) "
    "{ on = Identity (go) other = Identity (two) sum = Add (one, two) }",
)  # fmt: skip


def test_a_body_wants_numbers_that_are_no_block_of_memory():
    """What puts them side by side is a step of the segment around the loop."""
    text = looped(
        "float[n, 4] x, int64 turns, float[1] y", "float[turns, a, b] z", "z = Loop (turns, yes)",
        "(int64 i, bool go) => (bool on, float[a, b] out) { on = Identity (go) out = Expand (y, lengths) }",
        before="most = ArgMax <axis = 0, keepdims = 0> (x) zero = Constant <value_ints = [0]> () "
        "end = Constant <value_ints = [4]> () two = Constant <value_ints = [2]> () "
        "lengths = Slice (most, zero, end, zero, two)",
    )  # fmt: skip
    session, y = InferenceSession(text), floats(1)
    for first, third in ((2, 3), (3, 1), (2, 3)):
        x = np.zeros((5, 4), F32)
        x[[first, 4, third, 4], range(4)] = 1
        (found,) = session.run(None, {"x": x, "turns": np.array(2), "y": y})
        assert same(found, np.broadcast_to(y, (2, first, third)))


@pytest.mark.parametrize("count", [3, 0, 1, 2, 10, -1])
def test_values_go_from_turn_to_turn(count):
    session, a, b = InferenceSession(FIBONACCI), floats(5), floats(5, seed=1)
    for turns in (4, count, 7):
        found = session.run(None, {"n": np.array(turns), "x": a, "y": b})
        one, two = a, b
        for _ in range(turns):
            one, two = two, one + two
        assert same(found[0], one) and same(found[1], two)
    assert not in_python(session) and "loop" in kernels(session)
    assert any(step.kernel == "region Add" for step in session.report())  # a step of the body


def test_results_of_turns_are_written_side_by_side():
    loop = looped(
        "int64 n, float[k] x", "float[k] y, float[m, k] all, int64[m] numbers", "y, all, numbers = Loop (n, yes, x)",
        "(int64 i, bool go, float[k] one) => (bool on, float[k] two, float[k] part, int64 number) "
        "{ on = Identity (go) two = Add (one, x) part = Neg (two) number = Mul (i, i) }",
    )  # fmt: skip
    session, x = InferenceSession(loop), floats(4)
    for turns in (3, 1, 0, 8):
        y, parts, numbers = session.run(None, {"n": np.array(turns), "x": x})
        rows = [x]
        for _ in range(turns):
            rows.append(rows[-1] + x)
        assert same(y, rows[-1]) and same(parts, -np.array(rows[1:], F32).reshape(turns, 4))
        assert same(numbers, np.arange(turns) ** 2)
    assert not in_python(session) and "copy" not in kernels(session)


def test_a_condition_ends_a_loop():
    loop = looped(
        "int64 n, bool go, float x, float most", "float y", "y = Loop (n, go, x)",
        "(int64 i, bool going, float one) => (bool on, float two) { two = Add (one, one) on = Less (two, most) }",
    )  # fmt: skip
    session = InferenceSession(loop)
    for turns, go, most in ((9, True, 100.0), (9, True, 3.0), (3, True, 1e9), (9, False, 100.0), (8, True, 256.0)):
        feeds = {"n": np.array(turns), "go": np.array(go), "x": np.array(1, F32), "most": np.array(most, F32)}
        expected = F32(1)
        for _ in range(turns if go else 0):
            expected += expected
            if not expected < most:
                break
        assert same(session.run(None, feeds)[0], np.array(expected, F32)), (turns, go, most)
    assert not in_python(session)


def test_a_loop_without_a_limit():
    loop = model("""g (float x) => (float y) {
        yes = Constant <value: tensor = bool {1}> ()
        y = Loop (, yes, x) <body = step (int64 i, bool go, float one) => (bool on, float two)
            { two = Add (one, one) most = Constant <value: tensor = float {1000.0}> () on = Less (two, most) }>
    }""")
    session = InferenceSession(loop)
    assert same(session.run(None, {"x": np.array(3, F32)})[0], np.array(1536, F32)) and not in_python(session)


def test_what_is_gathered_until_a_condition_is_a_plan_for_each_turn():
    loop = looped(
        "int64 n, float[k] x, float most", "float[k] y, float[m, k] all", "y, all = Loop (n, yes, x)",
        "(int64 i, bool go, float[k] one) => (bool on, float[k] two, float[k] part) "
        "{ two = Add (one, x) part = Neg (two) top = ReduceMax <keepdims: int = 0> (two) on = Less (top, most) }",
    )  # fmt: skip
    session, x = InferenceSession(loop), np.arange(3, dtype=F32)
    for turns, most in ((9, 9.0), (2, 9.0), (9, 0.0)):
        y, parts = session.run(None, {"n": np.array(turns), "x": x, "most": np.array(most, F32)})
        ran = min(turns, max(1, -(-int(most) // 2) - 1))
        assert same(y, x * (1 + ran)) and same(parts, -np.array([x * (2 + i) for i in range(ran)], F32).reshape(ran, 3))
    y, parts = session.run(None, {"n": np.array(0), "x": x, "most": np.array(1, F32)})
    assert same(y, x) and parts.shape == (0, 0)  # nothing says how long a part would be
    assert in_python(session) == ["python Loop"] * len(in_python(session))
    assert any("end early" in step.why for step in session.report())
    assert any(step.kernel.startswith("region") for step in session.report())


def test_shapes_that_grow_are_a_plan_for_each_turn():
    loop = looped(
        "int64 n, float[k] x", "float[m] y", "y = Loop (n, yes, x)",
        "(int64 i, bool go, float[j] one) => (bool on, float[l] two) "
        "{ on = Identity (go) two = Concat <axis: int = 0> (one, x) }",
    )  # fmt: skip
    session, x = InferenceSession(loop), floats(3)
    for turns in (2, 0, 5):
        assert same(session.run(None, {"n": np.array(turns), "x": x})[0], np.tile(x, turns + 1))
    assert set(in_python(session)) == {"python Loop"} and "copy" in kernels(session)


def test_a_body_may_have_a_node_without_a_kernel():
    loop = looped(
        "int64 n, float[k] x", "float[k] y", "y = Loop (n, yes, x)",
        "(int64 i, bool go, float[k] one) => (bool on, float[k] two) "
        "{ on = Identity (go) kept = ReverseSequence (square, lens) two = MatMul (kept, one) }",
        before="square = MatMul (c, r)",
    )  # fmt: skip
    others = model("g (float[k, 1] c, float[1, k] r, int64[k] lens) => (float[k, k] y) { y = Mul (c, r) }")
    loop.graph.input.extend(others.graph.input)
    session, x, c, r = InferenceSession(loop), floats(3), floats(3, 1, seed=1), floats(1, 3, seed=2)
    feeds = {"n": np.array(3), "x": x, "c": c, "r": r, "lens": np.array([3, 1, 2])}
    assert np.allclose(session.run(None, feeds)[0], in_reference(loop, feeds)[0], rtol=1e-5)
    assert in_python(session) == ["python Loop", "python ReverseSequence"]


def test_turns_look_at_their_part_of_what_is_outside():
    loop = looped(
        "float[n, k] x", "float[k] y", "y = Loop (turns, yes, zeros)",
        "(int64 i, bool go, float[k] one) => (bool on, float[k] two) "
        "{ on = Identity (go) row = Gather (x, i) two = Add (one, row) }",
        before="""shape = Shape (x) zero = Constant <value_int: int = 0> () turns = Gather (shape, zero)
            first = Constant <value_ints: ints = [1]> () end = Constant <value_ints: ints = [2]> ()
            k = Slice (shape, first, end) zeros = ConstantOfShape (k)""",
    )  # fmt: skip
    session = InferenceSession(loop)
    for n in (4, 1, 7):
        x, expected = floats(n, 5, seed=n), np.zeros(5, F32)
        for row in x:
            expected = expected + row
        assert same(session.run(None, {"x": x})[0], expected)
    assert not in_python(session) and "gather" not in kernels(session)


def test_turns_that_go_another_way_are_a_plan_of_their_own():
    loop = looped(
        "int64 n, float[k] x", "float[k] y", "y = Loop (n, yes, x)",
        """(int64 i, bool go, float[k] one) => (bool on, float[k] two) {
            on = Identity (go) two_turns = Constant <value_int: int = 2> () odd = Equal (i, two_turns)
            two = If (odd) <
                then_branch = then () => (float[k] a) { a = Neg (one) },
                else_branch = otherwise () => (float[k] b) { b = Add (one, x) }
            >
        }""",
    )  # fmt: skip
    session, x = InferenceSession(loop), floats(3)
    for turns in (2, 5, 2, 0):
        expected = x
        for i in range(turns):
            expected = -expected if i == 2 else expected + x
        assert same(session.run(None, {"n": np.array(turns), "x": x})[0], expected)


def test_loops_in_loops():
    loop = looped(
        "int64 n, int64 m, float[k] x", "float[k] y, float[p, q, k] all", "y, all = Loop (n, yes, x)",
        """(int64 i, bool go, float[k] one) => (bool on, float[k] two, float[q, k] rows) {
            on = Identity (go)
            two, rows = Loop (m, go, one) <body = inner (int64 j, bool go2, float[k] three)
                => (bool on2, float[k] four, float[k] row)
                { on2 = Identity (go2) four = Add (three, x) row = Mul (four, one) }>
        }""",
    )  # fmt: skip
    session, x = InferenceSession(loop), floats(3)
    for n, m in ((2, 3), (1, 1), (3, 2), (2, 0), (5, 4)):
        y, parts = session.run(None, {"n": np.array(n), "m": np.array(m), "x": x})
        value, expected = x, np.zeros((n, m, 3), F32)
        for i in range(n):
            one = value
            for j in range(m):
                value = value + x
                expected[i, j] = value * one
        assert same(y, value) and same(parts, expected), (n, m)
    assert not in_python(session)


def test_an_error_in_a_turn_names_the_node():
    loop = looped(
        "int64 n, float[k] x, int64[j] places", "float[k] y", "y = Loop (n, yes, x)",
        "(int64 i, bool go, float[k] one) => (bool on, float[k] two) "
        "{ on = Identity (go) two = Gather (one, places) }",
    )  # fmt: skip
    session, x = InferenceSession(loop), floats(4)
    turned = np.array([3, 0, 1, 2])
    assert same(session.run(None, {"n": np.array(5), "x": x, "places": turned})[0], np.roll(x, 5))
    with pytest.raises(ValueError, match=r"two.*indices"):
        session.run(None, {"n": np.array(2), "x": x, "places": turned + 1})


SCAN = """g (float[b, k] h, float[t, b, k] x, float[b, u, k] z)
    => (float[b, k] last, float[b, k, t] all, float[t, b] sums)
    <float[3, 3] w = {0.5, -0.25, 1.0, 2.0, 0.125, 0.75, -1.0, 0.5, 0.25}> {
    axes = Constant <value_ints: ints = [1]> ()
    last, all, sums = Scan <num_scan_inputs: int = 2, scan_input_axes: ints = [0, 1],
        scan_input_directions: ints = [1, 0], scan_output_axes: ints = [2, 0], scan_output_directions: ints = [0, 1],
        body = step (float[b, k] before, float[b, k] row, float[b, k] other)
            => (float[b, k] after, float[b, k] part, float[b] sum) {
        product = MatMul (before, w) added = Add (product, row) more = Sub (added, other) after = Tanh (more)
        part = Identity (after) sum = ReduceSum <keepdims: int = 0> (row, axes) }> (h, x, z)
    }"""


@pytest.mark.parametrize("lengths", [(5, 2), (1, 1), (6, 3), (0, 2)])
def test_scan_goes_through_axes_both_ways(lengths):
    session, weight = InferenceSession(model(SCAN)), np.array([[0.5, -0.25, 1], [2, 0.125, 0.75], [-1, 0.5, 0.25]], F32)
    for t, b in ((4, 2), lengths):
        h, x, z = floats(b, 3), floats(t, b, 3, seed=1), floats(b, t, 3, seed=2)
        last, parts, sums = session.run(None, {"h": h, "x": x, "z": z})
        expected = np.zeros((b, 3, t), F32)
        for i in range(t):
            h = np.tanh(h @ weight + x[t - 1 - i] - z[:, i])
            expected[:, :, i] = h
        assert last.shape == h.shape and np.allclose(last, h, rtol=1e-4, atol=1e-5)
        assert parts.shape == expected.shape and np.allclose(parts, expected, rtol=1e-4, atol=1e-5)
        assert sums.shape == (t, b) and np.allclose(sums, x.sum(2), rtol=1e-4, atol=1e-5)
    assert not in_python(session)


def test_lengths_of_scan_must_be_equal():
    session = InferenceSession(model(SCAN))
    with pytest.raises(ValueError, match="goes through"):
        session.run(None, {"h": floats(2, 3), "x": floats(4, 2, 3), "z": floats(2, 5, 3)})


def test_many_threads_in_one_loop():
    session, x = InferenceSession(FIBONACCI), floats(64)
    expected = session.run(None, {"n": np.array(20), "x": x, "y": x})
    wrong: list[int] = []

    def work(turns: int) -> None:
        for _ in range(50):
            found = session.run(None, {"n": np.array(20), "x": x, "y": x})
            wrong.extend(i for i in range(2) if not same(found[i], expected[i]))
            session.run(None, {"n": np.array(turns), "x": x, "y": x})

    threads = [threading.Thread(target=work, args=(turns,)) for turns in range(4)]
    for each in threads:
        each.start()
    for each in threads:
        each.join()
    assert not wrong


def test_a_branch_that_a_number_before_the_loop_chooses():
    """The segment ends, as Python looks at the number; the loop is planned behind that, all of it."""
    turn = """c = Identity (go)  w = If (p) <then_branch = a () => (float[n] u) { u = Neg (v) },
              else_branch = b () => (float[n] t) { t = Add (v, x) }>"""
    body = f"""s = ReduceSum <keepdims = 0> (x)  p = Greater (s, zero)
               y = Loop (m, yes, x) <body = l (int64 i, bool go, float[n] v) => (bool c, float[n] w) {{ {turn} }}>
               z = Neg (y)"""
    for results in ("float[k] y", "float[k] z", "float[k] z, float[k] y"):
        model = parsed("float[n] x, int64 m", results, body, zero=np.float32(0), yes=np.array(True))
        session = InferenceSession(model)
        for seed in range(5):
            feeds = {"x": floats(3 + seed, seed=seed), "m": np.array(seed)}
            for got, want in zip(session.run(None, feeds), in_reference(model, feeds), strict=True):
                assert same(got, want)
