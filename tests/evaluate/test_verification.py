"""verify: what holds is said to hold; models that break each promise are caught."""

from __future__ import annotations

import json

import numpy as np
import onnx
import pytest
from onnx_models import floats, parsed

import dynq_numba as dq
from dynq_numba.cli.main import main
from dynq_numba.evaluate import elsewhere

N = 48
MASKED = """
    e = Gather (table, ids)
    m = Cast <to: int = 1> (mask)
    k = Unsqueeze (m, last)
    h = MatMul (e, w)
    kept = Mul (h, k)
    s = ReduceSum <keepdims: int = 0> (kept, second)
    y = Tanh (s)"""


def masked(body: str = MASKED) -> tuple[onnx.ModelProto, dict[str, np.ndarray]]:
    model = parsed(
        "int64[n,t] ids, int64[n,t] mask", "float[n,48] y", body, table=floats(60, N), w=floats(N, N, seed=1) / 8,
        last=np.array([-1]), second=np.array([1]),
    )  # fmt: skip
    for node in model.graph.node:
        node.name = node.output[0]
    ids = np.random.default_rng(0).integers(0, 60, (6, 9))
    return model, {"ids": ids, "mask": np.ones_like(ids)}


def by_name(found):
    return {check.name: check for check in found.checks}


def test_a_model_of_kernels_holds_in_every_way():
    model, feeds = masked()
    artifact = dq.onnx.quantize(model).model
    found = dq.onnx.verify(artifact, feeds, isas=False, threads=3)
    checks = by_name(found)
    assert found.held and found.rows == 6 and found.steps == []
    held = ("again", "rows alone", "other order", "other batches", "padding", "threads 1", "threads 2", "threads 3",
            "saved and read", "onnxruntime, layer by layer", "onnx.reference, layer by layer")  # fmt: skip
    assert all(checks[name].held is True for name in held)
    hashes = {each.sha256 for each in found.checks if each.sha256}
    assert len(hashes) == 1 and len(next(iter(hashes))) == 64
    assert checks["onnxruntime"].held is None and "dB" in checks["onnxruntime"].detail
    assert "2 layers" in checks["onnxruntime, layer by layer"].tried
    assert json.loads(found.to_json())["held"] is True and "padding" in found.to_markdown()


def test_a_result_that_depends_on_the_other_rows_is_caught():
    mean = "zero = Constant <value_ints: ints = [0]> () a = ReduceMean (s, zero) y = Add (s, a)"
    model, feeds = masked(MASKED.replace("y = Tanh (s)", mean))
    found = dq.onnx.verify(model, feeds, isas=False, runtimes=False)
    checks = by_name(found)
    assert not found.held and checks["rows alone"].held is False and "rows of y differ" in checks["rows alone"].detail
    assert checks["threads 1"].held and checks["padding"].held


def test_padding_that_counts_is_caught():
    model, feeds = masked(MASKED.replace("kept = Mul (h, k)", "half = Add (k, k) kept = Add (h, half)"))
    checks = by_name(dq.onnx.verify(model, feeds, isas=False, runtimes=False))
    assert checks["padding"].held is False and "y differs by up to" in checks["padding"].detail
    assert checks["rows alone"].held


def test_padding_of_other_results_and_names():
    """Truths, axes that have other names, and a mask of more positions than one input."""
    body = """
        a = Cast <to: int = 1> (ids) s = ReduceSum <keepdims: int = 0> (a, one)
        m = Cast <to: int = 1> (mask) q = ReduceSum <keepdims: int = 0> (m, one)
        z = Add (s, q) y = Greater (z, limit)"""
    ids = np.arange(12).reshape(3, 4) % 5 + 1
    constants = {"one": np.array([1]), "limit": np.array([16], np.float32)}
    model = parsed("int64[n,t] ids, int64[n,t] mask", "bool[n] y", body, **constants)
    given = {"ids": ids, "mask": np.ones_like(ids)}
    padding = by_name(dq.onnx.verify(model, given, isas=False, runtimes=False))["padding"]
    assert padding.held is False and padding.detail == "y differs by up to 1"
    other = parsed("float[n,t] x, float[n,t] mask", "float[n,u] y", "y = Mul (x, mask)")
    x = floats(3, 4)
    checks = by_name(dq.onnx.verify(other, {"x": x, "mask": np.ones_like(x)}, isas=False, runtimes=False))
    assert checks["padding"].held is True
    joined = parsed("float[n,p] past, float[n,t] x, float[n,all] mask", "float[n,all] y",
                    "c = Concat <axis: int = 1> (past, x) y = Mul (c, mask)")  # fmt: skip
    feeds = {"past": floats(3, 2), "x": x, "mask": np.ones((3, 6), np.float32)}
    padding = by_name(dq.onnx.verify(joined, feeds, isas=False, runtimes=False))["padding"]
    assert padding.held is None and "does not take longer rows" in padding.detail


def test_a_layer_whose_bits_another_runtime_does_not_have_is_caught():
    model, feeds = masked()
    artifact = dq.onnx.quantize(model).model
    body = next(each for each in artifact.functions.values() if each.name == "Linear")
    scaled = next(node for node in body if node.outputs[0].name == "scaled")
    scaled.replace_input_with(0, scaled.inputs[1])
    checks = by_name(dq.onnx.verify(artifact, feeds, isas=False))
    broken = checks["onnxruntime, layer by layer"]
    assert broken.held is False and broken.detail == "other bits than ours in h"


def test_steps_in_python_are_named_and_rows_that_cannot_be_put_together_too():
    body = "s = Reshape (x, shape)  d = Det (s)  y = Add (x, d)"
    model = parsed("float[2,8] x", "float[2,8] y", body, shape=np.array([4, 4]))
    found = dq.onnx.verify(model, isas=False, runtimes=False)
    assert any("python Det" in step for step in found.steps)
    assert by_name(found)["batch"].held is None and "fixed number of rows" in by_name(found)["batch"].detail


def test_every_instruction_set_has_a_process_of_its_own():
    model, feeds = masked()
    found = dq.onnx.verify(dq.onnx.quantize(model).model, feeds, runtimes=False)
    checks = by_name(found)
    for name in dq.available_isas():
        assert checks[f"instructions {name}"].held and checks[f"instructions {name}"].sha256 == checks["again"].sha256


def test_processes_get_texts_and_inputs_of_any_name(monkeypatch):
    model = parsed("string[n] file, float[n] b", "string[n] y, float[n] z", "y = Identity (file) z = Relu (b)")
    feeds = {"file": np.array(["a", "", "cé"], object), "b": floats(3)}
    checks = by_name(dq.onnx.verify(model, feeds, runtimes=False))
    assert all(checks[f"instructions {name}"].held for name in dq.available_isas())
    monkeypatch.setattr(elsewhere, "PATIENCE", 0.01)
    checks = by_name(dq.onnx.verify(model, feeds, runtimes=False))
    assert all(checks[f"instructions {name}"].held is False for name in dq.available_isas())


def test_the_command_fails_where_something_did_not_hold(tmp_path, capsys):
    model, feeds = masked()
    onnx.save(model, tmp_path / "model.onnx")
    np.savez(tmp_path / "probe.npz", **feeds)
    line = ["verify", str(tmp_path / "model.onnx"), "--data", str(tmp_path / "probe.npz"), "--no-isas", "--no-runtimes"]
    assert main(line) == 0 and "rows alone" in capsys.readouterr().out
    assert main([*line, "--json"]) == 0 and json.loads(capsys.readouterr().out)["held"]
    bad, _ = masked(MASKED.replace("kept = Mul (h, k)", "half = Add (k, k) kept = Add (h, half)"))
    onnx.save(bad, tmp_path / "model.onnx")
    assert main(line) == 1 and "NO" in capsys.readouterr().out


def test_what_is_no_number_of_rows_is_told():
    model, feeds = masked()
    with pytest.raises(ValueError, match="rows must be a positive integer; got 0"):
        dq.onnx.verify(model, feeds, rows=0)
