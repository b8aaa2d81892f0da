"""What type checkers are told of options is what is allowed, and they refuse the rest."""

import ast
import json
import os
import shutil
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import get_args

import numpy as np
import pytest

import dynq_numba as dq
from dynq_numba.arguments import literals
from dynq_numba.kernels.activations.reference import ACTIVATIONS
from dynq_numba.kernels.linear.emit_rotation import BLOCKS
from dynq_numba.operators.embedding.api import OPERATIONS
from dynq_numba.operators.linear import packed, schemes
from dynq_numba.operators.quantize import api as quantize
from dynq_numba.operators.recurrent import options, pack

ROOT = Path(__file__).parents[2]
ALLOWED = {
    "Activation": ACTIVATIONS, "Bits": schemes.LIMITS, "Granularity": ("auto", *schemes.GRANULARITIES),
    "XGranularity": packed.X_GRANULARITIES, "GroupSize": schemes.GROUP_SIZES, "Rotation": BLOCKS,
    "Layout": pack.ORDERS["lstm"], "Direction": options.DIRECTIONS, "BagMode": OPERATIONS,
}  # fmt: skip


@pytest.mark.parametrize("name", ALLOWED)
def test_literals_are_what_is_checked_at_run_time(name):
    assert set(get_args(getattr(literals, name))) == set(ALLOWED[name])


def test_quantize_s_two_options():
    assert set(get_args(get_args(literals.ByteType)[0])) == set(quantize.DTYPES)
    assert set(get_args(literals.XGranularity)) == set(quantize.GRANULARITIES)


RIGHT = """
import numpy as np
import dynq_numba as dq
x = np.ones((4, 4), np.float32)
w = dq.pack_linear(x, bits=4, granularity="per_group", group_size=32)
y: np.ndarray = dq.linear(x, w, activation="gelu", threads=2)
q = dq.quantize(x, dtype=np.int8)
dq.pack_linear(x, scheme=dq.choose_scheme(x))
dq.pack_lstm(x, x, layout="torch")
dq.attention(x, x, x, causal="top_left")
"""
WRONG = [
    'dq.linear(x, w, activation="swish")', "dq.pack_linear(x, bits=5)", "dq.pack_linear(x, group_size=48)",
    'dq.pack_linear(x, granularity="per_row")', 'dq.quantize(x, dtype="int16")', 'dq.pack_lstm(x, x, layout="keras")',
    'dq.attention(x, x, x, causal="left")', 'dq.step.Linear(w, activation="swish")', "dq.choose_scheme(x, bits=5)",
    'dq.conv(x, dq.pack_conv(x), activation="mish")',
]  # fmt: skip


REFUSED = range(RIGHT.count("\n") + 1, RIGHT.count("\n") + 1 + len(WRONG))
NO_PYRIGHT = "pyright is not on PATH (npm install -g pyright)"


@pytest.fixture
def user(tmp_path):
    """A folder with a user's file, and beside it the package as it is installed: checkers know no import hooks."""
    layout = tmp_path / "types" / "dynq_numba"
    layout.mkdir(parents=True)
    for path in [*(ROOT / "dynq_numba").iterdir(), ROOT / "kernels"]:
        (layout / path.name).symlink_to(path)
    (tmp_path / "user.py").write_text(RIGHT + "\n".join(WRONG))
    return tmp_path


def check(folder, *command):
    environment = os.environ | {"MYPYPATH": str(folder / "types"), "PYTHONPATH": str(folder / "types")}
    return subprocess.run(
        command, cwd=folder, env=environment, capture_output=True, text=True, timeout=300, check=False
    )


@pytest.mark.skipif(find_spec("mypy") is None, reason="mypy comes with the extra dev")
def test_mypy_refuses_what_is_not_allowed(user):
    options = "--config-file", os.devnull, "--ignore-missing-imports", "--follow-imports", "silent"
    done = check(user, sys.executable, "-m", "mypy", *options, "user.py")
    lines = [int(line.split(":")[1]) for line in done.stdout.splitlines() if ": error: " in line]
    assert lines == list(REFUSED), done.stdout + done.stderr


@pytest.mark.skipif(shutil.which("pyright") is None, reason=NO_PYRIGHT)
def test_pyright_refuses_what_is_not_allowed(user):
    (user / "pyrightconfig.json").write_text(json.dumps({"extraPaths": ["types"]}))
    done = check(user, "pyright", "--pythonpath", sys.executable, "--outputjson", "user.py")
    found = [each["range"]["start"]["line"] + 1 for each in json.loads(done.stdout)["generalDiagnostics"]]
    assert found == list(REFUSED), done.stdout + done.stderr


@pytest.mark.skipif(shutil.which("pyright") is None, reason=NO_PYRIGHT)
def test_pyright_knows_the_type_of_everything_public(user):
    options = "--verifytypes", "dynq_numba", "--ignoreexternal", "--outputjson"
    done = check(user, "pyright", "--pythonpath", sys.executable, *options)
    symbols = {each["name"]: each for each in json.loads(done.stdout)["typeCompleteness"]["symbols"]}
    names = ast.parse(Path(dq.__file__).with_name("names.py").read_text())
    imports = [node for node in names.body if isinstance(node, ast.ImportFrom)]
    public = [f"dynq_numba.{node.module}.{each.name}" for node in imports for each in node.names
              if each.name in dq.__all__]  # fmt: skip
    seen = {name: each for name, each in symbols.items() for top in public if f"{name}.".startswith(f"{top}.")}
    assert len(public) == len(dq.__all__) and len(seen) > len(public)
    unknown = [name for name, each in seen.items() if not each["isTypeKnown"] and "._" not in name]
    assert not unknown, unknown


def test_the_right_ones_run():
    scope = {}
    exec(RIGHT.split("dq.pack_lstm")[0], scope)
    assert scope["y"].shape == (4, 4) and scope["q"].data.dtype == np.int8 and dq.pack_linear
