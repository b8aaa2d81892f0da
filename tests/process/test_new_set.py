"""An instruction set is one file and one row: support/dummy_set.py is added so to a copy of the package."""

import os
import shutil
from pathlib import Path

import pytest
from children import child, kept_here

ROOT = Path(__file__).parents[2]
DUMMY = ROOT / "tests" / "support" / "dummy_set.py"
ROW = "INSTRUCTION_SETS: tuple[InstructionSet, ...] = ("


@pytest.fixture
def copy(tmp_path):
    """The package with one file more and one row changed, in a folder that Python looks at first."""
    without = shutil.ignore_patterns("__pycache__")
    shutil.copytree(ROOT / "dynq_numba", tmp_path / "dynq_numba", ignore=without)
    shutil.copytree(ROOT / "kernels", tmp_path / "dynq_numba" / "kernels", ignore=without)
    shutil.copy(DUMMY, tmp_path / "dynq_numba" / "kernels" / "isa" / "dummy.py")
    table = tmp_path / "dynq_numba" / "runtime" / "isa.py"
    text = table.read_text()
    assert text.count(ROW) == 1
    row = text.replace(ROW, f"from ..kernels.isa.dummy import DUMMY\n\n{ROW}DUMMY, ")
    table.write_text(row)
    return tmp_path


def test_everything_runs_on_a_set_that_was_added_by_one_file_and_one_row(copy):
    """Every golden case, every operator: the bits are those of the other sets."""
    paths = os.pathsep.join([str(copy), os.environ.get("PYTHONPATH", "")])
    done = child("golden.py", "dummy", PYTHONPATH=paths, **kept_here())
    assert done.returncode == 0, done.stdout + done.stderr[-3000:]
    told = done.stdout.split()
    assert told[0] == "dummy:" and told[1] == told[3] and int(told[1]) > 20, done.stdout


def test_it_is_listed_named_and_the_best(copy):
    code = (
        "import dynq_numba as dq, sys; from dynq_numba import cli; print(dq.__file__, *dq.available_isas());"
        "assert dq.current_isa() == 'dummy'; from dynq_numba.runtime import kernel_table as t;"
        "names = [k.name for k in t.kernels().values() if k.isa.name == 'dummy'];"
        "assert len(names) > 30 and all(t.GRAMMAR.fullmatch(n) for n in names), names"
    )
    done = child("-c", code, PYTHONPATH=str(copy), **kept_here())
    assert done.returncode == 0, done.stderr[-3000:]
    assert done.stdout.split()[:2] == [str(copy / "dynq_numba" / "__init__.py"), "dummy"]
