"""The pages: what they name exists, and every block of code in them is a doctest, which pytest collects and runs."""

from __future__ import annotations

import re
import typing
from pathlib import Path

import pytest

import dynq_numba as dq
from bench.__main__ import commands

ROOT = Path(__file__).parents[2]
#: Pages that a reader comes to. (bench/NOTES.md and the changelog tell of the past, too.)
PAGES = sorted(
    path.relative_to(ROOT).as_posix()
    for path in (*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md"), *ROOT.glob("bench/*.md"))
    if not {"build", "CHANGELOG.md"} & set(path.parts)
)
#: Pages whose blocks of Python pytest collects: those of `testpaths`.
COLLECTED = [page for page in PAGES if page == "README.md" or page.startswith("docs/")]
ENTRY = re.compile(r"^\.\. auto(?:class|function):: (?:dynq_numba\.)?([\w.]+)", re.MULTILINE)
FENCE = re.compile(r"^( *)```([^\n]*)\n(.*?)^\1```$", re.DOTALL | re.MULTILINE)


def text_of(page: str) -> str:
    return (ROOT / page).read_text()


def test_the_readme_is_short():
    assert len(text_of("README.md").encode()) <= 12 * 1024


@pytest.mark.parametrize("page", PAGES)
def test_links_lead_somewhere(page):
    for target in re.findall(r"\]\(([^)#\s]+)", text_of(page)):
        if not target.startswith(("https://", "http://")):
            assert ((ROOT / page).parent / target).exists(), f"{page} links to {target}"


@pytest.mark.parametrize("page", PAGES)
def test_files_exist_that_a_page_names(page):
    for name in re.findall(r"`((?:kernels|dynq_numba|bench|tests|examples|docs)/[\w/.-]+\.\w+)", text_of(page)):
        assert (ROOT / name).is_file(), f"{page} names {name}"


@pytest.mark.parametrize("page", PAGES)
def test_commands_exist_that_a_page_names(page):
    targets = set(re.findall(r"^([a-z-]+):", text_of("Makefile"), re.MULTILINE))
    for target in re.findall(r"(?:^    |`)make ([a-z][a-z-]*)", text_of(page), re.MULTILINE):
        assert target in targets, f"{page} names make {target}"
    for module, name in re.findall(r"-m (bench|examples(?:\.\w+)+)\b(?: ([a-z]\w+))?", text_of(page)):
        if module == "bench":
            assert not name or name in commands(), f"{page} names python -m bench {name}"
        else:
            assert (ROOT / module.replace(".", "/")).with_suffix(".py").is_file(), f"{page} names python -m {module}"
    assert not re.search(r"-m bench\.", text_of(page)), f"{page}: a benchmark is run as python -m bench NAME"


@pytest.mark.parametrize("page", COLLECTED)
def test_every_block_of_python_is_a_doctest(page):
    for _, language, body in FENCE.findall(text_of(page)):
        assert language in ("python", "{toctree}", "{eval-rst}"), f"{page} has a block of {language}: who runs it?"
        if language == "python":
            assert body.lstrip().startswith(">>> "), f"{page}: no doctest:\n{body}"
            assert body.endswith("\n\n"), f"{page}: the fence would be part of the last result:\n{body}"


def test_the_reference_has_every_public_name_once():
    entries = [name for path in ROOT.glob("docs/reference/*.md") for name in ENTRY.findall(path.read_text())]
    steps = {f"step.{step.__name__}" for step in typing.get_args(dq.step.Step)}
    models = {f"onnx.{name}" for name in dq.onnx.__all__}
    gates = {"gate.check", "gate.GateReport", "gate.Result", "gate.ConfigError", "gate.MetricError", "gate.junit",
             "gate.model_card"}  # fmt: skip
    assert sorted(entries) == sorted({*dq.__all__, *steps, *models, *gates} - {"step"})


@pytest.mark.parametrize("path", sorted(ROOT.glob("docs/reference/*.md")), ids=lambda path: path.stem)
def test_the_summary_of_a_page_is_its_entries(path):
    text = path.read_text()
    assert re.findall(r"^   (\w[\w.]*)$", text, re.MULTILINE) == ENTRY.findall(text)
