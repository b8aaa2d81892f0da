"""What type checkers are told of options is what is allowed, and they refuse the rest."""

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
from dynq_numba.operators.recurrent import pack as recurrent

ROOT = Path(__file__).parents[2]
ALLOWED = {
    "Activation": ACTIVATIONS, "Bits": schemes.LIMITS, "Granularity": ("auto", *schemes.GRANULARITIES),
    "XGranularity": packed.X_GRANULARITIES, "GroupSize": schemes.GROUP_SIZES, "Rotation": BLOCKS,
    "Layout": recurrent.ORDERS["lstm"], "Direction": recurrent.DIRECTIONS, "BagMode": OPERATIONS,
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


@pytest.mark.skipif(find_spec("mypy") is None, reason="mypy comes with the extra dev")
def test_mypy_refuses_what_is_not_allowed(tmp_path):
    layout = tmp_path / "types" / "dynq_numba"  # as it is installed: mypy follows files, not import hooks
    layout.mkdir(parents=True)
    for path in [*(ROOT / "dynq_numba").iterdir(), ROOT / "kernels"]:
        (layout / path.name).symlink_to(path)
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    (tmp_path / "user.py").write_text(RIGHT + "\n".join(WRONG))
    done = subprocess.run(
        [sys.executable, "-m", "mypy", "--config-file", os.devnull, "--ignore-missing-imports",
         "--follow-imports", "silent", "user.py"],
        cwd=tmp_path, env=os.environ | {"MYPYPATH": str(tmp_path / "types")}, capture_output=True, text=True,
        timeout=300, check=False,
    )  # fmt: skip
    lines = [int(line.split(":")[1]) for line in done.stdout.splitlines() if ": error: " in line]
    first = RIGHT.count("\n") + 1
    assert lines == list(range(first, first + len(WRONG))), done.stdout + done.stderr


def test_the_right_ones_run():
    scope = {}
    exec(RIGHT.split("dq.pack_lstm")[0], scope)
    assert scope["y"].shape == (4, 4) and scope["q"].data.dtype == np.int8 and dq.pack_linear
