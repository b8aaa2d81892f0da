"""After a warm-up nothing is left to compile: in another process, every public function finds its kernels on disk.

And no process writes any other file, or reaches out.
"""

import json
import os
import subprocess
import sys
from functools import partial

import cases
import pytest

import dynq_numba as dq
from dynq_numba import warming

# Of a process: files that it opens to write, and when it reaches out.
AUDITED = """
import os, sys

written, reached = set(), set()

def look(event, arguments):
    if event == "open":
        path, mode, flags = arguments
        if isinstance(path, (str, bytes)) and flags & (os.O_WRONLY | os.O_RDWR | os.O_CREAT):
            written.add(os.path.abspath(os.fsdecode(path)))
    elif event in ("os.mkdir", "os.rename", "os.remove", "shutil.rmtree", "os.symlink", "os.link"):
        written.update(os.path.abspath(os.fsdecode(a)) for a in arguments if isinstance(a, (str, bytes, os.PathLike)))
    elif event.startswith("socket.") or event in ("subprocess.Popen", "os.system", "os.exec", "os.posix_spawn"):
        reached.add(event)

sys.addaudithook(look)
"""
# Compiles everything; says what it wrote and reached.
WARM = f"""{AUDITED}
import contextlib, json
from dynq_numba import cli
with contextlib.redirect_stdout(sys.stderr):
    cli.main(["warmup"])
print(json.dumps([sorted(written), sorted(reached)]))
"""
# Calls operators, all by default, with every option; says what was compiled for them.
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
"""
EVERYTHING = f"""{AUDITED}{CALLS}
by_calls, compiled = compiled, {{}}
import golden  # whose layers have options that a warm-up does not know: they may be compiled
import dynq_numba as dq
for name in golden.CASES:
    golden.digest(name)
dq.set_num_threads(2)
dq.current_isa()
print(json.dumps([by_calls, sorted(written), sorted(reached)]))
"""


pytestmark = pytest.mark.skipif(os.name != "posix", reason="there is no cache on this system")


def child(*arguments, folder, **variables):
    environment = {name: value for name, value in os.environ.items() if name != "NUMBA_DISABLE_JIT"}
    done = subprocess.run(
        [sys.executable, "-B", *arguments],
        env=environment | {"NUMBA_CACHE_DIR": str(folder), "PYTHONPATH": os.pathsep.join(sys.path)} | variables,
        capture_output=True, text=True, timeout=600, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_after_a_warmup_nothing_is_compiled_and_nothing_was_written_but_the_cache(tmp_path):
    """Nor is anybody called, by a process that compiles or by one that does not."""
    written, reached = json.loads(child("-c", WARM, folder=tmp_path))
    compiled, more, calls = json.loads(child("-c", EVERYTHING, *cases.ROWS, folder=tmp_path))
    assert written, "nothing was seen: this test proves nothing"
    assert [p for p in written + more if not p.startswith(str(tmp_path)) and p != os.devnull] == []
    assert reached == calls == []
    assert compiled == {} == compiled_for("files", folder=tmp_path)


def compiled_for(*steps, **given):
    return json.loads(child("-c", CALLS + "print(json.dumps(compiled))", *steps, **given))


def test_what_is_not_warmed_up_is_noticed(tmp_path):
    assert "quantize" in compiled_for("quantize", folder=tmp_path)


def test_processes_share_a_warmup(tmp_path):
    """All is found on disk afterwards; nothing is left to the process that waits for them."""
    given = {"folder": tmp_path, "DYNQ_ISA": "portable"}  # which takes least; the best one has its own test
    child("-m", "dynq_numba", "warmup", "--jobs", "2", **given)
    assert compiled_for(**given) == {}


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
