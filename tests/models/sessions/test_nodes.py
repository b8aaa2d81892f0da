"""onnx's own tests of nodes with constants for all inputs but the first: every operator that has a lowering.

As they are, test_conformance.py runs them.
"""

from __future__ import annotations

from functools import cache
from typing import Any

import node_tests
import numpy as np
import onnx
import pytest
from onnx import numpy_helper
from onnx.backend.test.case.node import collect_testcases

from dynq_numba.graph.expand import EXPANSIONS
from dynq_numba.graph.model import DOMAIN
from dynq_numba.onnx import InferenceSession
from dynq_numba.planning.lowering import LOWERINGS
from dynq_numba.planning.lowering.numbers import NUMBERS

#: Types that every kernel takes: of cases of these no step runs in Python, but for those of IN_PYTHON.
DOMAIN_TYPES = {np.dtype(np.float32), np.dtype(np.int64), np.dtype(np.bool_)}
#: A case of an opset that sessions do not take.
REFUSED = ("test_scan_sum",)
#: Sessions take opset 9 and newer. Cases of these are of 1 and 7, and mean the same in this one.
OLD, NEWER = ("And", "Not", "Or", "Xor"), 13
#: Why a step of such a case runs in Python, as its report says.
IN_PYTHON = (
    "computed at run time", "auto_pad", "3 spatial axes", "training", "the mask of Dropout", "IsInf of one sign",
    "Cast of", "mod of float32", "Mod of float32", "Pow of", "Range of float32", "of bool", "of no axis",
    "indices of the largest values", "patches overlap", "is left out", "factors that are not whole", "nearest by",
    "linear by", "cubic by", "antialias",
    "its body", "no kernel",  # of an operator that is expanded, but not in all its forms
    "float64 where kernels take float32",  # a softmax of Attention that wants it
)  # fmt: skip
OPERATORS = sorted(
    {name for name in (*LOWERINGS, *NUMBERS) if not name.startswith(f"{DOMAIN}::")}
    | {name for name in EXPANSIONS if "." not in name}
)


@cache
def cases() -> dict[str, list[Any]]:
    """onnx's cases of a single node, by operator."""
    found: dict[str, list[Any]] = {}
    for case in collect_testcases(None):
        if len(case.model.graph.node) == 1:
            found.setdefault(case.model.graph.node[0].op_type, []).append(case)
    return found


def array(value: Any) -> Any:
    return numpy_helper.to_array(value) if isinstance(value, onnx.TensorProto) else value


def check(case: Any) -> InferenceSession:
    """Run a case with all inputs but the first as constants. What it must give is asserted."""
    model = onnx.ModelProto.FromString(case.model.SerializeToString())
    names = [value.name for value in model.graph.input]
    if model.graph.node[0].op_type in OLD:
        model.opset_import[0].version, model.ir_version = NEWER, 8
    session = None
    for given, wanted in case.data_sets:
        feeds = dict(zip(names, map(array, given), strict=True))
        del model.graph.input[1:], model.graph.initializer[:]
        model.graph.initializer.extend(numpy_helper.from_array(feeds.pop(name), name) for name in names[1:])
        session = InferenceSession(model)
        for got, expected in zip(session.run(None, feeds), map(array, wanted), strict=True):
            assert got.dtype == expected.dtype and got.shape == expected.shape, case.name
            if expected.dtype.kind in "fcV":
                a, b = (each.astype(np.float64) for each in (got, expected))
                np.testing.assert_allclose(a, b, rtol=case.rtol, atol=case.atol, err_msg=case.name)
            else:
                np.testing.assert_array_equal(got, expected, err_msg=case.name)
    assert session is not None
    if {array(value).dtype for given, _ in case.data_sets for value in given} <= DOMAIN_TYPES:
        for step in session.report():
            assert not step.kernel.startswith("python ") or any(why in step.why for why in IN_PYTHON), (case.name, step)
    return session


def check_all(operator: str) -> None:
    ran = 0
    for case in cases().get(operator, []):
        if node_tests.outside(case) is None and case.name not in REFUSED:
            check(case)
            ran += 1
    assert ran > 0


@pytest.mark.parametrize("operator", OPERATORS)
def test_nodes_of_onnx(operator):
    check_all(operator)
