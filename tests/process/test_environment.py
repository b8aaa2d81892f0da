"""Interpreter flags, no network, and no file written but the cache."""

import json
import os
import subprocess
import sys
from pathlib import Path

import golden

PROGRAMS = Path(__file__).parents[1] / "programs"


def child(*arguments, **environment):
    done = subprocess.run(
        [sys.executable, *map(str, arguments)],
        cwd=PROGRAMS, env=os.environ | environment, capture_output=True, text=True, timeout=600, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_without_assertions_and_docstrings():
    every = f"{len(golden.CASES)} of {len(golden.CASES)} cases"
    assert all(every in line for line in child("-OO", "golden.py").splitlines())


AUDITED = """
import json, os, sys

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
import golden
import dynq_numba as dq
for name in golden.CASES:
    golden.digest(name)
dq.set_num_threads(2)
dq.current_isa()
print(json.dumps([sorted(written), sorted(reached)]))
"""


def test_nothing_is_written_but_the_cache_and_nobody_is_called(tmp_path):
    written, reached = json.loads(child("-B", "-c", AUDITED, NUMBA_CACHE_DIR=str(tmp_path)))
    assert written, "nothing was seen: this test proves nothing"
    assert [path for path in written if not path.startswith(str(tmp_path)) and path != os.devnull] == []
    assert reached == []
