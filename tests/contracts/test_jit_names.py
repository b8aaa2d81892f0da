"""Which public names a user's own @njit function may call, and that such a function is kept on disk."""

import json
import os
import re
import subprocess
import sys

import numpy as np
from numba.core.typing.templates import builtin_registry

import dynq_numba as dq

# Prints the results and how often numba found its two functions on disk.
PROGRAM = """
import json
import numba, numpy as np
import dynq_numba as dq

@numba.njit(cache=True)
def double(v):
    return v * np.float32(2)

@numba.njit(cache=True)
def plain(x, w):
    return dq.linear(x, w, epilogue=double)

@numba.njit(cache=True)
def whole(x, w, out):
    return dq.linear(x, w, activation="relu", residual=x, epilogue=double, out=out)

x = np.arange(-4, 4, dtype=np.float32)
w = dq.pack_linear(np.eye(8, dtype=np.float32))
found = [plain(x, w).round().tolist(), whole(x, w, np.zeros(8, np.float32)).round().tolist()]
print(json.dumps([*found, *(sum(f.stats.cache_hits.values()) for f in (plain, whole))]))
"""


def run(path):
    command = [sys.executable, str(path)]
    environment = {name: value for name, value in os.environ.items() if name != "NUMBA_DISABLE_JIT"}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=240, check=False)
    assert done.returncode == 0 and "NumbaWarning" not in done.stderr, done.stderr
    return json.loads(done.stdout)


def expected(factor, found):
    x = np.arange(-4.0, 4)
    return [(factor * x).tolist(), (factor * (np.maximum(x, 0) + x)).tolist(), *found]


def test_a_function_with_an_epilogue_is_kept_on_disk_and_an_edit_is_noticed(tmp_path):
    path = tmp_path / "program.py"
    path.write_text(PROGRAM)
    assert run(path) == expected(2, [0, 0])
    assert run(path) == expected(2, [1, 1])
    path.write_text(PROGRAM.replace("float32(2)", "float32(-3)"))  # another size, so that no clock decides
    assert run(path) == expected(-3, [0, 0])


def test_the_names_that_work_inside_njit_are_those_that_the_package_lists():
    text = re.search(r"work inside a user's own ``numba.njit`` functions:\n\n(.*?)\.\n", dq.__doc__, re.DOTALL)
    known = {id(value) for value, _ in builtin_registry.globals}
    assert sorted(text[1].replace(",", "").split()) == [name for name in dq.__all__ if id(getattr(dq, name)) in known]
