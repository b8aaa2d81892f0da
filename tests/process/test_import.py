"""What an import costs, and what the disk cache keeps from one process to the next.

Everything here is watched from outside, in child processes that import a private copy of the package. Nothing
is timed: a busy machine must not fail a suite.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import dynq_numba
import dynq_numba.kernels

TIMEOUT = 240  # seconds until a child counts as hung

# Usage: child.py ROWS...   one linear for each number of rows; a report on stdout.
CHILD = """
import json, os, sys
import numba, numpy as np
from numba.core import event

passes = []

class Listener(event.Listener):
    def on_start(self, event): passes.append(str(event.data))
    def on_end(self, event): pass

# Compiler passes run whatever is compiled and whoever asks for it; a load from the disk cache runs none.
event.register("numba:run_pass", Listener())
loaded = set(sys.modules)

import dynq_numba as dq

dq.linear  # all names come with the first
report = {
    "package": os.path.dirname(dq.__file__),
    "modules": sorted({name.partition(".")[0] for name in set(sys.modules) - loaded}),
    "import_passes": passes[:],
    "writable": os.access(os.path.dirname(dq.__file__), os.W_OK),
}
for rows in map(int, sys.argv[1:]):
    w = dq.pack_linear(np.eye(64, 256, dtype=np.float32))
    y = dq.linear(np.full((rows, 256), 0.5, np.float32), w)
    assert y.shape == (rows, 64) and np.allclose(y, 0.5, atol=0.01), y
report["passes"] = passes
json.dump(report, sys.stdout)
"""

# Root may write anywhere, unless it gives up that capability (PR_CAPBSET_DROP, CAP_DAC_OVERRIDE) before an exec.
UNPRIVILEGED = """
import ctypes, os, sys
libc = ctypes.CDLL(None)
hasattr(libc, "prctl") and libc.prctl(24, 1, 0, 0, 0)
os.execv(sys.argv[1], sys.argv[1:])
"""


class Install:
    """A copy of the package as an installation has it, with a home of its own."""

    def __init__(self, folder: Path) -> None:
        self.home = folder / "home"
        self.home.mkdir()
        self.package = folder / "site" / "dynq_numba"
        droppings = shutil.ignore_patterns("__pycache__", "*.nbc", "*.nbi")
        shutil.copytree(Path(dynq_numba.__file__).parent, self.package, ignore=droppings)
        kernels = Path(dynq_numba.kernels.__file__).parent
        shutil.copytree(kernels, self.package / "kernels", ignore=droppings, dirs_exist_ok=True)

    def run(self, *rows: int, cache: Path | None = None, unprivileged: bool = False) -> dict:
        dropped = ("PYTHONPATH", "NUMBA_CACHE_DIR", "NUMBA_DISABLE_JIT")
        environment = {name: value for name, value in os.environ.items() if name not in dropped}
        environment |= {"PYTHONPATH": str(self.package.parent), "HOME": str(self.home)}
        environment["XDG_CACHE_HOME"] = str(self.home / ".cache")
        if cache is not None:
            environment["NUMBA_CACHE_DIR"] = str(cache)
        command = [sys.executable, "-c", CHILD, *map(str, rows)]
        if unprivileged and os.geteuid() == 0:
            command = [sys.executable, "-c", UNPRIVILEGED, *command]
        done = subprocess.run(
            command, cwd=self.home, env=environment, capture_output=True, text=True, timeout=TIMEOUT, check=False
        )
        assert done.returncode == 0, done.stderr
        report = json.loads(done.stdout)
        assert Path(report["package"]) == self.package, "the child imported another copy"
        return report


def compiled(folder: Path) -> set[Path]:
    """Machine code below `folder`: the package's cache files, and numba's own."""
    return {path for pattern in ("*.nbc", "*.nbi") for path in folder.rglob(pattern)}


@pytest.fixture
def install(tmp_path):
    return Install(tmp_path)


def test_import_compiles_and_loads_nothing_heavy(install, tmp_path):
    report = install.run(cache=tmp_path / "cache")
    assert report["import_passes"] == []
    heavy = {"torch", "tensorflow", "onnx", "onnxruntime", "scipy", "pandas", "matplotlib", "ml_dtypes", "pytest"}
    assert heavy.isdisjoint(report["modules"])
    assert not compiled(tmp_path)


NAMES = """
import sys
import dynq_numba as dq

assert not hasattr(dq, "__wrapped__") and not {"numba", "numpy"} & set(sys.modules), "tools that look around import all"
import dynq_numba.packed, dynq_numba.attention, dynq_numba.runtime.convolution, dynq_numba.warming
from dynq_numba.packed import PackedLinear as old
assert old is dq.PackedLinear
assert all(map(callable, (dq.attention, dq.matmul, dq.warmup))), "a module has taken the place of a function"
assert not hasattr(dq, "nothing_of_that_name")
from dynq_numba import *
assert linear is dq.linear and "linear" in dir(dq)
"""
FIRST_IN_NJIT = """
import numba, numpy as np
import dynq_numba as dq

numba.njit(lambda x: x + 1)(1)  # numba has looked for overloads before there are any

@numba.njit
def run(x):
    return dq.gelu(x)

x = np.linspace(-3, 3, 12, dtype=np.float32).reshape(3, 4)
assert "linear" not in vars(dq)
assert np.array_equal(run(x), dq.gelu(x))
"""


@pytest.mark.parametrize("code", [NAMES, FIRST_IN_NJIT])
def test_names_come_with_the_first_that_is_asked_for(code):
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=TIMEOUT, check=False)
    assert done.returncode == 0, done.stderr


def test_second_process_compiles_nothing(install, tmp_path):
    cache = tmp_path / "cache"
    rows = (1, 7, 512)  # the streaming path, a small problem, and one worth sharing between threads
    assert install.run(*rows, cache=cache)["passes"], "compiled without being noticed: this test proves nothing"
    files = compiled(cache)
    assert files
    assert compiled(tmp_path) == files, "NUMBA_CACHE_DIR is set, and something was written elsewhere"
    assert install.run(*rows, cache=cache)["passes"] == []
    assert compiled(tmp_path) == files


def test_an_edit_of_an_emitter_recompiles_what_uses_it(install, tmp_path):
    cache = tmp_path / "cache"
    assert install.run(7, cache=cache)["passes"]
    emitter = install.package / "kernels" / "quantize" / "emit.py"
    original = emitter.read_bytes()
    emitter.write_bytes(original + b"# edited\n")
    assert install.run(7, cache=cache)["passes"]
    emitter.write_bytes(original)  # the key is the content: what was built from it is valid again
    assert install.run(7, cache=cache)["passes"] == []


def test_read_only_install_uses_the_user_cache(install):
    site = install.package.parent
    tree = [site, *site.rglob("*")]
    for path in tree:
        path.chmod(path.stat().st_mode & ~0o222)
    try:
        first = install.run(7, unprivileged=True)
        if first["writable"]:
            pytest.skip("root cannot give up its right to write everywhere on this system")
        assert first["passes"]
        assert compiled(install.home)
        assert not compiled(site)
        assert install.run(7, unprivileged=True)["passes"] == []
    finally:
        for path in tree:
            path.chmod(path.stat().st_mode | 0o200)
