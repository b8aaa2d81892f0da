"""GroupQueryAttention of ONNX Runtime, and caches that are written into, beside ONNX Runtime and onnx.reference."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import onnx_ir as ir
import pytest
from onnx import TensorProto, helper, numpy_helper
from onnx_models import floats, in_onnxruntime, in_reference, parsed, same
from three_ways import check_calls

from dynq_numba.graph import quantizer
from dynq_numba.graph.canonical import canonical
from dynq_numba.graph.optimise import optimise
from dynq_numba.onnx import InferenceSession, quantize

HEADS, FEW, WIDTH = 4, 2, 16
Feeds = dict[str, np.ndarray]


def group_query(
    *, packed: bool = False, tables: int = 0, positions: bool = False, bias: bool = False, weights: bool = False,
    few: int = FEW, **attributes: Any,
) -> onnx.ModelProto:  # fmt: skip
    """A model of one node; `tables`: columns of cos and sin; `weights`: with a MatMul in front of q and behind y."""

    def value(name: str, *shape: Any, kind: int = TensorProto.FLOAT) -> onnx.ValueInfoProto:
        return helper.make_tensor_value_info(name, kind, shape)

    width = HEADS * WIDTH
    inputs = [value("q", "b", "s", width + 2 * few * WIDTH if packed else width)]
    inputs += [] if packed else [value(each, "b", "s", few * WIDTH) for each in "kv"]
    names = ["q", "", ""] if packed else ["q", "k", "v"]
    for each in ("key", "value"):
        inputs.append(value(f"past_{each}", "b", few, "t", WIDTH))
    inputs += [value("seqlens", "b", kind=TensorProto.INT32), value("total", kind=TensorProto.INT32)]
    names += ["past_key", "past_value", "seqlens", "total"]
    stored, nodes = [], []
    if tables:
        angles = np.outer(np.arange(64), 1 / 50 ** (np.arange(tables) / tables))
        both = {"cos": np.cos(angles), "sin": np.sin(angles)}
        stored = [numpy_helper.from_array(array.astype(np.float32), name) for name, array in both.items()]
        names += ["cos", "sin"]
        attributes["do_rotary"] = 1
    if positions:
        names.append("positions")
        inputs.append(value("positions", "b", "s", kind=TensorProto.INT64))
    if bias:
        names += [""] * (10 - len(names)) + ["bias"]
        inputs.append(value("bias", 1, HEADS, "s", "w"))
    if weights:
        stored += [numpy_helper.from_array(floats(width, width) / 8, name) for name in ("wq", "wy")]
        nodes = [helper.make_node("MatMul", ["q", "wq"], ["query"]), helper.make_node("MatMul", ["seen", "wy"], ["y"])]
        names[0] = "query"
    nodes.insert(1, helper.make_node(
        "GroupQueryAttention", names, ["seen" if weights else "y", "present_key", "present_value"], "node",
        domain="com.microsoft", num_heads=HEADS, kv_num_heads=few, **attributes,
    ))  # fmt: skip
    outputs = [value("y", "b", "s", width)]
    outputs += [value(f"present_{each}", "b", few, "u", WIDTH) for each in ("key", "value")]
    graph = helper.make_graph(nodes, "g", inputs, outputs, stored)
    imports = [helper.make_opsetid("", 21), helper.make_opsetid("com.microsoft", 1)]
    return helper.make_model(graph, opset_imports=imports, ir_version=10)


def feeds_of(
    batch: int, rows: int, there: int, *, few: int = FEW, packed: bool = False, lengths: list[int] | None = None,
    total: int | None = None, seed: int = 0,
) -> Feeds:  # fmt: skip
    """`lengths`: positions of each batch, the new ones among them; `total`: the most of them."""
    total = rows + there if total is None else total
    width = HEADS * WIDTH
    feeds = {"q": floats(batch, rows, width + 2 * few * WIDTH if packed else width, seed=seed)}
    if not packed:
        feeds |= {name: floats(batch, rows, few * WIDTH, seed=seed + i) for i, name in enumerate("kv", 1)}
    feeds |= {name: floats(batch, few, there, WIDTH, seed=seed + i) for i, name in ((3, "past_key"), (4, "past_value"))}
    filled = [total] * batch if lengths is None else lengths
    return feeds | {"seqlens": np.array(filled, np.int32) - 1, "total": np.array(total, np.int32)}


#: Attributes and options of the model, and of its feeds.
CASES: dict[str, tuple[dict, dict]] = {
    "a step": ({}, {"batch": 2, "rows": 1, "there": 7}),
    "a step of one batch": ({}, {"batch": 1, "rows": 1, "there": 7}),
    "a prompt": ({}, {"batch": 2, "rows": 5, "there": 0}),
    "a part of a prompt": ({}, {"batch": 1, "rows": 3, "there": 7}),
    "as many heads": ({"few": 4}, {"batch": 2, "rows": 1, "there": 3, "few": 4}),
    "one head": ({"few": 1}, {"batch": 1, "rows": 2, "there": 3, "few": 1}),
    "packed": ({"packed": True}, {"batch": 2, "rows": 1, "there": 7, "packed": True}),
    "rotary": ({"tables": 8}, {"batch": 2, "rows": 1, "there": 7}),
    "rotary, interleaved": ({"tables": 8, "rotary_interleaved": 1}, {"batch": 2, "rows": 4, "there": 0}),
    "rotary of a packed part": ({"tables": 8, "packed": True}, {"batch": 1, "rows": 3, "there": 6, "packed": True}),
    "rotary of other lengths": ({"tables": 8}, {"batch": 2, "rows": 1, "there": 9, "lengths": [9, 4], "total": 9}),
    "positions": ({"tables": 8, "positions": True}, {"batch": 2, "rows": 1, "there": 7}),
    "a scale": ({"scale": 0.3}, {"batch": 1, "rows": 1, "there": 7}),
    "soft caps": ({"softcap": 2.0}, {"batch": 2, "rows": 1, "there": 7}),
    "a window": ({"local_window_size": 4}, {"batch": 1, "rows": 1, "there": 9}),
    "a window in a prompt": ({"local_window_size": 3}, {"batch": 2, "rows": 9, "there": 0}),
    "a bias": ({"bias": True}, {"batch": 2, "rows": 1, "there": 7}),
    "a bias and soft caps": ({"bias": True, "softcap": 1.5}, {"batch": 1, "rows": 4, "there": 0}),
    "other lengths": ({}, {"batch": 2, "rows": 1, "there": 7, "lengths": [8, 5]}),
    "room": ({}, {"batch": 2, "rows": 1, "there": 12, "lengths": [8, 5], "total": 8}),
    "room for one": ({}, {"batch": 1, "rows": 1, "there": 12, "total": 8}),
    "room for a prompt": ({}, {"batch": 2, "rows": 6, "there": 12, "lengths": [6, 4], "total": 6}),
    "not causal": ({"causal": 0}, {"batch": 1, "rows": 3, "there": 0}),
}  # fmt: skip


def given(case: str) -> tuple[onnx.ModelProto, Feeds]:
    options, sizes = CASES[case]
    feeds = feeds_of(**sizes)
    if options.get("bias"):
        feeds["bias"] = floats(1, HEADS, sizes["rows"], int(feeds["total"]), seed=9)
    if options.get("positions"):
        feeds["positions"] = np.array([[3], [11]])
    return group_query(**options), feeds


def alive(result: list[np.ndarray], feeds: Feeds) -> list[np.ndarray]:
    """y of the rows, and the positions of the caches, that are not padding."""
    y, *presents = result
    filled, rows = feeds["seqlens"] + 1, y.shape[1]
    return [np.concatenate([row[: min(n, rows)] for row, n in zip(y, filled, strict=True)]),
            *(np.concatenate([each[b, :, :n] for b, n in enumerate(filled)], 1) for each in presents)]  # fmt: skip


def check(got: list[np.ndarray], wanted: list[np.ndarray], feeds: Feeds) -> None:
    assert [each.shape for each in got] == [each.shape for each in wanted]
    for a, b in zip(alive(got, feeds), alive(wanted, feeds), strict=True):
        assert np.abs(a - b).max() <= 2e-6


@pytest.mark.parametrize("case", CASES)
def test_it_gives_what_onnx_runtime_gives(case):
    model, feeds = given(case)
    wanted, session = in_onnxruntime(model, feeds), InferenceSession(model)
    check(session.run(None, feeds), wanted, feeds)
    assert not any(step.kind == "python" or not step.invariant for step in session.report())
    assert ("attention" in {step.kernel for step in session.report()}) == ("softcap" not in CASES[case][0])


@pytest.mark.parametrize("case", ["a step", "other lengths", "room for a prompt", "rotary, interleaved", "packed"])
def test_its_meaning_in_onnx_and_the_kernels(case):
    source, feeds = given(case)
    model, notes = canonical(ir.from_proto(source))
    before = ir.to_proto(model)
    assert not notes
    check(in_reference(before, feeds), in_onnxruntime(source, feeds), feeds)
    optimise(model)
    calls = check_calls(before, model, feeds)
    assert calls.count("Append") == 2 and "Attention_grouped_causal_lengths" in calls


def test_a_decoder_of_one_batch_grows_in_place_and_is_planned_twice():
    model = group_query(tables=8)
    session = InferenceSession(model)
    past: Feeds = {f"past_{each}": np.zeros((1, FEW, 0, WIDTH), np.float32) for each in ("key", "value")}
    theirs = dict(past)
    for i, rows in enumerate([5, *[1] * 9, 3, 1]):
        feeds = feeds_of(1, rows, past["past_key"].shape[2], seed=10 * i)
        got, wanted = session.run(None, feeds | past), in_onnxruntime(model, feeds | theirs)
        check(got, wanted, feeds)
        assert i == 0 or got[1].ctypes.data == past["past_key"].ctypes.data
        past, theirs = (dict(zip(past, each[1:], strict=True)) for each in (got, wanted))
    plans = len(session._plan.segments())
    assert plans == 2  # several rows, and one, where axes of 1 broadcast


def test_shared_memory_of_past_and_present():
    session = InferenceSession(group_query())
    caches = {name: np.zeros((2, FEW, 20, WIDTH), np.float32) for name in ("key", "value")}
    plain = {f"past_{name}": each.copy() for name, each in caches.items()}
    filled = np.array([4, 2])
    for i, rows in enumerate([4, 1, 1, 1]):
        filled = filled + rows * (i > 0)
        feeds = feeds_of(2, rows, 0, lengths=filled.tolist(), total=int(filled.max()), seed=10 * i)
        shared = feeds | {f"past_{name}": each for name, each in caches.items()}
        out = {f"present_{name}": each for name, each in caches.items()}
        y, *presents = session.run(None, shared, out=out)
        assert all(a is b for a, b in zip(presents, caches.values(), strict=True))
        copied = session.run(None, feeds | plain)
        assert same(copied[0], y) and all(same(a, b) for a, b in zip(copied[1:], presents, strict=True))
        check([y, *presents], in_onnxruntime(group_query(), feeds | plain), feeds)
        plain = dict(zip(plain, copied[1:], strict=True))


def test_artifacts_run_in_onnx_runtime(monkeypatch):
    monkeypatch.setattr(quantizer, "LEAST", 1)
    artifact = ir.to_proto(quantize(group_query(weights=True, tables=8), recipe={"attention": 32}).model)
    onnx.checker.check_model(artifact)
    feeds = feeds_of(2, 1, 7)
    check(InferenceSession(artifact).run(None, feeds), in_onnxruntime(artifact, feeds), feeds)


@pytest.mark.parametrize("why, options", [
    ("its softmax is smooth", {"smooth_softmax": 1}), ("3 heads of q|4 heads of q, 3 of k", {"few": 3}),
    ("its cache is of integers", {"k_quant_type": "PER_TENSOR", "kv_cache_bit_width": 8}),
    ("its attribute sliding_window_cache", {"sliding_window_cache": 1, "local_window_size": 4}),
])  # fmt: skip
def test_what_it_does_not_do(why, options):
    with pytest.raises(ValueError, match=f"GroupQueryAttention; .*({why})"):
        InferenceSession(group_query(**options))


SCATTER = "float[b, 2, t, 4] past, float[b, 2, s, 4] x, int64[b] at", "float[b, 2, t, 4] y"


@pytest.mark.parametrize("mode, places", [("linear", [0, 3, 6]), ("circular", [7, 2, 9]),
                                          ("circular", [1 << 40, 8, (1 << 63) - 1])])  # fmt: skip
def test_tensor_scatter(mode, places):
    model = parsed(*SCATTER, f'y = TensorScatter <mode = "{mode}"> (past, x, at)', opset=24)
    session, past, at = InferenceSession(model), floats(3, 2, 8, 4), np.array(places)
    for rows in (1, 2):
        feeds = {"past": past, "x": floats(3, 2, rows, 4, seed=rows), "at": at}
        wanted = in_reference(model, feeds)[0]
        assert same(session.run(None, feeds)[0], wanted)
        own = past.copy()
        assert session.run(None, feeds | {"past": own}, out={"y": own})[0] is own and same(own, wanted)
    assert [step.kernel for step in session.report()].count("cache_rows") >= 1
    assert not any(step.kind == "python" for step in session.report())


def test_tensor_scatter_beyond_the_cache_writes_nothing():
    session = InferenceSession(parsed(*SCATTER, "y = TensorScatter (past, x, at)", opset=24))
    past, x = floats(2, 2, 8, 4), floats(2, 2, 3, 4)
    own = past.copy()
    for at in ([0, 6], [-1, 0], [8, 0], [0, (1 << 63) - 1], [(1 << 63) - 2, 0], [-(1 << 63), 0]):
        with pytest.raises(ValueError, match="there is no such place in the cache"):
            session.run(None, {"past": own, "x": x, "at": np.array(at)}, out={"y": own})
        assert same(own, past)


@pytest.mark.parametrize("text", [
    "y = TensorScatter <axis = 1> (past, x)", "y = TensorScatter <axis: int = -1> (past, x)",
    "p = Transpose <perm = [0, 2, 1]> (x) q = Transpose <perm = [0, 2, 1]> (p) y = TensorScatter (past, q)",
])  # fmt: skip
def test_tensor_scatter_of_three_axes(text):
    shape = "3, u" if "-1" in text else "t, 6"
    model = parsed(f"float[b, {shape}] past, float[b, {shape.replace('t', 's').replace('u', 's')}] x", "float y", text,
                   opset=24)  # fmt: skip
    past = floats(2, 3, 9) if "-1" in text else floats(2, 9, 6)
    x = floats(2, 3, 4, seed=1) if "-1" in text else floats(2, 4, 6, seed=1)
    feeds = {"past": past, "x": x}
    session = InferenceSession(model)
    wanted = past.copy()
    wanted[(slice(None), slice(None), slice(4)) if "-1" in text else (slice(None), slice(4))] = x
    assert same(session.run(None, feeds)[0], wanted)
    assert not any(step.kind == "python" for step in session.report())
