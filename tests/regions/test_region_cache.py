"""Machine code of regions in memory and on disk, and what is no region."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from regions import of, run

import dynq_numba as dq
from dynq_numba.kernels.region import compiled
from dynq_numba.kernels.region.check import MOST_OPERANDS, fault
from dynq_numba.kernels.region.reference import Region, evaluate
from dynq_numba.runtime.isa import INSTRUCTION_SETS

F, L, B = "float32", "int64", "bool"
SCRIPT = """
import sys
import numpy as np
import dynq_numba as dq
from regions import of, run
from dynq_numba.kernels.region import compiled
translate = compiled._object_code
count = [0]
def counted(*arguments):
    count[0] += 1
    return translate(*arguments)
compiled._object_code = counted
print(run(of("Swish", "float32"), (np.float32([1, -2]),), dq.available_isas()[0])[0].tobytes().hex(), count[0])
"""


def child(cache, **environment):
    """A process's result and how many regions it compiled."""
    paths = [str(Path(__file__).parents[1] / "support"), *sys.path]
    env = os.environ | {"NUMBA_CACHE_DIR": str(cache), "PYTHONPATH": os.pathsep.join(paths)} | environment
    done = subprocess.run([sys.executable, "-c", SCRIPT], env=env, capture_output=True, text=True, timeout=200)
    assert done.returncode == 0, done.stderr
    *_, value, count = done.stdout.split()
    return value, int(count)


def files(cache):
    return sorted((cache / "dynq_numba").glob("dynq-region_*.o"))


def test_a_second_process_compiles_nothing(tmp_path):
    first = child(tmp_path)
    assert first[1] == 1 and len(files(tmp_path)) == 1
    assert child(tmp_path) == (first[0], 0)
    whole = files(tmp_path)[0].read_bytes()
    for damaged in (whole[:-1], b"", whole[:40] + bytes([whole[40] ^ 1]) + whole[41:]):
        files(tmp_path)[0].write_bytes(damaged)
        assert child(tmp_path) == first
        assert files(tmp_path)[0].read_bytes() == whole
    assert child(tmp_path, NUMBA_CPU_NAME="haswell", NUMBA_CPU_FEATURES="+avx2,+avx,+fma")[1] == 1  # another target


def test_files_that_others_may_write_are_not_loaded(tmp_path):
    first = child(tmp_path)
    files(tmp_path)[0].chmod(0o666)
    assert child(tmp_path) == first


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
        (Region(("float16",), (), (0,)), "a leaf of float16: types are float32"),
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
