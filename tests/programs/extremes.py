"""Every operator as a function of plain arrays (cases/), and a process in which the numpy reference answers for them.

    NUMBA_DISABLE_JIT=1 python tests/programs/extremes.py        reads pickles of (name, arguments), writes results

A result is a list of arrays, or an exception as text.
"""

from __future__ import annotations

import os
import pickle
import subprocess
import sys
from typing import Any

import cases
import numpy as np

EXTREMES = {name: each for row in cases.ROWS.values() for name, each in row.extremes.items()}


def answer(name: str, arguments: tuple) -> Any:
    try:
        return [np.array(result) for result in EXTREMES[name].run(*arguments)]
    except Exception as error:
        return f"{type(error).__name__}: {error}"


class Twins:
    """A process without a compiler that answers as long as it is asked; every instruction set asks the same."""

    def __init__(self) -> None:
        self._answers: dict[bytes, Any] = {}
        environment = {**os.environ, "NUMBA_DISABLE_JIT": "1"}
        self._process = subprocess.Popen(
            [sys.executable, __file__], env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE
        )

    def __call__(self, name: str, arguments: tuple) -> Any:
        question = pickle.dumps((name, arguments))
        if question not in self._answers:
            self._process.stdin.write(question)
            self._process.stdin.flush()
            self._answers[question] = pickle.load(self._process.stdout)
        return self._answers[question]

    def close(self) -> None:
        self._process.stdin.close()
        assert self._process.wait(60) == 0


def main() -> None:
    results, sys.stdout = sys.stdout.buffer, sys.stderr
    while True:
        try:
            question = pickle.load(sys.stdin.buffer)
        except EOFError:
            return
        pickle.dump(answer(*question), results)
        results.flush()


if __name__ == "__main__":
    main()
