"""The worked pipeline: the real model passes, and what is broken on purpose fails with the right sentence."""

import json
import re
from pathlib import Path

import pytest

from dynq_numba.cli import main
from examples.fetch import FetchError
from examples.pipeline import build

pytestmark = pytest.mark.extra("test-all")
ROOT = Path(__file__).parents[2]
PIPELINE = ROOT / "examples" / "pipeline"


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """As a checkout with build/pipeline, of fewer reviews; the files of goals are the real ones."""
    root = tmp_path_factory.mktemp("checkout")
    made = root / "build" / "pipeline"
    goals = root / "goals" / "pipeline"
    goals.mkdir(parents=True)
    for path in PIPELINE.glob("*.toml"):
        (goals / path.name).write_text(path.read_text())
    (goals / "functions.py").write_text((PIPELINE / "functions.py").read_text())
    try:
        build.build(made, build.Progress(quiet=True))
    except FetchError as error:
        pytest.skip(f"cannot be fetched: {error}")
    assert main(["quantize", str(made / "model.onnx"), "-o", str(made / "model.int8.onnx"), "--quiet"]) == 0
    return root


def gate(folder, name, *options):
    out = folder / "out"
    status = main(["gate", str(folder / "goals" / "pipeline" / f"{name}.toml"), "-o", str(out), "--quiet", *options])
    return status, json.loads((out / "gate.json").read_text())


@pytest.mark.parametrize("name", ["reviews", "similarity"])
def test_the_quantized_model_passes(folder, name):
    status, report = gate(folder, name)
    assert status == 0, report["summary"]
    assert all(each["verdict"] == "pass" for each in report["results"] if each["critical"])


@pytest.mark.parametrize("how, name, sentence", [
    ("two-bits", "reviews", r"FAIL: \d+ of 13 looks.*: accuracy: max-degradation: 0\.\d+ .*, wanted ≤ 0\.015: fail;"),
    ("per-tensor", "similarity", r"FAIL: 1 of 2 looks: cosine: threshold: 0\.9\d+ \(.*\), wanted ≥ 0\.99: fail$"),
])  # fmt: skip
def test_what_is_broken_on_purpose_fails_with_the_right_sentence(folder, how, name, sentence):
    made = folder / "build" / "pipeline"
    build.break_model(made, how)
    status, report = gate(folder, name, "--candidate", str(made / "broken.onnx"))
    assert status == 1 and re.match(sentence, report["summary"]), report["summary"]


def commands(text):
    return [each.strip() for each in re.findall(r"(?:python -m examples\.pipeline\.\w+|dynq \w+) ?[^\n]*", text)]


def test_both_workflows_do_what_make_pipeline_does():
    import yaml  # of the extra

    github, gitlab = (yaml.safe_load((PIPELINE / f"{name}.yml").read_text()) for name in ("github", "gitlab"))
    steps = "\n".join(step.get("run", "") for step in github["jobs"]["gate"]["steps"])
    recipe = (ROOT / "Makefile").read_text().split("\npipeline:")[1].split("\n\n")[0]
    here = commands(recipe.replace("$(PY) -m dynq_numba", "dynq").replace("$(PY)", "python"))
    assert commands(steps) == commands("\n".join(gitlab["gate"]["script"])) == here and len(here) == 4
