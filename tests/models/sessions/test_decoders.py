"""Decoders: caches that grow in place, and plans that serve every length."""

from __future__ import annotations

import threading

import numpy as np
import pytest
from onnx_models import floats, in_onnxruntime, parsed, same

from dynq_numba.onnx import InferenceSession
from dynq_numba.planning.caches import LEAST, has_gap
from dynq_numba.planning.plan import Plan

CACHE = "float[b, 2, t, 4] past, float[b, 2, s, 4] x", "float[b, 2, u, 4] present, float[b, 2, s, 4] y"
BODY = "n = Neg (x) present = Concat <axis: int = 2> (past, n) y = Exp (n)"


def joined(past: np.ndarray, x: np.ndarray, axis: int = 2) -> np.ndarray:
    return np.concatenate([past, -x], axis)


def empty(batch: int = 3) -> np.ndarray:
    return np.zeros((batch, 2, 0, 4), np.float32)


def positions(count: int, batch: int = 3, seed: int = 0) -> np.ndarray:
    return floats(batch, 2, count, 4, seed=seed)


def in_place(present: np.ndarray, past: np.ndarray) -> bool:
    return present.ctypes.data == past.ctypes.data and present.strides == past.strides


@pytest.mark.parametrize("batch", [1, 3])
def test_a_cache_grows_in_place_until_there_is_no_room(batch):
    session, past, kept, moved = InferenceSession(parsed(*CACHE, BODY)), empty(batch), [], 0
    for i, count in enumerate([5, *[1] * 20, 0, 7, 1, LEAST, 1, 1, 3 * LEAST, 1]):
        x = positions(count, batch, i)
        present, y = session.run(None, {"past": past, "x": x})
        assert same(present, joined(past, x)) and np.allclose(y, np.exp(-x), rtol=1e-6)
        assert all(same(old, copy) for old, copy in kept)
        moved += not in_place(present, past)
        kept.append((present, present.copy()))
        past = present
    assert moved == 3  # new, and twice without room


def test_two_that_grow_from_one_past_have_memory_of_their_own():
    session = InferenceSession(parsed(*CACHE, BODY))
    x = [positions(n, seed=n) for n in (4, 1, 2, 3)]
    past = session.run(None, {"past": empty(), "x": x[0]})[0]
    copy = past.copy()
    first, second, third = (session.run(None, {"past": past, "x": each})[0] for each in x[1:])
    assert in_place(first, past) and not np.shares_memory(second, past) and not np.shares_memory(third, second)
    for result, each in zip((first, second, third), x[1:], strict=True):
        assert same(result, joined(copy, each))
    again = session.run(None, {"past": second, "x": x[1]})[0]
    assert in_place(again, second) and same(again, joined(joined(copy, x[2]), x[1])) and same(past, copy)


def test_what_is_not_the_whole_of_a_cache_is_copied():
    session = InferenceSession(parsed(*CACHE, BODY))
    x = positions(1, seed=9)
    past = session.run(None, {"past": empty(), "x": positions(6)})[0]
    copy = past.copy()
    for part in (past[:, :, :4], past[1:], past[:, :, 2:], past[::-1], past[:, ::-1], past[:1], past.copy(),
                 np.asfortranarray(past), past[[2, 0, 0]], past[:, :, ::2]):  # fmt: skip
        more = x[: len(part)]
        result = session.run(None, {"past": part, "x": more})[0]
        assert same(result, joined(part, more)) and not np.shares_memory(result, past)
    assert same(past, copy)
    whole = session.run(None, {"past": past, "x": x})[0]
    assert in_place(whole, past) and same(whole, joined(copy, x))


def test_sessions_hand_caches_to_each_other():
    one, other = InferenceSession(parsed(*CACHE, BODY)), InferenceSession(parsed(*CACHE, BODY))
    x = positions(1)
    past = one.run(None, {"past": empty(), "x": positions(3)})[0]
    grown = other.run(None, {"past": past, "x": x})[0]
    assert in_place(grown, past) and same(grown, joined(past, x))
    assert not np.shares_memory(one.run(None, {"past": past, "x": x})[0], past)


def test_threads_that_grow_from_one_past():
    session, wrong, taken = InferenceSession(parsed(*CACHE, BODY)), [], []
    for turn in range(10):
        past = session.run(None, {"past": empty(), "x": positions(4, seed=turn)})[0]
        copy, barrier = past.copy(), threading.Barrier(6)

        def work(i: int, past=past, copy=copy, barrier=barrier):
            array, want = past, copy
            barrier.wait()
            for j in range(8):
                x = positions(1 + j % 2, seed=100 * i + j)
                array, before = session.run(None, {"past": array, "x": x})[0], array
                want = joined(want, x)
                taken.append(j == 0 and in_place(array, before))
                if not same(array, want):
                    wrong.append((i, j))

        threads = [threading.Thread(target=work, args=(i,)) for i in range(6)]
        for each in threads:
            each.start()
        for each in threads:
            each.join()
        assert same(past, copy)
    assert not wrong and sum(taken) == 10


def test_where_somebody_else_is_about_to_grow_it_it_is_copied():
    session = InferenceSession(parsed(*CACHE, BODY))
    past, x = session.run(None, {"past": empty(), "x": positions(3)})[0], positions(1)
    past.base.taken.clear()  # as another thread does, or one that was there when the process forked
    for _ in range(2):
        present = session.run(None, {"past": past, "x": x})[0]
        assert same(present, joined(past, x)) and not np.shares_memory(present, past)


def test_memory_of_the_caller():
    session = InferenceSession(parsed(*CACHE, BODY))
    memory, x = np.full((3, 2, 20, 4), np.nan, np.float32), positions(12)
    memory[:, :, :2] = -x[:, :, :2]
    for t in range(2, 12):
        target = memory[:, :, : t + 1]
        feeds = {"past": memory[:, :, :t], "x": x[:, :, t : t + 1]}
        assert session.run(["present"], feeds, out={"present": target})[0] is target
        assert same(target, -x[:, :, : t + 1]) and np.isnan(memory[:, :, t + 1 :]).all()
    dense = np.empty((3, 2, 13, 4), np.float32)
    feeds = {"past": memory[:, :, :12], "x": positions(1)}
    session.run(None, feeds, out={"present": dense})
    assert same(dense, joined(memory[:, :, :12], feeds["x"]))
    for target in (memory[:, :, 1:14], memory[:, :, 7:]):
        with pytest.raises(ValueError, match=r"out\['present'\] must not share memory"):
            session.run(None, feeds, out={"present": target})
    for target in (np.empty((3, 2, 13, 8), np.float32)[..., ::2], np.empty((13, 4, 2, 3), np.float32).T):
        with pytest.raises(ValueError, match=r"out\['present'\] must be a writable C contiguous"):
            session.run(None, feeds, out={"present": target})


@pytest.mark.parametrize("shape, axis", [
    ("float[b, t, 3] past, float[b, s, 3] x", 1), ("float[t, 3] past, float[s, 3] x", 0),
    ("float[b, 2, 3, t] past, float[b, 2, 3, s] x", -1), ("float[1, 1, t, 3] past, float[1, 1, s, 3] x", 2),
    ("float[2, 1, h, t, 3] past, float[2, 1, h, s, 3] x", 3),
])  # fmt: skip
def test_axes_and_ranks(shape, axis):
    session = InferenceSession(parsed(shape, "float y", f"n = Neg (x) p = Concat <axis: int = {axis}> (past, n) "
                                      "y = Identity (p)"))  # fmt: skip
    lengths = [int(n) if n.isdigit() else 2 for n in shape[6 : shape.index("]")].split(",") for n in [n.strip()]]
    past = np.zeros([0 if i == axis % len(lengths) else n for i, n in enumerate(lengths)], np.float32)
    for count in (3, 1, 2, 1):
        x = floats(*[count if i == axis % len(lengths) else n for i, n in enumerate(lengths)], seed=count)
        present = session.run(None, {"past": past, "x": x})[0]
        assert same(present, joined(past, x, axis))
        past = present


def test_a_past_that_others_read_too():
    body = f"{BODY} total = ReduceSum <keepdims: int = 0> (past) width = Shape (past)" \
           "turned = Transpose <perm: ints = [0, 1, 3, 2]> (past) z = MatMul (turned, past)"  # fmt: skip
    outputs = CACHE[1] + ", float total, float[b, 2, 4, 4] z, int64[4] width"
    session, past = InferenceSession(parsed(CACHE[0], outputs, body)), empty()
    for count in (3, 1, 1):
        x = positions(count, seed=count)
        present, _, total, z, width = session.run(None, {"past": past, "x": x})
        assert same(present, joined(past, x)) and width.tolist() == list(past.shape)
        assert np.allclose(total, past.sum(dtype=np.float64), atol=1e-5)
        assert np.allclose(z, past.swapaxes(2, 3) @ past, atol=1e-5)
        past = present


def test_gaps():
    memory = np.zeros((2, 3, 8, 5), np.float32)
    assert all(has_gap(memory[:, :, :n], 2) for n in (0, 1, 5, 8)) and has_gap(memory[:1, :1, 2:5], 2)
    for view in (memory[:, :2, :5], memory[..., :4], memory[:, :, ::2], memory[:, ::-1], memory.T, memory[:, :, 7::-1],
                 np.broadcast_to(memory[:, :1], memory.shape)):  # fmt: skip
        assert not has_gap(view, 2)


ATTENTION = """
    q, k, v = Split <axis: int = -1> (x, sizes)
    a, present_k, present_v = Attention <is_causal: int = 1, q_num_heads: int = 4, kv_num_heads: int = 2> (
        q, k, v, , past_k, past_v)
    y = MatMul (a, w)
"""


def decoder():
    inputs = "float[b, s, 64] x, float[b, 2, t, 8] past_k, float[b, 2, t, 8] past_v"
    outputs = "float[b, s, 32] y, float[b, 2, u, 8] present_k, float[b, 2, u, 8] present_v"
    return parsed(inputs, outputs, ATTENTION, opset=23, sizes=np.array([32, 16, 16]), w=floats(32, 32))


def test_a_step_plans_nothing(monkeypatch):
    planned, trace = [], Plan._trace
    monkeypatch.setattr(Plan, "_trace", lambda *args: planned.append(1) or trace(*args))
    model, session = decoder(), InferenceSession(decoder())
    past = dict.fromkeys(("past_k", "past_v"), np.zeros((2, 2, 0, 8), np.float32))
    counts = []
    for i, rows in enumerate([6, *[1] * 75]):
        feeds = {"x": floats(2, rows, 64, seed=i), **past}
        y, k, v = session.run(None, feeds)
        if i < 12:
            wanted = in_onnxruntime(model, feeds)
            assert np.allclose(y, wanted[0], atol=1e-5) and same(k, wanted[1]) and same(v, wanted[2])
        assert i in (0, 1, 59) or (in_place(k, past["past_k"]) and in_place(v, past["past_v"]))
        past = {"past_k": k, "past_v": v}
        counts.append(len(planned))
    assert counts == [1] * 76
    assert not any(step.kind == "python" for step in session.report())


def test_a_branch_with_a_past_and_one_without(monkeypatch):
    planned, trace = [], Plan._trace
    monkeypatch.setattr(Plan, "_trace", lambda *args: planned.append(1) or trace(*args))
    body = """present, y = If (use_past) <
        then_branch = with_past () => (a, b) { n = Neg (x) joined = Concat <axis: int = 2> (past, n)
                                               a = Identity (joined) b = Exp (n) },
        else_branch = without () => (c, d) { c = Neg (x) d = Exp (c) }>"""
    session = InferenceSession(parsed(f"{CACHE[0]}, bool use_past", CACHE[1], body))
    past, counts = positions(2, seed=3), []
    for i, count in enumerate([6, *[1] * 20]):
        x = positions(count, seed=i)
        present, y = session.run(None, {"past": past, "x": x, "use_past": np.array(i > 0)})
        assert same(present, joined(past, x) if i else -x) and np.allclose(y, np.exp(-x), rtol=1e-6)
        assert i < 2 or in_place(present, past)
        past = present
        counts.append(len(planned))
    assert counts[2:] == counts[2:3] * 19


def test_a_branch_without_a_past_writes_to_memory_of_the_caller():
    """There the result is no cache; its place in the caller's memory has a gap all the same."""
    body = """present, y = If (use_past) <
        then_branch = with_past () => (a, b) { n = Neg (x) a = Concat <axis: int = 2> (past, n) b = Exp (n) },
        else_branch = without () => (c, d) { c = Neg (x) d = Exp (c) }>"""
    session = InferenceSession(parsed(f"{CACHE[0]}, bool use_past", CACHE[1], body))
    memory, past, x = np.full((3, 2, 20, 4), np.nan, np.float32), empty(), positions(4)
    for use_past in (False, True, True):
        before = past.shape[2]
        target = memory[:, :, : before + 4]
        feeds = {"past": past, "x": x, "use_past": np.array(use_past)}
        assert session.run(None, feeds, out={"present": target})[0] is target
        assert same(target[:, :, before:], -x) and np.isnan(memory[:, :, before + 4 :]).all()
        past = target


def test_a_cache_of_another_axis_is_copied():
    """Its lengths may be those of a cache of this axis."""
    inputs, body = "float[b, h, t, 4] past, float[b, g, s, 4] x", "y = Concat <axis: int = {}> (past, x)"
    along, heads = (InferenceSession(parsed(inputs, "float[b, i, u, 4] y", body.format(axis))) for axis in (2, 1))
    given, x = np.zeros((2, 1, 0, 4), np.float32), floats(2, 1, 1, 4)
    (cache,) = along.run(None, {"past": given, "x": x})
    (y,) = heads.run(None, {"past": cache, "x": 2 * x})
    assert same(y, np.concatenate([x, 2 * x], 1)) and same(cache, x)


@pytest.mark.parametrize("reader", [
    "z = Add (past, past)", "z = Identity (past)", "z = ReduceMax <keepdims = 0> (past)",
    "z = Shape (past)",
])  # fmt: skip
def test_in_place_only_where_nobody_else_reads_what_is_written_over(reader):
    kind = "int64[r]" if "Shape" in reader else "float" if "Reduce" in reader else "float[2, 2, t, 4]"
    inputs = "float[2, 2, t, 4] past, float[2, 2, s, 4] x, int64[2] at"
    body = f"y = TensorScatter (past, x, at) {reader}"
    session = InferenceSession(parsed(inputs, f"float[2, 2, t, 4] y, {kind} z", body, opset=24))
    past, feeds = floats(2, 2, 9, 4), {"x": floats(2, 2, 3, 4, seed=1), "at": np.array([1, 5])}
    want = session.run(None, {**feeds, "past": past})
    if "Shape" in reader:
        found = session.run(None, {**feeds, "past": past}, out={"y": past})
        assert found[0] is past and all(map(same, found, want))
    else:
        with pytest.raises(ValueError, match=r"out\['y'\] must not share memory"):
            session.run(None, {**feeds, "past": past}, out={"y": past})


def test_updates_of_any_strides_to_caches_of_five_axes():
    inputs = "float[2, 3, 1, t, 4] past, float[2, 1, s, 3, 4] x, int64[2] at"
    body = "turned = Transpose <perm = [0, 3, 1, 2, 4]> (x) y = TensorScatter (past, turned, at)"
    session = InferenceSession(parsed(inputs, "float[2, 3, 1, t, 4] y", body, opset=24))
    past, x = floats(2, 3, 1, 9, 4), floats(2, 1, 3, 3, 4, seed=1)
    want = past.copy()
    for b, start in enumerate((1, 5)):
        want[b, :, :, start : start + 3] = x.transpose(0, 3, 1, 2, 4)[b]
    assert same(session.run(None, {"past": past, "x": x, "at": np.array([1, 5])})[0], want)


def test_out_of_a_result_that_is_another_one_again():
    session = InferenceSession(parsed("float[n] x", "float[n] y, float[n] z", "y = Neg (x) z = Identity (y)"))
    x, target = floats(5), np.zeros(5, np.float32)
    y, z = session.run(None, {"x": x}, out={"z": target})
    assert z is target and same(z, -x) and same(y, -x)
    with pytest.raises(ValueError, match=r"out\['z'\] must have shape \(5,\)"):
        session.run(None, {"x": x}, out={"z": np.zeros(4, np.float32)})
