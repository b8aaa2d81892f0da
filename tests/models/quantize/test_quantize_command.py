"""dynq quantize: what it writes, prints and refuses."""

from __future__ import annotations

import json
import os
import stat

import numpy as np
import onnx
import pytest
from onnx import numpy_helper
from onnx_models import parsed

import dynq_numba as dq
from dynq_numba.cli import main


@pytest.fixture
def path(tmp_path):
    weights = {name: np.random.default_rng(0).standard_normal((64, 64)).astype(np.float32) for name in ("w", "head")}
    weights["head"] = weights["head"][::-1].copy()
    model = parsed("float[m, 64] x", "float[m, 64] y", "h = MatMul (x, w) y = MatMul (h, head)", **weights)
    onnx.save(model, tmp_path / "model.onnx")
    return tmp_path / "model.onnx"


def test_it_writes_beside_the_model_and_prints_the_receipt(path, capsys):
    assert main(["quantize", str(path)]) == 0
    out, err = capsys.readouterr()
    made = onnx.load(path.with_name("model.int8.onnx"))
    assert [node.domain for node in made.graph.node] == ["dynq", "dynq"]
    assert all("compiling took" in line or " layers, " in line for line in err.splitlines()), err  # on a slow machine
    assert "int8_per_channel" in out and out.endswith(f"written to {path.with_name('model.int8.onnx')}\n")


def test_data_are_what_search_takes_and_their_other_columns_are_passed_over(path, tmp_path):
    rows = np.random.default_rng(1).standard_normal((40, 64)).astype(np.float32)
    (tmp_path / "npy").mkdir()
    np.save(tmp_path / "npy" / "x.npy", rows)
    np.savez(tmp_path / "a.npz", x=rows, label=np.arange(40))
    (tmp_path / "r.toml").write_text("[[rule]]\ngptq = true\nsmooth = true\n")
    for name in ("npy", "a.npz"):
        line = ["quantize", path, "--recipe", tmp_path / "r.toml", "--data", tmp_path / name, "-o", tmp_path / "o.onnx"]
        assert main([*map(str, line), "--quiet"]) == 0
        made = onnx.load(tmp_path / "o.onnx")
        runs = [{"x": rows[i : i + 16]} for i in range(0, 40, 16)]
        want = dq.onnx.quantize(str(path), recipe=str(tmp_path / "r.toml"), data=runs).model
        theirs = {each.name: numpy_helper.to_array(each) for each in made.graph.initializer}
        assert theirs.keys() == set(want.graph.initializers)
        assert all(np.array_equal(theirs[each], value.const_value.numpy())
                   for each, value in want.graph.initializers.items())  # fmt: skip


def test_options_reach_the_quantizer(path, capsys):
    small, receipt = path.with_name("small.onnx"), path.with_name("receipt.json")
    command = ["quantize", str(path), "-o", str(small)]
    options = ["--bits", "4", "--group-size", "64", "--exclude", "head", "--quiet", "--receipt", str(receipt)]
    assert main([*command, *options]) == 0
    assert capsys.readouterr().out.splitlines()[0].startswith("1 of 2 weights quantized, 50.0% of their bytes")
    assert [entry["scheme"] for entry in json.loads(receipt.read_text())["entries"]] == ["int4_per_group_64", "float32"]
    assert main([*command, "--x-bits", "16", "--quiet", "--receipt", str(receipt)]) == 0
    assert json.loads(receipt.read_text())["entries"][0]["scheme"] == "int8_per_channel, x_bits=16"
    capsys.readouterr()
    assert main([*command, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["coverage"] == 1


def test_the_name_of_the_artifact_tells_the_bits(path):
    assert main(["quantize", str(path), "--bits", "4"]) == 0
    assert main(["quantize", str(path), "--bits", "32"]) == 0
    assert sorted(each.name for each in path.parent.glob("model.*.onnx")) == ["model.int4.onnx", "model.int8.onnx"]


@pytest.mark.parametrize("arguments,status,message", [
    (["--exclude", "head", "--require-coverage", "95%"], 1, "dynq: coverage is 50.0%; at least 95.0% is required\n"),
    (["--include", "tail"], 1, "dynq: include 'tail' matches no layer; layers are w, head\n"),
    (["-o", "MODEL"], 1, "dynq: --output must be another file than MODEL\n"),
    (["--recipe", "absent.toml"], 1, "dynq: absent.toml: No such file or directory\n"),
    (["--require-coverage", "much"], 2, "argument --require-coverage: must be a percentage such as 95%; got 'much'"),
    (["--thread", "2"], 2, "dynq quantize: unrecognized arguments: --thread 2; see dynq quantize --help\n"),
    (["--format", "QDQ"], 2, "argument --format: invalid choice: 'QDQ'"),
    (["--format", "qoperator", "--bits", "4"], 1, "dynq: format='qoperator' has weights of 8 bits"),
    (["--bits", "5"], 2, "argument --bits: invalid choice: "),
])  # fmt: skip
def test_what_goes_wrong_is_one_line_and_a_status(path, capsys, arguments, status, message):
    given = ["quantize", str(path), *(str(path) if each == "MODEL" else each for each in arguments)]
    if status == 2:
        with pytest.raises(SystemExit) as caught:
            main(given)
        assert caught.value.code == 2
    else:
        assert main(given) == status
    err = capsys.readouterr().err
    assert message.replace("MODEL", str(path)) in err and err.count("\n") == 1
    assert sorted(each.name for each in path.parent.iterdir()) == ["model.onnx"]


def test_a_folder_is_no_model(path, capsys, monkeypatch):
    monkeypatch.chdir(path.parent)
    assert main(["quantize", "."]) == 1
    assert capsys.readouterr().err == "dynq: .: Is a directory\n"


def test_where_nothing_is_in_floats_that_is_said(path, capsys):
    made = path.with_name("made.onnx")
    assert main(["quantize", str(path), "--format", "qoperator", "-o", str(made), "--quiet"]) == 0
    assert "nothing was left" not in capsys.readouterr().out
    assert main(["quantize", str(made), "--quiet"]) == 0
    assert "nothing was left to quantize" in capsys.readouterr().out


def test_lines_of_notes_fit_a_terminal(path, capsys):
    assert main(["quantize", str(path), "--format", "qdq"]) == 0
    notes = capsys.readouterr().out.rpartition("weights quantized")[2].splitlines()[1:-1]
    assert len(notes) > 1 and all(len(line) <= 100 for line in notes) and notes[1].startswith("  ")


def test_the_packages_that_are_not_there_are_named(path, capsys, monkeypatch):
    import sys

    monkeypatch.setitem(sys.modules, "onnx_ir", None)
    for name in [name for name in sys.modules if name.startswith(("dynq_numba.onnx", "dynq_numba.graph"))]:
        monkeypatch.delitem(sys.modules, name)
    assert main(["quantize", str(path)]) == 1
    assert capsys.readouterr().err == "dynq: dynq_numba.onnx needs onnx_ir: pip install 'dynq-numba[onnx]'\n"


def test_inspect_prints_the_receipt_of_an_artifact_and_the_weights_of_a_model(path, capsys):
    assert main(["quantize", str(path)]) == 0
    printed = capsys.readouterr().out.rpartition("written to")[0]
    made = str(path.with_name("model.int8.onnx"))
    assert main(["inspect", made, str(path)]) == 0
    artifact, _, source = capsys.readouterr().out.partition("\n\nweight")
    assert f"{artifact}\n" == printed and "0 of 2 weights quantized" in source and source.count("float32") == 2
    assert "bits=32" not in source  # nobody asked for it
    capital = path.with_name("MODEL.ONNX")
    capital.write_bytes(path.read_bytes())
    assert main(["inspect", str(capital)]) == 0 and "0 of 2" in capsys.readouterr().out
    model = onnx.load(made)
    model.metadata_props[0].value = "{}"
    onnx.save(model, made)
    assert main(["inspect", made]) == 1
    assert capsys.readouterr().err == "dynq: the receipt is damaged: KeyError('entries')\n"


def test_it_says_what_stayed_large(tmp_path, capsys):
    kernel = np.random.default_rng(0).standard_normal((32, 16, 3, 3)).astype(np.float32)
    model = parsed("float[n, 16, h, w] x", "float y", "y = Conv (x, k)", k=kernel)
    onnx.save(model, tmp_path / "model.onnx")
    assert main(["quantize", str(tmp_path / "model.onnx")]) == 0
    out = capsys.readouterr().out
    assert "1 convolutions stay in floats, 100% of the bytes of weights: --conv" in out and "not become smaller" in out
    assert main(["quantize", str(tmp_path / "model.onnx"), "--conv"]) == 0
    out = capsys.readouterr().out
    assert "--conv" not in out and "not become smaller" not in out


def test_no_file_that_is_read_is_written_over(path, capsys):
    before = path.read_bytes()
    assert main(["quantize", str(path), "--receipt", str(path)]) == 1
    assert main(["inspect", str(path), "--graph", str(path)]) == 1
    assert "must be another file than" in capsys.readouterr().err and path.read_bytes() == before


def test_what_is_no_file_is_not_replaced(path, tmp_path, capsys):
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    x = tmp_path / "x.npz"
    np.savez(x, x=np.ones((2, 64), np.float32))
    for name, command in (
        ("out", ["quantize", str(path), "-o", str(pipe)]),
        ("--receipt", ["quantize", str(path), "--receipt", str(pipe)]),
        ("--output", ["run", str(path), "--input", str(x), "--output", str(pipe)]),
        ("out", ["inspect", str(path), "--graph", str(pipe)]),
    ):  # fmt: skip
        assert main(command) != 0
        assert f"{name} must be a file, which is replaced; got {pipe}" in capsys.readouterr().err
        assert stat.S_ISFIFO(pipe.stat().st_mode)
    assert not path.with_name("model.int8.onnx").exists()


def test_a_recipe_that_cannot_be_read_is_named(path, tmp_path, capsys):
    recipe = tmp_path / "recipe.toml"
    for content, why in ((b"\xff", "can't decode byte 0xff"), (b"[rule]\nbits = 8\n", "got [rule], one table")):
        recipe.write_bytes(content)
        assert main(["quantize", str(path), "--recipe", str(recipe)]) != 0
        error = capsys.readouterr().err
        assert f"recipe {recipe}" in error and why in error
