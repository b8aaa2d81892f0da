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


@pytest.fixture
def folder(tmp_path):
    """As a checkout with build/pipeline; the files of goals are the real ones."""
    goals = tmp_path / "goals" / "pipeline"
    goals.mkdir(parents=True)
    for path in (*PIPELINE.glob("*.toml"), PIPELINE / "functions.py"):
        (goals / path.name).write_text(path.read_text())
    try:
        build.build(tmp_path / "build" / "pipeline", build.Progress(quiet=True))
    except FetchError as error:
        pytest.skip(f"cannot be fetched: {error}")
    return tmp_path


def gate(folder, name, *options):
    out = folder / "out"
    status = main(["gate", str(folder / "goals" / "pipeline" / f"{name}.toml"), "-o", str(out), "--quiet", *options])
    return status, json.loads((out / "gate.json").read_text())


def test_the_quantized_model_passes_and_the_broken_one_fails_with_the_right_sentence(folder):
    """One test: the model is made once."""
    import pyarrow.parquet

    made = folder / "build" / "pipeline"
    assert main(["quantize", str(made / "model.onnx"), "-o", str(made / "model.int8.onnx"), "--quiet"]) == 0
    for name in ("reviews", "similarity"):
        status, report = gate(folder, name)
        assert status == 0, report["summary"]
        assert all(each["verdict"] == "pass" for each in report["results"] if each["critical"])
    few = pyarrow.parquet.read_table(made / "reviews.parquet")
    pyarrow.parquet.write_table(few.take(list(range(0, len(few), 5))), made / "reviews.parquet")
    build.break_model(made, "two-bits")
    status, report = gate(folder, "reviews", "--candidate", str(made / "broken.onnx"))
    sentence = r"FAIL: \d+ of 13 looks.*: accuracy: max-degradation: 0\.\d+ \(.*\), wanted ≤ 0\.015: fail; and \d+ more"
    assert status == 1 and re.fullmatch(sentence, report["summary"]), report["summary"]


def commands(text):
    return [each.strip() for each in re.findall(r"(?:python -m examples\.pipeline\.\w+|dynq \w+) ?[^\n]*", text)]


def test_both_workflows_do_what_make_pipeline_does():
    import yaml  # of the extra

    github, gitlab = (yaml.safe_load((PIPELINE / f"{name}.yml").read_text()) for name in ("github", "gitlab"))
    steps = "\n".join(step.get("run", "") for step in github["jobs"]["gate"]["steps"])
    recipe = (ROOT / "Makefile").read_text().split("\npipeline:")[1].split("\n\n")[0]
    here = commands(recipe.replace("$(PY) -m dynq_numba", "dynq").replace("$(PY)", "python"))
    assert commands(steps) == commands("\n".join(gitlab["gate"]["script"])) == here and len(here) == 4
