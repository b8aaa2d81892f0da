"""CONTRIBUTING's way to add an operator, followed: support/dummy_operator in a copy of the checkout, no more."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from children import kept_here

ROOT = Path(__file__).parents[2]
DUMMY = ROOT / "tests" / "support" / "dummy_operator"
#: Where its folders and files belong.
PLACES = {
    "kernels": "kernels/dummy", "operator": "dynq_numba/operators/dummy", "cases.py": "tests/programs/cases/dummy.py",
    "test_double.py": "tests/operators/dummy/test_double.py", "topic.py": "bench/topics/dummy.py",
}  # fmt: skip
WRITTEN = {
    "dynq_numba/__init__.py", "dynq_numba/names.py", "pyproject.toml", "README.md", "docs/reference/dummy.md",
}  # fmt: skip
CHECKS = """
import numpy as np, dynq_numba as dq
from dynq_numba.runtime import isa, kernel_table
assert dq.double(np.ones(3, np.float32)).tolist() == [2, 2, 2] and "double" in dq.__all__ and "double" in dq.__doc__
names = [k.name for k in kernel_table.kernels().values() if k.operation == "double"]
assert names == [f"f32_vdouble__{each.name}" for each in isa.INSTRUCTION_SETS], names
assert all(kernel_table.GRAMMAR.fullmatch(name) for name in names)
"""


def run(folder, *arguments, **environment):
    done = subprocess.run(
        [sys.executable, *map(str, arguments)], cwd=folder, capture_output=True, text=True, timeout=400, check=False,
        env=os.environ | {"PYTHONPATH": str(folder)} | kept_here() | environment,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    return done.stdout


def contents(folder):
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.fixture(scope="module")
def copy(tmp_path_factory):
    """The checkout with the operator's folders and files in their places, and what is written out from its row."""
    folder = tmp_path_factory.mktemp("checkout")
    for name in ("dynq_numba", "kernels", "tests", "bench", "docs", "examples"):
        shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__", "results"))
    for path in ROOT.iterdir():
        if path.is_file():
            shutil.copy(path, folder)
    for source, place in PLACES.items():
        (folder / place).parent.mkdir(exist_ok=True)
        (shutil.copytree if (DUMMY / source).is_dir() else shutil.copy)(DUMMY / source, folder / place)
    before = contents(folder)
    told = run(folder, "-B", "tests/programs/rows.py", "--write").split()
    changed = {name for name, data in contents(folder).items() if before.get(name) != data}
    assert set(told) == changed == WRITTEN
    return folder


def test_it_is_there_by_name_kernel_overload_and_page(copy):
    run(copy, "-c", CHECKS)
    run(copy, "-c", "import numpy as np, dynq_numba as dq; assert dq.double(np.ones(3))[0] == 2", NUMBA_DISABLE_JIT="1")
    assert ".. autofunction:: double" in (copy / "docs" / "reference" / "dummy.md").read_text()
    assert "| Doubling | `double` |" in (copy / "README.md").read_text()
    text = (copy / "pyproject.toml").read_text()
    assert '"dynq_numba.kernels.dummy"' in text and '"dynq_numba.operators.dummy"' in text
    assert "double" in run(copy, "-m", "dynq_numba", "info", "--kernels")


def test_its_digest_is_added_and_holds(copy):
    run(copy, "tests/programs/golden.py", "--add")
    kept = json.loads((copy / "tests" / "programs" / "golden.json").read_text())
    assert set(kept) - set(json.loads((ROOT / "tests" / "programs" / "golden.json").read_text())) == {"double"}
    both = "import golden; print(golden.digest('double'))"
    paths = os.pathsep.join([str(copy), str(copy / "tests" / "programs")])
    for disabled in ("0", "1"):
        assert run(copy, "-c", both, PYTHONPATH=paths, NUMBA_DISABLE_JIT=disabled).strip() == kept["double"]
    assert "calls" in run(copy, "tests/programs/guarded.py", "dummy")


def test_the_tests_of_all_operators_hold_it(copy):
    """Those that golden.json, the page and the row are asked by, and its own."""
    run(copy, "tests/programs/golden.py", "--add")
    names = ("operators", "layers", "inputs", "extremes", "docs", "docstrings")
    files = [f"tests/contracts/test_{name}.py" for name in names]
    chosen = "dummy or double or written_out or reference_has or made_of or circle or every_operator or names_operators"
    told = run(copy, "-m", "pytest", "-q", "-p", "no:cacheprovider", *files, "tests/operators/dummy", "-k", chosen)
    last = told.strip().splitlines()[-1]
    assert int(last.split()[0]) > 60 and "failed" not in last, told
