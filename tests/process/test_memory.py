"""Memory: nothing read or written outside arrays, nothing read before it is written, nothing kept, and what happens
when there is none."""

import json
import signal
import sys

import cases
import golden
import pytest
from children import child

linux = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="uses /proc, mprotect and glibc's malloc")
pytestmark = linux


@pytest.mark.parametrize("operator", cases.ROWS)
def test_nothing_is_read_or_written_beyond_an_array(operator):
    done = child("guarded.py", operator)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize(("at_end", "index"), [(True, 100), (False, -1)])
def test_a_guard_page_stops_what_comes_upon_it(at_end, index):
    code = f"""
import ctypes, numpy as np, guarded
array = guarded.guarded(np.arange(100, dtype=np.uint8), {at_end})
print(array[0], array[99], flush=True)
ctypes.c_uint8.from_address(array.ctypes.data + {index}).value
"""
    done = child("-c", code)
    assert (done.stdout, done.returncode) == ("0 99\n", -signal.SIGSEGV)


@pytest.mark.parametrize("byte", [0x55, 0xFF])
def test_no_byte_is_read_that_was_not_written(byte):
    """glibc fills what it hands out with that byte's complement, and what it takes back with the byte."""
    done = child("golden.py", MALLOC_PERTURB_=str(byte))
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.count(f"{len(golden.CASES)} of {len(golden.CASES)} cases") == len(done.stdout.splitlines())


def test_many_calls_keep_nothing():
    done = child("soak.py")
    assert done.returncode == 0, done.stdout + done.stderr


def test_threads_that_share_a_session_keep_nothing_and_are_never_wrong():
    done = child("session_load.py", "2")
    assert done.returncode == 0, done.stdout + done.stderr
    assert " 0 wrong" in done.stdout


def test_without_memory_every_operator_says_so_and_works_again_later():
    # Freed memory goes back at once, so that what is left is what the limit leaves.
    glibc = {"MALLOC_TRIM_THRESHOLD_": "0", "MALLOC_MMAP_THRESHOLD_": "65536", "MALLOC_ARENA_MAX": "1"}
    done = child("starved.py", PYTHONMALLOC="malloc", **glibc)
    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout)
    told = {name: set(found["errors"]) for name, found in report.items()}
    assert {name: errors for name, errors in told.items() if errors != {"MemoryError"}} == {}
    assert {name: found["grown"] for name, found in report.items() if found["grown"] > 1 << 18} == {}
    assert [name for name, found in report.items() if not found["same"] or found["busy"]] == []
