"""Interpreter flags."""

import os
import subprocess
import sys
from pathlib import Path

import golden

PROGRAMS = Path(__file__).parents[1] / "programs"


def child(*arguments, **environment):
    done = subprocess.run(
        [sys.executable, *map(str, arguments)],
        cwd=PROGRAMS, env=os.environ | environment, capture_output=True, text=True, timeout=600, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_without_assertions_and_docstrings():
    every = f"{len(golden.CASES)} of {len(golden.CASES)} cases"
    assert all(every in line for line in child("-OO", "golden.py").splitlines())
