"""The distribution: what is in it, and that it works in an environment that has never seen the checkout."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tarfile
import venv
import zipfile
from email.message import Message
from email.parser import Parser
from importlib import import_module
from pathlib import Path

import pytest

import dynq_numba

ROOT = Path(__file__).parents[2]
TIMEOUT = 240  # seconds until a subprocess counts as hung
DEPENDENCIES = ("numba", "numpy", "llvmlite")

# In isolated mode (-I): no PYTHONPATH, no user site, and the working directory is not on the path.
USE = """
import sys
import numpy as np
import dynq_numba as dq
import dynq_numba.kernels

for module in (dq, dynq_numba.kernels):
    assert module.__file__.startswith(sys.prefix), f"{module.__file__} is not the wheel's"
rng = np.random.default_rng(0)
x, weight = rng.standard_normal((5, 96), np.float32), rng.standard_normal((33, 96), np.float32)
bias = rng.standard_normal(33, np.float32)
y, exact = dq.linear(x, dq.pack_linear(weight, bias)), x @ weight.T + bias
assert y.shape == exact.shape and y.dtype == np.float32
error = np.linalg.norm(y - exact) / np.linalg.norm(exact)
assert 0 < error < 0.03, error  # 8 bits on both sides leave about 1 %
"""

NOT_OURS = """
import importlib.util, sys
spec = importlib.util.find_spec("kernels")
places = [] if spec is None else [spec.origin or "", *(spec.submodule_search_locations or [])]
assert not any(place.startswith(root) for root in sys.argv[1:] for place in places), places
"""


def run(*command: object, cwd: Path) -> None:
    variables = {name: value for name, value in os.environ.items() if name not in ("PYTHONPATH", "NUMBA_DISABLE_JIT")}
    done = subprocess.run(
        list(map(str, command)), cwd=cwd, env=variables, capture_output=True, text=True, timeout=TIMEOUT, check=False
    )
    assert done.returncode == 0, f"{done.stdout[-2000:]}\n{done.stderr[-6000:]}"


def sources(*folders: str) -> set[str]:
    """The Python files of the checkout's `folders`, relative to its root."""
    files = (path for folder in folders for path in (ROOT / folder).rglob("*.py"))
    return {path.relative_to(ROOT).as_posix() for path in files}


@pytest.fixture(scope="module")
def sdist(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("sdist")
    checkout = folder / "checkout"  # a copy, because setuptools leaves its build and egg-info folders behind
    ignored = shutil.ignore_patterns(".git", ".venv", ".*_cache", "__pycache__", "build", "dist", "*.egg-info")
    shutil.copytree(ROOT, checkout, ignore=ignored)
    build = "import sys; from setuptools import build_meta; build_meta.build_sdist(sys.argv[1])"
    run(sys.executable, "-c", build, folder, cwd=checkout)
    return next(folder.glob("*.tar.gz"))


@pytest.fixture(scope="module")
def wheel(sdist, tmp_path_factory) -> Path:
    """Built from the sdist, which therefore holds all that a build needs."""
    folder = tmp_path_factory.mktemp("wheel")
    # The test extra brings setuptools, so nothing is fetched.
    offline = ("--no-deps", "--no-index", "--no-build-isolation", "--disable-pip-version-check")
    run(sys.executable, "-m", "pip", "wheel", *offline, "--wheel-dir", folder, sdist, cwd=folder)
    return next(folder.glob("*.whl"))


@pytest.fixture(scope="module")
def metadata(wheel) -> Message:
    with zipfile.ZipFile(wheel) as archive:
        name = next(name for name in archive.namelist() if name.endswith(".dist-info/METADATA"))
        return Parser().parsestr(archive.read(name).decode())


def test_sdist_can_be_built_and_tested(sdist):
    with tarfile.open(sdist) as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}
    documents = {"pyproject.toml", "Makefile", "README.md", "LICENSE", "NOTICE", "CHANGELOG.md"}
    assert documents | sources("dynq_numba", "kernels", "tests", "bench", "examples") <= names
    assert not [name for name in names if "__pycache__" in name or name.endswith((".pyc", ".nbc", ".nbi"))]


def test_wheel_holds_the_package_and_nothing_else(wheel):
    with zipfile.ZipFile(wheel) as archive:
        names = {name for name in archive.namelist() if ".dist-info/" not in name}
    kernels = {f"dynq_numba/{name}" for name in sources("kernels")}
    # A sub-package missing here is missing in pyproject.toml's list of packages.
    assert names == sources("dynq_numba") | kernels | {"dynq_numba/py.typed"}


def test_licence_is_in_the_wheel(wheel, metadata):
    with zipfile.ZipFile(wheel) as archive:
        name = next(name for name in archive.namelist() if name.endswith("/LICENSE"))
        assert archive.read(name) == (ROOT / "LICENSE").read_bytes()
        assert b"Copyright" in archive.read(f"{name.removesuffix('LICENSE')}NOTICE")
    assert metadata["License-Expression"] == "Apache-2.0"


def test_metadata(metadata):
    assert metadata["Name"] == "dynq-numba"
    assert metadata["Requires-Python"] == ">=3.11"
    version = metadata["Version"]
    assert version == dynq_numba.__version__
    headings = re.findall(r"^## \[(\S+)\]", (ROOT / "CHANGELOG.md").read_text(), re.MULTILINE)
    assert version.partition(".dev")[0] == headings[0] and len(set(headings)) == len(headings)
    assert metadata["Author"] and metadata["Summary"].startswith("Dynamic int8 and int4")
    assert "Project-URL" not in metadata  # none is known, and none is made up
    assert "Typing :: Typed" in metadata.get_all("Classifier")
    required = [line for line in metadata.get_all("Requires-Dist") if "extra ==" not in line]
    assert sorted(line.partition(">=")[0].strip() for line in required) == sorted(DEPENDENCIES)
    assert {"test", "bench", "demo", "dev"} <= set(metadata.get_all("Provides-Extra"))


def test_wheel_works_in_an_empty_environment(wheel, tmp_path):
    environment = tmp_path / "environment"
    venv.create(environment, with_pip=False, symlinks=os.name != "nt")
    python = environment / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
    install = ("pip", "--python", python, "install", "--quiet", "--no-deps", "--no-index", "--no-compile", wheel)
    run(sys.executable, "-m", *install, cwd=tmp_path)
    # The dependencies are lent by this environment. Folders that a .pth names come after the new environment's own,
    # and the .pth files in them are not read: the editable install does not come along.
    lent = {str(Path(import_module(name).__file__).parents[1]) for name in DEPENDENCIES}
    site = next(path for path in environment.rglob("site-packages") if path.is_dir())
    (site / "lent.pth").write_text("\n".join(sorted(lent)) + "\n")
    run(python, "-I", "-c", USE, cwd=tmp_path)
    run(python, "-I", "-c", NOT_OURS, environment, ROOT, cwd=tmp_path)


def test_a_zipped_wheel_is_refused(wheel, tmp_path):
    command = [sys.executable, "-I", "-c", f"import sys; sys.path.insert(0, {str(wheel)!r}); import dynq_numba"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=TIMEOUT, check=False)
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1].startswith("ImportError: dynq_numba cannot run from an archive")


def test_kernels_is_no_top_level_name_in_this_environment(tmp_path):
    run(sys.executable, "-I", "-c", "import dynq_numba.kernels", cwd=tmp_path)
    run(sys.executable, "-I", "-c", NOT_OURS, ROOT, cwd=tmp_path)
