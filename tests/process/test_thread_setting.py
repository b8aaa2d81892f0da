"""How many threads a process begins with: from the environment, from the cores that it may use."""

import os
import subprocess
import sys

import pytest

CODE = "import dynq_numba as dq; print(dq.get_num_threads())"


def child(code, value):
    return subprocess.run(
        [sys.executable, "-c", code],
        env=os.environ | {"DYNQ_NUM_THREADS": value}, capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip


@pytest.fixture(scope="module")
def unset():
    return child(CODE, "").stdout


@pytest.mark.parametrize(("value", "printed"), [("3", "3"), ("1", "1"), ("", None)])
def test_the_setting_starts_from_the_environment(value, printed):
    found = child(CODE, value).stdout.strip()
    cores = min(len(os.sched_getaffinity(0)), os.cpu_count())
    assert found == (printed or found)
    assert 1 <= int(found) <= (int(printed) if printed else cores)


@pytest.mark.parametrize("value", ["0", "-1", "two", "1.5", "100000"])
def test_a_wrong_environment_is_told_in_one_line_and_ignored(unset, value):
    done = child(CODE, value)
    assert done.returncode == 0 and done.stdout == unset
    assert done.stderr.count("\n") == 1 and repr(value) in done.stderr
    assert "DYNQ_NUM_THREADS must be an integer from 1 to 1024" in done.stderr


def test_affinity_bounds_the_setting():
    one = min(os.sched_getaffinity(0))
    assert child(f"import os; os.sched_setaffinity(0, {{{one}}}); {CODE}", "").stdout.strip() == "1"
