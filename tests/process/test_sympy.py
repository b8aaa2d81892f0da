"""onnx_ir is imported without sympy, and has it all the same; programs that use sympy notice nothing."""

from __future__ import annotations

import subprocess
import sys
from importlib.util import find_spec

import pytest

pytestmark = pytest.mark.skipif(find_spec("sympy") is None, reason="no sympy here")


def child(code: str) -> list[str]:
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=200, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout.split()


LENGTHS = """
import onnx_ir as ir
n = ir.SymbolicDim("n")
print((n + 1 + n).value.replace(" ", ""), (n * 2).evaluate({"n": 4}), ir.SymbolicDim("max(n, 3)").evaluate({"n": 2}))
print((n // 2).evaluate({"n": 9}), (-n).evaluate({"n": 4}), ir.SymbolicDim("n - 1").simplify().evaluate({"n": 4}))
"""


def test_a_model_is_planned_and_run_without_sympy():
    assert child("""
import builtins, sys
ordinary = builtins.__import__
import numpy as np
from onnx import parser
import dynq_numba.onnx as ort
assert builtins.__import__ is ordinary
model = parser.parse_model('''<ir_version: 10, opset_import: ["": 21]>
    g (float[n, m] x, float[n, m] z) => (float[n, k] y) { a = Add (x, z) y = Concat <axis = 1> (a, x) }''')
print(ort.InferenceSession(model).run(None, dict.fromkeys("xz", np.ones((2, 3), np.float32)))[0].shape)
ort.quantize(model)
print("sympy" in sys.modules)
""") == ["(2,", "6)", "False"]


def test_lengths_that_are_symbols_compute():
    plain = child(LENGTHS)
    assert plain[1:] == ["8", "3", "4", "-4", "3"]
    assert child(f"import dynq_numba.onnx{LENGTHS}") == plain


@pytest.mark.parametrize("order", [("dynq_numba.onnx", "sympy"), ("sympy", "dynq_numba.onnx")])
def test_programs_have_sympy_itself(order):
    assert child(f"""
import sys
import {order[0]}
import {order[1]}
import sympy.abc
from sympy import Symbol
assert type(sys.modules["sympy"]) is type(sys) and sympy.Symbol is Symbol
import onnx_ir as ir
print(ir.SymbolicDim(Symbol("n") + 1).value, isinstance(ir.SymbolicDim("n")._expr, sympy.Expr), sympy.abc.x)
""") == ["n", "+", "1", "True", "x"]
