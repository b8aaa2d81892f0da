"""Machine code of regions in memory and on disk, and what is no region."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from numba.core import config
from regions import of, run

import dynq_numba as dq
from dynq_numba.kernels.region import compiled
from dynq_numba.kernels.region.check import MOST_OPERANDS, fault
from dynq_numba.kernels.region.reference import Region, evaluate
from dynq_numba.runtime.isa import INSTRUCTION_SETS

F, L, B = "float32", "int64", "bool"
X = np.float32([1, -2])
SCRIPT = """
import sys
from test_region_cache import result
from numba.core import config
result()  # with all that is not a region's own
config.CACHE_DIR = sys.argv[1]
print(*result())
"""


def result():
    """Of a region that nothing is known of in memory, as after a start of the process; and how often LLVM ran."""
    translate, known, count = compiled._object_code, dict(compiled._FUNCTIONS), 0

    def counted(*arguments):
        nonlocal count
        count += 1
        return translate(*arguments)

    compiled._FUNCTIONS.clear()
    compiled._object_code = counted
    try:
        return run(of("Swish", F), (X,), dq.available_isas()[0])[0].tobytes().hex(), count
    finally:
        compiled._object_code = translate
        compiled._FUNCTIONS.update(known)


@pytest.fixture
def cache(tmp_path, monkeypatch):
    """An empty one, for all that is compiled from now on."""
    monkeypatch.setattr(config, "CACHE_DIR", str(tmp_path))
    return tmp_path


def files(cache):
    return sorted((cache / "dynq_numba").glob("dynq-region_*.o"))


def test_a_second_process_compiles_nothing(cache):
    first = result()
    assert first[1] == 1 and len(files(cache)) == 1
    env = {"PYTHONPATH": os.pathsep.join([str(Path(__file__).parent), *sys.path])}
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT, str(cache)], env=os.environ | env, capture_output=True, text=True, timeout=200,
        check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == [first[0], "0"]


def test_a_damaged_file_is_compiled_anew_and_mended(cache):
    first = result()
    assert result() == (first[0], 0)
    whole = files(cache)[0].read_bytes()
    for damaged in (whole[:-1], b"", whole[:40] + bytes([whole[40] ^ 1]) + whole[41:]):
        files(cache)[0].write_bytes(damaged)
        assert result() == first
        assert files(cache)[0].read_bytes() == whole


def test_another_target_has_a_file_of_its_own(cache, monkeypatch):
    first = result()
    monkeypatch.setattr(config, "CPU_NAME", "generic")
    assert result() == first and len(files(cache)) == 2 and result() == (first[0], 0)


def test_files_that_others_may_write_are_not_loaded(cache):
    first = result()
    files(cache)[0].chmod(0o666)
    with pytest.warns(RuntimeWarning, match="others may write to it"):
        assert result() == first


def test_a_region_is_compiled_once_for_a_target():
    isa = INSTRUCTION_SETS[-1]
    region = of("Sub", L, L)
    assert compiled.function(region, isa) == compiled.function(of("Sub", L, L), isa)
    targets = {compiled.target_of(each) for each in INSTRUCTION_SETS if each.name in dq.available_isas()}
    assert 1 <= len(targets) <= 3


@pytest.mark.parametrize(
    "region, why",
    [
        (Region((F,), (("Frob", (0,), F),), (1,)), "no elementwise kernel for operator Frob"),
        (Region((F,), (("Add", (0,), F),), (1,)), "Add has 2 operands; got 1"),
        (Region((F, L), (("Add", (0, 1), F),), (2,)), "Add takes operands of one type; got float32, int64"),
        (Region((F, F), (("Less", (0, 1), F),), (2,)), "Less of float32 gives bool, not float32"),
        (Region((B,), (("Exp", (0,), B),), (1,)), "Exp of bool: it takes float32"),
        (Region((F,), (("Exp", (2,), F),), (1,)), "2 is no number of a value before it"),
        (Region((F,), (("Exp", (0,), F),), (2,)), "results must be numbers of values"),
        (Region((F,), (("Exp", (0,), F),), ()), "results must be numbers of values"),
        (Region(("bfloat16",), (), (0,)), "a leaf of bfloat16: types are float32"),
        (Region((F, F), (("Where", (0, 1, 1), F),), (2,)), "Where chooses by bool"),
        (Region((L, L), (("Pow", (0, 1), L),), (2,)), "Pow of int64 by int64"),
        (Region((F,), (("Mul", (0, (F,)), F),), (1,)), "a constant is"),
        (Region((F,) * MOST_OPERANDS, (), (0,)), f"at most {MOST_OPERANDS}"),
    ],
)  # fmt: skip
def test_what_is_no_region_is_told(region, why):
    assert why in fault(region)
    with pytest.raises(ValueError, match="no region: "):
        compiled.function(region, INSTRUCTION_SETS[-1])


def test_as_many_operands_as_there_may_be():
    count = MOST_OPERANDS - 1
    leaves = [np.full(40, i, F) for i in range(count)]
    region = Region((F,) * count, (("Sum", tuple(range(count)), F),), (count,))
    for name in dq.available_isas():
        (got,) = run(region, leaves, name)
        assert (got == evaluate(region, leaves)[0]).all() and got[0] == count * (count - 1) / 2
