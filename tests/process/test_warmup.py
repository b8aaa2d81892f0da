"""After a warm-up nothing is left to compile: in another process, every public function finds its kernels on disk."""

import json
import os
import subprocess
import sys
from functools import partial

import pytest

import dynq_numba as dq
from dynq_numba import warming

CALLS = """
import json, sys
from numba.core import event

compiled, step = {}, ""

class Listener(event.Listener):
    def on_start(self, event): compiled.setdefault(step, []).append(event.data["dispatcher"].py_func.__qualname__)
    def on_end(self, event): pass

event.register("numba:compile", Listener())
import cases
from cases import files

for step in sys.argv[1:] or [*cases.ROWS, "files"]:
    for call in (files.warm if step == "files" else cases.ROWS[step].warm)():
        call()
print(json.dumps(compiled))
"""


pytestmark = pytest.mark.skipif(os.name != "posix", reason="there is no cache on this system")


def child(*arguments, folder, **variables):
    environment = {name: value for name, value in os.environ.items() if name != "NUMBA_DISABLE_JIT"}
    done = subprocess.run(
        [sys.executable, *arguments],
        env=environment | {"NUMBA_CACHE_DIR": str(folder), "PYTHONPATH": os.pathsep.join(sys.path)} | variables,
        capture_output=True, text=True, timeout=600, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_nothing_is_compiled_after_a_warmup(tmp_path):
    child("-m", "dynq_numba", "warmup", folder=tmp_path)
    assert json.loads(child("-c", CALLS, folder=tmp_path)) == {}


def test_what_is_not_warmed_up_is_noticed(tmp_path):
    assert "quantize" in json.loads(child("-c", CALLS, "quantize", folder=tmp_path))


def test_processes_share_a_warmup(tmp_path):
    """All is found on disk afterwards; nothing is left to the process that waits for them."""
    given = {"folder": tmp_path, "DYNQ_ISA": "portable"}  # which takes least; the best one has its own test
    child("-m", "dynq_numba", "warmup", "--jobs", "2", **given)
    assert json.loads(child("-c", CALLS, **given)) == {}


@pytest.mark.parametrize("jobs, error", [(0, ValueError), (-1, ValueError), (1.5, TypeError), ("2", TypeError)])
def test_jobs_that_are_no_count_are_told(jobs, error):
    with pytest.raises(error, match="jobs must be"):
        dq.warmup(jobs=jobs)


def test_a_process_that_fails_is_told(monkeypatch):
    monkeypatch.setattr(sys, "executable", "/bin/false")
    with pytest.raises(RuntimeError, match=r"warmup\(jobs=2\) failed"):
        dq.warmup(jobs=2)


def test_processes_of_a_warmup_take_each_step_once(tmp_path, monkeypatch):
    built = []
    monkeypatch.setattr(warming, "_steps", lambda: ((str(i), partial(built.append, i)) for i in range(4)))
    (tmp_path / "1").touch()  # another process has it
    warming._share(str(tmp_path))
    assert built == [0, 2, 3]
    warming._share(str(tmp_path))
    assert built == [0, 2, 3]
