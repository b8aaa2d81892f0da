"""dynq run, dynq inspect --why and --graph, dynq warmup MODEL."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from foreign_models import FORMS
from onnx_models import in_onnxruntime, in_reference, parsed

from dynq_numba.cli import main
from dynq_numba.onnx import optimise


@pytest.fixture
def model():
    weight = np.random.default_rng(0).standard_normal((64, 32)).astype(np.float32)
    body = "h = MatMul (x, w) gate = Sigmoid (h) y = Mul (h, gate)"
    return parsed("float[m, 64] x", "float[m, 32] y", body, w=weight)


@pytest.fixture
def path(tmp_path, model):
    onnx.save(model, tmp_path / "model.onnx")
    np.savez(tmp_path / "x.npz", x=np.ones((3, 64), np.float32))
    return tmp_path / "model.onnx"


def test_run_writes_results_by_name(path, model, capsys):
    given, made = path.with_name("x.npz"), path.with_name("y.npz")
    assert main(["run", str(path), "--input", str(given), "--output", str(made), "--report", "--repeat", "3"]) == 0
    with np.load(made) as file:
        assert np.allclose(file["y"], in_reference(model, {"x": np.ones((3, 64), np.float32)})[0], rtol=1e-5)
    out = capsys.readouterr().out
    assert "y: float32 [3, 32]" in out and "median of 3 runs" in out
    assert "1 steps by kernels (1 of several nodes), 0 in Python" in out
    assert sorted(each.name for each in path.parent.iterdir()) == ["model.onnx", "x.npz", "y.npz"]


def test_run_says_what_is_wrong_in_one_line(path, capsys):
    np.savez(path.with_name("bad.npz"), z=np.ones(3))
    for wrong, message in ((["--input", str(path.with_name("bad.npz"))], "input_feed must have x; got z"),
                           (["--input", str(path.with_name("none.npz"))], "No such file")):  # fmt: skip
        assert main(["run", str(path), *wrong, "--output", str(path.with_name("y.npz"))]) == 1
        assert message in capsys.readouterr().err and not path.with_name("y.npz").exists()


def test_inspect_says_why_and_writes_the_graph(path, model, capsys):
    optimised = path.with_name("optimised.onnx")
    assert main(["inspect", str(path), "--why", "h", "--graph", str(optimised)]) == 0
    assert "became" in capsys.readouterr().out
    made = onnx.load(optimised)
    onnx.checker.check_model(made, full_check=True)
    assert [node.domain for node in made.graph.node] == ["dynq"]
    x = np.random.default_rng(1).standard_normal((4, 64)).astype(np.float32)
    assert np.allclose(in_reference(made, {"x": x})[0], in_reference(model, {"x": x})[0], rtol=1e-4, atol=1e-5)
    for node, lines in (("h", 1), ("gate", 1), ("y", 1)):  # a call of dynq stands for all three
        assert main(["inspect", str(path), "--why", node]) == 0
        out = capsys.readouterr().out.splitlines()
        others = ", ".join(each for each in ("h", "gate", "y") if each != node)
        assert out[-1] == f"in the end it is dynq.FloatLinear_silu, together with {others}" and len(out) > lines
    assert any(line.startswith("activation: part of Silu, from ") for line in out)
    assert main(["inspect", str(path), "--why", "nobody"]) == 1
    assert "'nobody'" in capsys.readouterr().err
    assert main(["inspect", str(path), "--why", "gat"]) == 1  # those that begin so are offered
    assert capsys.readouterr().err == "dynq: node must be one of gate; got 'gat'\n"


def test_inspect_says_what_python_computes(tmp_path, capsys):
    onnx.save(parsed("float[2, 2] x", "float y", "y = Det (x)"), tmp_path / "det.onnx")
    assert main(["inspect", str(tmp_path / "det.onnx"), "--why", "y"]) == 0
    assert capsys.readouterr().out == "in the end it is Det, which has no kernel: Python computes it\n"


def test_optimise_leaves_the_model_as_it_is(model):
    before = model.SerializeToString()
    assert any(note.result for note in optimise(model)) and model.SerializeToString() == before


def test_warmup_compiles_what_a_model_needs(path, capsys):
    assert main(["warmup", str(path)]) == 0
    out = capsys.readouterr().out
    assert "model.onnx ready in" in out and "open were 8: m of x; --shape gives others" in out
    assert main(["warmup", str(path), "--input", str(path.with_name("x.npz"))]) == 0
    assert "--shape" not in capsys.readouterr().out
    assert main(["warmup", str(path), str(path), "--input", str(path.with_name("x.npz"))]) == 2
    assert "--input is for one model; got 2" in capsys.readouterr().err


def test_warmup_takes_shapes_and_other_inputs_follow(tmp_path, capsys):
    model = parsed("float[n, t] x, float[n, t] mask, float[k] z", "float y", "a = Mul (x, mask) y = Mul (a, z)")
    path = str(tmp_path / "model.onnx")
    onnx.save(model, path)
    assert main(["warmup", path, "--shape", "x=1x128", "--shape", "z=128"]) == 0
    assert "lengths" not in capsys.readouterr().out
    assert main(["warmup", path, "--shape", "x=3x8"]) == 0
    assert "were 8: k of z; --shape" in capsys.readouterr().out
    for wrong, message in (
        (["--shape", "x=3"], r"x must have shape (n, t); got (3,)"),
        (["--shape", "w=3"], "shapes must be of x, mask, z; got 'w'"),
        (["--shape", "x=2x8", "--shape", "mask=3x8"], "n must be one length in all inputs, or 1; x has (2, 8),"),
        (["--shape", "x=2x8", "--input", "x.npz"], "give --shape without it"),
    ):
        assert main(["warmup", path, *wrong]) == (2 if "--input" in wrong else 1)
        assert message in capsys.readouterr().err
    assert main(["warmup", path, path, "--shape", "x=1x8"]) == 2
    assert "--shape is for one model; got 2" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        main(["warmup", path, "--shape", "x=1xa"])
    assert "must be a name and lengths such as input_ids=1x128; got 'x=1xa'" in capsys.readouterr().err


def test_run_times_its_steps(path, capsys):
    assert main(["run", str(path), "--input", str(path.with_name("x.npz")), "--times"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[1].split() == ["µs", "step", "invariant", "nodes"] and "; a whole run takes " in lines[-1]
    assert float(lines[2].split()[0]) >= 0


def test_run_as_the_file_says(path, capsys):
    made, name = FORMS["dynamic"].make(), path.with_name("theirs.onnx")
    onnx.save(made[1], name)
    np.savez(path.with_name("rows.npz"), **made[2])
    found = {}
    for semantics in ("rowwise", "file"):
        given = ["--input", str(path.with_name("rows.npz")), "--output", str(path.with_name(f"{semantics}.npz"))]
        assert main(["run", str(name), *given, "--semantics", semantics, "--report"]) == 0
        differs = "activations row-wise instead of the file's per tensor" in capsys.readouterr().out
        assert differs == (semantics == "rowwise")
        found[semantics] = np.load(path.with_name(f"{semantics}.npz"))["y"]
    assert not np.array_equal(found["rowwise"], found["file"])
    assert np.array_equal(found["file"], in_onnxruntime(made[1], made[2], as_written=True)[0])
