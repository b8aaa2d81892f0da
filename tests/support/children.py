"""Programs of tests/programs, and code that imports what tests import, in a process of their own."""

import os
import subprocess
import sys
from pathlib import Path

from dynq_numba.kernels.base.cache import cache_directory

PROGRAMS = Path(__file__).parents[1] / "programs"


def child(*arguments, **environment):
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)} | environment
    return subprocess.run(
        [sys.executable, *map(str, arguments)],
        cwd=PROGRAMS, env=environment, capture_output=True, text=True, timeout=600, check=False,
    )  # fmt: skip


def kept_here():
    """Variables for a copy of the package: it finds what is compiled already here, and leaves its own beside itself."""
    place = cache_directory()
    return {"NUMBA_CACHE_DIR": "", **({"XDG_CACHE_HOME": str(Path(place).parent)} if place else {})}
