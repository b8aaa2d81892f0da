"""Mutated files, loaded and run in a process of their own: a result or an error with a message each."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

SUPPORT = Path(__file__).parents[2] / "support"


def outcomes(first: int, last: int, folder: Path) -> list[str]:
    paths = {"PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-X", "faulthandler", str(SUPPORT / "mutants.py"), str(first), str(last)],
        cwd=folder, env=os.environ | paths, capture_output=True, text=True, timeout=200, check=False,
    )  # fmt: skip
    assert done.returncode == 0, f"status {done.returncode} after seed {done.stderr[-3000:]}"
    assert not list(folder.iterdir())
    return json.loads(done.stdout)


def check(found: list[str]) -> None:
    """Results and errors, both; an error says something."""
    for said in found:
        kind, _, text = said.partition(": ")
        assert said == "result" or (kind.endswith("Error") and text), said
    assert 0.1 < found.count("result") / len(found) < 0.9


def test_a_few_mutated_files_give_a_result_or_a_clear_error(tmp_path):
    check(outcomes(500, 530, tmp_path))


@pytest.mark.parametrize("first", [0, 250, *range(1000, 2500, 250)])
def test_2000_mutated_files_give_a_result_or_a_clear_error(first, tmp_path):
    check(outcomes(first, first + 250, tmp_path))
