"""Results are what they were: tests/programs/golden.json holds for every set and without a compiler."""

import json
import os
import subprocess
import sys

import golden
import pytest

KEPT = json.loads(golden.FILE.read_text())


def test_the_file_holds_every_case():
    assert KEPT.keys() == golden.CASES.keys()


@pytest.mark.parametrize("name", golden.CASES)
def test_results_are_those_of_the_golden_file(isa, name):
    assert golden.digest(name) == KEPT[name]


def test_the_reference_gives_them_too():
    environment = {**os.environ, "NUMBA_DISABLE_JIT": "1"}
    command = [sys.executable, golden.__file__]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=600, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert f"portable: {len(KEPT)} of {len(KEPT)} cases as in golden.json" in done.stdout.splitlines()
