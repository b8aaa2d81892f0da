"""Texts, sequences and optionals: sessions take them, pass them on and give them back; Python computes with them."""

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper
from onnx_models import floats, in_reference, parsed, same

from dynq_numba.onnx import InferenceSession

F = TensorProto.FLOAT


def tensor(name, kind=F, shape=(None,)):
    return helper.make_tensor_value_info(name, kind, list(shape))


def sequence(name, kind=F):
    return helper.make_tensor_sequence_value_info(name, kind, None)


def model(nodes, inputs, outputs):
    graph = helper.make_graph(nodes, "g", inputs, outputs)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 21)], ir_version=10)


def node(*given, **attributes):
    return helper.make_node(*given, **attributes)


def equal(a, b):
    if isinstance(b, list):
        return isinstance(a, list) and len(a) == len(b) and all(map(equal, a, b))
    return a.tolist() == b.tolist() if b.dtype.kind in "OU" else same(a, b)


def check(made, *feeds):
    session = InferenceSession(made)
    for each in feeds:
        for _ in range(2):
            got, want = session.run(None, each), in_reference(made, each)
            assert len(got) == len(want) and all(map(equal, got, want))
    return session


def test_texts_beside_numbers():
    nodes = [node("Identity", ["label"], ["same"]), node("StringConcat", ["label", "label"], ["twice"]),
             node("Mul", ["x", "x"], ["s"]), node("ReduceSum", ["s"], ["y"], keepdims=0)]  # fmt: skip
    outputs = [tensor("same", TensorProto.STRING), tensor("twice", TensorProto.STRING), tensor("y", shape=())]
    made = model(nodes, [tensor("x"), tensor("label", TensorProto.STRING)], outputs)
    session = check(made, {"x": floats(5), "label": np.array(["a", "über"], object)},
                    {"x": floats(3), "label": np.array(["b"], object)})  # fmt: skip
    assert [each.type for each in session.get_inputs()] == ["tensor(float)", "tensor(string)"]
    feeds = {"x": floats(5), "label": ["a", "b"]}
    for given in (feeds, {**feeds, "label": np.array(["a", "b"])}):
        assert [each.tolist() for each in session.run(["same", "twice"], given)] == [["a", "b"], ["aa", "bb"]]
    assert [step.kernel for step in session.report() if step.kind == "python"] == ["python StringConcat"]


def test_texts_of_the_model():
    table = onnx.numpy_helper.from_array(np.array(["low", "high"], object), "table")
    nodes = [node("Gather", ["table", "i"], ["y"])]
    made = model(nodes, [tensor("i", TensorProto.INT64)], [tensor("y", TensorProto.STRING)])
    made.graph.initializer.append(table)
    check(made, {"i": np.array([1, 0, 1])}, {"i": np.array([0])})


def test_a_list_of_results():
    nodes = [node("Add", ["x", "x"], ["a"]), node("Neg", ["x"], ["b"]), node("SequenceConstruct", ["a", "b"], ["s"]),
             node("SequenceLength", ["s"], ["n"]), node("SequenceAt", ["s", "one"], ["last"]),
             node("Exp", ["last"], ["e"])]  # fmt: skip
    made = model(nodes, [tensor("x")], [sequence("s"), tensor("n", TensorProto.INT64, ()), tensor("last")])
    made.graph.initializer.append(onnx.numpy_helper.from_array(np.array(1), "one"))
    session = check(made, {"x": floats(4)}, {"x": floats(7)})
    first = session.run(["s"], {"x": floats(4)})[0]
    kept = [each.copy() for each in first]
    session.run(None, {"x": floats(4, seed=1)})
    assert equal(first, kept)  # nothing of a run is in memory of the next one
    assert session.get_outputs()[0].type == "seq(tensor(float))"


def test_a_sequence_that_is_given():
    nodes = [node("SequenceInsert", ["s", "x"], ["t"]), node("ConcatFromSequence", ["t"], ["c"], axis=0),
             node("Mul", ["c", "c"], ["y"])]  # fmt: skip
    made = model(nodes, [sequence("s"), tensor("x")], [sequence("t"), tensor("y")])
    session = check(made, {"s": [floats(2), floats(3)], "x": floats(4)}, {"s": [], "x": floats(1)})
    given = [floats(2)]
    passed = session.run(["t"], {"s": given, "x": floats(1)})[0]
    assert not np.may_share_memory(passed[0], given[0])


def test_a_branch_that_gives_a_sequence():
    branch = [helper.make_graph([node("SequenceConstruct", names, [name])], name, [], [sequence(name)])
              for names, name in ((["x"], "a"), (["x", "x"], "b"))]  # fmt: skip
    nodes = [node("If", ["c"], ["s"], then_branch=branch[0], else_branch=branch[1])]
    made = model(nodes, [tensor("c", TensorProto.BOOL, ()), tensor("x")], [sequence("s")])
    check(made, {"c": np.array(True), "x": floats(3)}, {"c": np.array(False), "x": floats(3)})


def test_a_loop_that_collects():
    body = helper.make_graph(
        [node("Identity", ["go"], ["goes"]), node("Add", ["x", "x"], ["d"]), node("SequenceInsert", ["s", "d"], ["t"])],
        "body", [tensor("i", TensorProto.INT64, ()), tensor("go", TensorProto.BOOL, ()), sequence("s")],
        [tensor("goes", TensorProto.BOOL, ()), sequence("t")],
    )  # fmt: skip
    nodes = [node("SequenceEmpty", [], ["empty"]), node("Loop", ["n", "", "empty"], ["all"], body=body)]
    made = model(nodes, [tensor("n", TensorProto.INT64, ()), tensor("x")], [sequence("all")])
    session = InferenceSession(made)
    for turns in (3, 0, 2):
        (got,) = session.run(None, {"n": np.array(turns), "x": floats(2)})
        assert equal(got, [2 * floats(2)] * turns)


def test_an_optional():
    value = helper.make_value_info("o", helper.make_optional_type_proto(helper.make_tensor_type_proto(F, [None])))
    nodes = [node("OptionalHasElement", ["o"], ["y"])]
    session = InferenceSession(model(nodes, [value], [tensor("y", TensorProto.BOOL, ())]))
    assert session.run(None, {"o": floats(2)}) == [True] and session.run(None, {"o": None}) == [False]
    assert session.get_inputs()[0].type == "optional(tensor(float))"


@pytest.mark.parametrize(
    "name, value, told",
    [
        ("t", [1, 2], "t must be an array of str"), ("t", np.array([["a"]]), "t must have shape"),
        ("s", floats(3), "s must be a list of arrays"),
        ("s", [floats(2), np.arange(3)], r"s\[1\] must be an array of float32"),
        ("s", None, "s must be a list of arrays"),
    ],
)  # fmt: skip
def test_objects_of_other_kinds_are_refused(name, value, told):
    nodes = [node("Identity", ["t"], ["u"]), node("Identity", ["s"], ["v"])]
    inputs = [tensor("t", TensorProto.STRING), sequence("s")]
    session = InferenceSession(model(nodes, inputs, [tensor("u", TensorProto.STRING), sequence("v")]))
    feeds = {"t": np.array(["a"], object), "s": [floats(1)]}
    session.run(None, feeds)
    with pytest.raises(ValueError, match=told):
        session.run(None, {**feeds, name: value})


def test_operators_of_machine_learning_that_onnx_has_a_meaning_for():
    made = parsed("float[n] x", "float[n] y", "y = Abs (x)")
    made.graph.node[0].CopyFrom(helper.make_node("Binarizer", ["x"], ["y"], domain="ai.onnx.ml", threshold=0.25))
    made.opset_import.append(helper.make_opsetid("ai.onnx.ml", 1))
    (got,) = InferenceSession(made).run(None, {"x": floats(9)})
    assert same(got, (floats(9) > 0.25).astype(np.float32))
