"""Histograms of weights and inputs of layers."""

import numpy as np
import onnx
from onnx_models import parsed

from dynq_numba.cli.main import main
from dynq_numba.evaluate.histograms import BINS, histograms


def model_of(rng):
    weights = {name: rng.standard_normal((64, 64)).astype(np.float32) for name in ("w", "v")}
    table = rng.standard_normal((30, 64)).astype(np.float32)
    body = "e = Gather (table, ids) h = MatMul (e, w) r = Relu (h) y = MatMul (r, v)"
    return parsed("int64[m] ids", "float[m, 64] y", body, table=table, **weights), weights, table


def test_they_count_weights_and_what_comes_in(rng):
    model, weights, table = model_of(rng)
    before, ids = model.SerializeToString(), rng.integers(0, 30, 12)
    found = {each["layer"]: each for each in histograms(model, ["y", "h", "e", "nobody"], {"ids": ids})}
    assert model.SerializeToString() == before and set(found) == {"y", "h", "e"}
    inputs = {"h": table[ids], "y": np.maximum(table[ids] @ weights["w"], 0)}
    for layer, name in (("h", "w"), ("y", "v")):
        counts, edges = np.histogram(weights[name], BINS)
        assert found[layer]["weights"] == {"counts": counts.tolist(), "edges": edges.tolist()}
        assert sum(found[layer]["inputs"]["counts"]) == 12 * 64
        ends = np.array(found[layer]["inputs"]["edges"])[[0, -1]]
        assert np.allclose(ends, [inputs[layer].min(), inputs[layer].max()], rtol=1e-4, atol=1e-4)
    assert found["e"]["inputs"] is None and sum(found["e"]["weights"]["counts"]) == table.size


def test_values_that_are_not_finite_are_left_out(rng):
    model = parsed("float[m, 4] x", "float[m, 4] y", "y = MatMul (x, w)", w=np.eye(4, dtype=np.float32))
    x = np.array([[1, np.inf, 2, np.nan], [3, 4, 5, 6]], np.float32)
    assert sum(histograms(model, ["y"], {"x": x})[0]["inputs"]["counts"]) == 6
    nothing = np.full((2, 4), np.nan, np.float32)
    assert histograms(model, ["y"], {"x": nothing})[0]["inputs"] is None


def test_compare_says_so_where_there_are_none(rng, tmp_path, capsys, monkeypatch):
    model, _, _ = model_of(rng)
    onnx.save(model, tmp_path / "m.onnx")
    assert main(["quantize", str(tmp_path / "m.onnx"), "--quiet"]) == 0
    made = []
    monkeypatch.setattr("dynq_numba.cli.compare.check_report", lambda *given: None)
    monkeypatch.setattr("dynq_numba.cli.compare.write_report", lambda args, **parts: made.append(parts) or [])

    def broken(*given, **named):
        raise ValueError("odd")

    given = ["compare", str(tmp_path / "m.onnx"), str(tmp_path / "m.int8.onnx"), "--layers", "--report", "out.html"]
    assert main(given) == 0
    assert len(made[0]["histograms"]) == 3 and made[0]["receipt"]["coverage"] == 1
    monkeypatch.setattr("dynq_numba.evaluate.histograms.histograms", broken)
    assert main(given) == 0
    assert "no histograms: odd" in capsys.readouterr().out and made[1]["histograms"] == []


def test_weights_of_constant_nodes_are_found(rng):
    model = onnx.parser.parse_model(
        '<ir_version: 10, opset_import: ["": 21]> g (float[m, 2] x) => (float[m, 2] y) '
        "{ w = Constant <value = float[2, 2] {1.0, 2.0, 3.0, 4.0}> () y = MatMul (x, w) }"
    )
    (found,) = histograms(model, ["y"], {"x": np.ones((3, 2), np.float32)})
    assert sum(found["weights"]["counts"]) == 4 and sum(found["inputs"]["counts"]) == 6
