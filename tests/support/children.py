"""Programs of tests/programs, and code that imports what tests import, in a process of their own."""

import os
import subprocess
import sys
from pathlib import Path

PROGRAMS = Path(__file__).parents[1] / "programs"


def child(*arguments, **environment):
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)} | environment
    return subprocess.run(
        [sys.executable, *map(str, arguments)],
        cwd=PROGRAMS, env=environment, capture_output=True, text=True, timeout=600, check=False,
    )  # fmt: skip
