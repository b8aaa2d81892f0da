"""dq.onnx.search on a small model: budgets, seeds, going on, explanations; and the choice by itself."""

from __future__ import annotations

import itertools
import json

import numpy as np
import onnx
import pytest
from onnx_models import floats, parsed

from dynq_numba.cli.main import main
from dynq_numba.evaluate.batches import Batch
from dynq_numba.evaluate.search import measure, read_record, search, searching
from dynq_numba.evaluate.search.choose import Budget, Table, choose
from dynq_numba.onnx import InferenceSession, quantize

WIDTH = 128


def model() -> onnx.ModelProto:
    """Three linears, of which the second has an input with large columns."""
    weights = {f"w{i}": floats(WIDTH, WIDTH, seed=i) / 8 for i in range(3)}
    weights["large"] = np.where(np.arange(WIDTH) % 30 == 7, np.float32(40), np.float32(1))
    body = "a = MatMul (x, w0) b = Tanh (a) c = Mul (b, large) d = MatMul (c, w1) e = Tanh (d) y = MatMul (e, w2)"
    made = parsed(f"float[n, {WIDTH}] x", f"float[n, {WIDTH}] y", body, **weights)
    for i, node in enumerate(made.graph.node):
        node.name = f"n{i}"
    return made


def data() -> dict[str, np.ndarray]:
    return {"x": floats(64, WIDTH, seed=9)}


def losses(recipe: dict) -> float:
    x = data()
    made = quantize(model(), recipe=recipe, data=x).model
    want, got = (InferenceSession(each).run(None, x)[0] for each in (model(), made))
    cosines = (want * got).sum(1) / np.linalg.norm(want, axis=1) / np.linalg.norm(got, axis=1)
    return float(1 - cosines.mean())


@pytest.fixture(scope="module")
def searched(tmp_path_factory):
    out = tmp_path_factory.mktemp("search") / "best.toml"
    plain = losses({})
    return out, plain, search(model(), data(), out, max_degradation=plain / 3, batch=16)


def test_a_recipe_within_the_budget_is_found_and_does_what_it_says(searched):
    out, plain, record = searched
    assert record.found and record.result["degradation"] <= plain / 3
    assert losses(str(out)) == pytest.approx(record.result["loss"], rel=1e-3, abs=1e-9)
    assert out.read_text() == record.recipe and set(record.chosen) == {"n0", "n3", "n5"}
    assert record.chosen["n3"] not in ("int8", "int8 gptq"), "the large columns cost most"
    written = read_record(out.with_name("best.toml.search.json"))
    assert written.to_json() == record.to_json()
    assert [point for point in record.pareto() if point["all"]] and "chosen" in str(record)
    json.loads(record.to_json())


def test_it_goes_on_where_it_was_and_gives_the_same(searched, tmp_path):
    out, plain, record = searched
    asked: list[str] = []
    budget = plain / 3
    again = search(model(), data(), out, max_degradation=budget, batch=16, progress=lambda *say: asked.append(say[2]))
    assert again.recipe == record.recipe and asked == []
    fresh, stopped = tmp_path / "best.toml", []

    def stop(done: int, steps: int, name: str) -> None:
        stopped.append(name)
        if done == 5 and len(stopped) == 6:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        search(model(), data(), fresh, max_degradation=budget, batch=16, progress=stop)
    assert not fresh.exists() and len(read_record(tmp_path / "best.toml.search.json").receipts) == 5
    resumed = search(model(), data(), fresh, max_degradation=budget, batch=16)
    assert fresh.read_bytes() == out.read_bytes() and resumed.chosen == record.chosen


def test_explanations_are_in_numbers(searched):
    _, _, record = searched
    text = record.explain("n3")
    assert text.startswith(f"n3: {record.chosen['n3']}") and "squared relative error" in text
    assert record.explain("w1") == text
    with pytest.raises(ValueError, match="no layer is called 'n9'; layers are n0, n3, n5"):
        record.explain("n9")


def test_size_and_what_cannot_be():
    int8 = search(model(), data(), batch=32).points[0]["bytes"]
    small = search(model(), data(), max_size=int8 - 8000, batch=32)
    assert small.found and small.result["bytes"] <= int8 - 8000
    assert any(rung.startswith("int4") for rung in small.chosen.values())
    none = search(model(), data(), max_size=100.0, batch=32)
    assert not none.found and none.notes == ["no mix within the budgets was found"]
    with pytest.raises(ValueError, match="max_size must be above 0; got -1"):
        search(model(), data(), max_size=-1)
    with pytest.raises(ValueError, match=r'metric must be "package\.module:function"; got'):
        search(model(), data(), metric="nothing")


def test_a_metric_of_the_user():
    def closeness(outputs, columns):
        return -float(np.abs(outputs["y"] - columns["label"]).mean())

    x = data()
    label = InferenceSession(model()).run(None, x)[0]
    record = search(model(), x | {"label": label}, metric=closeness, max_degradation=0.01, batch=16)
    assert record.found and 0 <= record.result["degradation"] <= 0.01


@pytest.fixture
def counted(monkeypatch):
    """A clock for which a float32 linear takes 4 ms, and others 1 ms."""

    def timed(session, batch):
        session.run(None, batch.feeds)
        kernels = [step.kernel for step in session.report()]
        return 4.0 * kernels.count("sgemm") + sum(kernel.startswith("linear") for kernel in kernels)

    monkeypatch.setattr(measure, "timed", timed)


def test_latency_is_a_limit(counted, tmp_path):
    assert search(model(), data(), tmp_path / "best.toml", max_latency=12.0).result["loss"] < 1e-12
    record = search(model(), data(), tmp_path / "best.toml", max_latency=6.0)
    assert record.found and record.result["ms"] <= 6 and "float" in record.chosen.values()
    again = search(model(), data(), tmp_path / "best.toml", max_latency=3.0)
    assert again.found and again.result["ms"] == 3 and "float" not in again.chosen.values()
    none = search(model(), data(), tmp_path / "best.toml", max_latency=2.0)
    assert not none.found and none.notes == ["no mix within the budgets was found"] and not none.recipe


def test_latency_on_this_machine(tmp_path):
    assert 0 < search(model(), data(), tmp_path / "best.toml", max_latency=1000.0).result["ms"] < 1000
    assert not search(model(), data(), tmp_path / "best.toml", max_latency=1e-7).found


def unnamed() -> onnx.ModelProto:
    made = model()
    for node in made.graph.node:
        node.name = ""
    return made


@pytest.mark.parametrize("make", [model, unnamed])
def test_layers_that_are_no_faster_stay_float32(make, monkeypatch, tmp_path):
    """The one in the middle; with the Tanh that is fused, a step of several nodes."""
    given = iter([{1: 90.0, 2: 30.0, 3: 50.0}, {1: 60.0, 2: 30.0, 3: 20.0}])

    def report(session, times):
        us = next(given)
        steps = InferenceSession._report(session, times=times)
        linears = iter(us.values())
        return [step._replace(us=next(linears) if step.kernel in ("sgemm", "linear") else 1e6) for step in steps]

    monkeypatch.setattr(InferenceSession, "_report", InferenceSession.report, raising=False)
    monkeypatch.setattr(InferenceSession, "report", report)
    out = tmp_path / "best.toml"
    record = search(make(), data(), out, max_degradation=0.5, only_if_faster=True, batch=32)
    assert [(unit["float_us"], unit["int8_us"]) for unit in record.units] == [(90, 60), (30, 30), (50, 20)]
    chosen = list(record.chosen.values())
    assert chosen[1] == "float" and "float" not in (chosen[0], chosen[2])
    receipt = quantize(make(), recipe=out, data=data())
    assert [each.reason for each in receipt.kept] == ["float32 is faster here: 30 us, int8 30 us"]
    assert "on this machine float32 takes 30 us, int8 30 us" in record.explain("w1")


def test_layers_are_timed_on_this_machine(tmp_path):
    record = search(model(), data(), max_degradation=0.5, only_if_faster=True, batch=64)
    for unit in record.units:
        slow = unit["int8_us"] >= unit["float_us"] > 0
        assert unit["int8_us"] > 0 and (record.chosen[unit["name"]] == "float") == slow


def test_a_search_that_stopped_can_be_explained(searched, tmp_path, monkeypatch):
    _, plain, _ = searched
    out = tmp_path / "best.toml"
    search(model(), data(), out, max_degradation=plain, batch=32)
    monkeypatch.setattr(searching, "times", lambda session, *others: dict.fromkeys(("n0", "n3", "n5"), 1.0))

    def stop(done: int, steps: int, name: str) -> None:
        if "batches" in name:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        search(model(), data(), out, max_degradation=plain, only_if_faster=True, batch=32, progress=stop)
    record = read_record(tmp_path / "best.toml.search.json")
    assert not record.found and record.limits["only_if_faster"]
    assert "nothing was chosen" in record.explain("n0") and "float32 is faster here" in record.explain("n0")
    assert (tmp_path / "best.toml.search.json").stat().st_mode & 0o444 == 0o444


def test_one_weight_in_two_layers_has_the_loss_of_each():
    """The second one is multiplied by almost nothing."""
    body = "a = MatMul (x, w) b = Tanh (a) c = MatMul (b, w) d = Mul (c, little) y = Add (a, d)"
    weights = {"w": floats(WIDTH, WIDTH) / 8, "little": np.array([1e-3], np.float32)}
    made = parsed(f"float[n, {WIDTH}] x", f"float[n, {WIDTH}] y", body, **weights)
    made.graph.node[0].name, made.graph.node[2].name = "first", "second"
    first, second = search(made, data(), batch=32).units
    assert first["sensitivity"] > 1e4 * second["sensitivity"] > 0


def stop_at_once(done: int, steps: int, name: str) -> None:
    raise KeyboardInterrupt


def test_other_weights_beside_the_model_and_other_texts_are_another_search(tmp_path):
    for seed in (0, 1):
        made = parsed(
            f"float[n, {WIDTH}] x", f"float[n, {WIDTH}] y", "y = MatMul (x, w)", w=floats(WIDTH, WIDTH, seed=seed)
        )
        onnx.save(made, tmp_path / "m.onnx", save_as_external_data=True, location="w.bin", size_threshold=0)
        with pytest.raises(KeyboardInterrupt):
            search(tmp_path / "m.onnx", data(), tmp_path / f"{seed}.toml", progress=stop_at_once)
    keys = [read_record(tmp_path / f"{seed}.toml.search.json").key["model"] for seed in (0, 1)]
    assert keys[0] != keys[1]
    words = np.array([f"word {i}" for i in range(3000)], object)
    others = words.copy()
    others[1500] = "other"
    assert len({searching._digest([Batch({}, {"words": each}, 0, 3000)]) for each in (words, others)}) == 2


def test_what_a_metric_cannot_be():
    x = data()["x"]
    with pytest.raises(ValueError, match="metric must give a finite number; got nan for 2 batches"):
        bench = measure.Bench(model(), [Batch({"x": x}, {}, 0, 64)] * 2, lambda *given: float("nan"), None, "")
        bench.figure(bench.floats, [0, 1])
    runs = [{"x": x[:9], "label": np.arange(9)}, {"x": x[9:]}]
    with pytest.raises(ValueError, match="data must have the same columns in all runs; label is in some of them only"):
        search(model(), runs, metric=lambda outputs, columns: 1.0)


@pytest.mark.parametrize("limit", [0.0, -5.0])
def test_no_mix_has_no_bytes(limit):
    ones = np.ones((3, 4))
    assert choose(Table(ones, ones, ones), Budget(bytes=limit), 0) is None


def test_the_choice_is_the_best_of_all():
    """Against every mix of five units and four rungs."""
    rng = np.random.default_rng(0)
    for case in range(20):
        parts = [rng.uniform(0.1, 1, (5, 4)) ** 3 for _ in range(3)]
        table = Table(*parts)
        mixes = np.array(list(itertools.product(range(4), repeat=5)))
        sums = np.array([table.sums(mix) for mix in mixes])
        budget = Budget(bytes=float(np.quantile(sums[:, 1], 0.3)))
        fit = sums[:, 1] <= budget.bytes
        found = choose(table, budget, 0)
        assert found is not None and table.sums(found)[1] <= budget.bytes
        assert table.sums(found)[0] <= 1.15 * sums[fit, 0].min(), case
    assert choose(table, Budget(bytes=0.0001), 0) is None


def test_the_command_line(searched, tmp_path):
    out, plain, record = searched
    onnx.save(model(), tmp_path / "m.onnx")
    np.savez(tmp_path / "probe.npz", **data())
    files = [str(tmp_path / name) for name in ("m.onnx", "probe.npz", "best.toml", "made.onnx")]
    budget = str(plain / 3)
    assert main(["search", files[0], "--data", files[1], "--max-degradation", budget, "-o", files[2], "--quiet"]) == 0
    assert (tmp_path / "best.toml").read_text() == out.read_text().replace(
        record.key["model"][:16], read_record(tmp_path / "best.toml.search.json").key["model"][:16]
    )
    assert main(["quantize", files[0], "-o", files[3], "--recipe", files[2], "--data", files[1], "--quiet"]) == 0
    assert main(["explain", "n3", files[2]]) == 0 and main(["explain", "n3", files[3]]) == 0
    assert main(["explain", "n9", files[2]]) == 1 and main(["explain", "n9", files[3]]) == 1
    assert main(["search", files[0], "--max-size", "10B", "-o", str(tmp_path / "none.toml"), "--quiet"]) == 1
    assert not (tmp_path / "none.toml").exists()
