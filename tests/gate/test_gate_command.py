"""`dynq gate`: exit statuses, files, and what is printed where."""

import io
import json
import sys
from xml.etree import ElementTree

import numpy as np
import onnx
import pytest
from onnx import helper
from onnx_models import parsed

from dynq_numba.cli import main

pytestmark = pytest.mark.extra("gate")
MODELS = '[models]\nreference = "float.onnx"\ncandidate = "{}.onnx"\n'
HEAD = f'{MODELS}[data]\npath = "rows.npz"\nlabel = "label"\n[[goal]]\n'


@pytest.fixture
def folder(tmp_path, rng):
    weight = rng.standard_normal((8, 2), np.float32)
    for name, sign in (("float", 1), ("same", 1), ("broken", -1)):
        model = parsed("float[N,8] x", "float[N,2] y", "y = MatMul (x, w)", w=sign * weight)
        onnx.save(model, tmp_path / f"{name}.onnx")
    unknown = parsed("float[N,8] x", "float[N,2] y", "y = MatMul (x, w)", w=weight)
    unknown.graph.node[0].CopyFrom(helper.make_node("Mystery", ["x", "w"], ["y"], domain="of.others"))
    unknown.opset_import.append(helper.make_opsetid("of.others", 1))
    onnx.save(unknown, tmp_path / "unknown.onnx")
    x = rng.standard_normal((200, 8), np.float32)
    np.savez(tmp_path / "rows.npz", x=x, label=(x @ weight).argmax(1))
    return tmp_path


def gate(folder, candidate, goal, *options):
    (folder / "gate.toml").write_text(HEAD.format(candidate) + goal)
    return main(["gate", str(folder / "gate.toml"), *options])


@pytest.mark.parametrize("candidate, goal, status, said", [
    ("same", 'metric = "accuracy"\nthreshold = 0.9', 0, "PASS: 1 look"),
    ("broken", 'metric = "accuracy"\nthreshold = 0.9', 1, "FAIL: 1 of 1 look: accuracy: threshold: 0 (0"),
    ("same", "max-flips = 0.01", 4, "INCONCLUSIVE: 1 of 1 look: max-flips: 0 (0 to 0.018"),
    ("broken", "max-flips = 0.01\nis-critical = false", 0, "PASS: 1 look, 1 warning"),
])  # fmt: skip
def test_statuses_of_verdicts(folder, capsys, candidate, goal, status, said):
    assert gate(folder, candidate, goal) == status
    printed = capsys.readouterr()
    lines = printed.out.splitlines()
    assert lines[-1].startswith(said) and len(lines) == 2 and not printed.err


@pytest.mark.parametrize("candidate, goal, status, said", [
    ("same", 'metric = "acuracy"\ntreshold = 1', 2,
     ["dynq: gate.toml:8: goal 1: metric must", "dynq: gate.toml:9: goal 1 has"]),
    ("nowhere", "max-flips = 1", 2, ["there is no candidate"]),
    ("same", 'metric = "wer"\nthreshold = 1', 2, ["dynq: wer: threshold: wer takes texts"]),
    ("unknown", "max-flips = 1", 3, ["Mystery"]),
])  # fmt: skip
def test_statuses_of_mistakes_and_models(folder, capsys, candidate, goal, status, said):
    assert gate(folder, candidate, goal, "-o", str(folder / "out")) == status
    printed = capsys.readouterr()
    assert not printed.out and all(part in printed.err for part in said) and "Traceback" not in printed.err
    assert not (folder / "out").exists()


def test_files_for_ci_and_a_hub(folder, capsys):
    assert gate(folder, "broken", 'metric = "accuracy"\nthreshold = 0.9', "--quiet", "-o", str(folder / "out")) == 1
    assert capsys.readouterr().out.count("\n") == 1
    out = folder / "out"
    assert sorted(path.name for path in out.iterdir()) == ["gate.json", "junit.xml", "model-card.md", "summary.md"]
    assert json.loads((out / "gate.json").read_text())["verdict"] == "fail"
    suites = ElementTree.parse(out / "junit.xml").getroot()
    assert set(suites.keys()) <= {"name", "time", "tests", "failures", "errors"}  # all that Jenkins' schema has
    failure = suites.find(".//failure")
    assert failure.get("message").startswith("accuracy: threshold: 0 (0")
    assert (out / "summary.md").read_text().startswith("## ❌ FAIL: 1 of 1 look")


def test_files_are_whole_or_not_there(folder, capsys, monkeypatch):
    def full(*args):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.replace", full)
    goal, out = 'metric = "accuracy"\nthreshold = 0.9', folder / "out"
    assert gate(folder, "same", goal, "-o", str(out)) == 1
    assert capsys.readouterr().err == f"dynq: {out / 'gate.json'}: No space left on device\n"
    assert list(out.iterdir()) == []


def test_what_is_no_folder_is_refused_before_the_work(folder, capsys):
    assert gate(folder, "unknown", "max-flips = 1", "-o", str(folder / "rows.npz")) == 1
    assert "--output must be a folder; got " in capsys.readouterr().err


def test_a_stream_without_the_letters_is_no_failure(folder, monkeypatch):
    goal = 'metric = "accuracy"\nthreshold = 0.9'
    monkeypatch.setattr("sys.stdout", io.TextIOWrapper(io.BytesIO(), "ascii"))
    assert gate(folder, "same", goal) == 0
    assert b"wanted ? 0.9: pass" in sys.stdout.buffer.getvalue()
    monkeypatch.setattr("sys.stdout", None)
    assert gate(folder, "same", goal) == 0


@pytest.mark.extra("report")
def test_a_page_for_others(folder, capsys):
    page = folder / "gate.html"
    assert gate(folder, "same", 'metric = "accuracy"\nthreshold = 0.9', "--report", str(page)) == 0
    text = page.read_text()
    assert capsys.readouterr().out.endswith("PASS: 1 look\n") and "accuracy: threshold" in text and len(text) < 1.5e6


def test_json_on_standard_output(folder, capsys):
    assert gate(folder, "same", 'metric = "accuracy"\nthreshold = 0.9', "--json") == 0
    whole = json.loads(capsys.readouterr().out)
    assert whole["results"][0]["candidate"] == 1 and whole["models"]["candidate"]["file"] == "same.onnx"
    assert whole["data"] == {"description": "rows.npz", "rows": 200, "label": "label", "slices": []}
