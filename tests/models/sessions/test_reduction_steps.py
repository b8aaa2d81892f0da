"""Reductions in sessions: kernels run them, with the reference's bits and ONNX's meaning."""

from __future__ import annotations

import numpy as np
import pytest
from onnx_models import in_reference, parsed

from dynq_numba.kernels.reduce.reference import REDUCTIONS, reduce
from dynq_numba.onnx import InferenceSession

BY_FUNCTION = """
    axes = Constant <value_ints: ints = [AXES]> ()
    y = NAME <keepdims = KEEP> (x, axes)
"""


def body(name, axes, keep):
    text = BY_FUNCTION.replace("AXES", ", ".join(map(str, axes))).replace("NAME", name)
    return text.replace("KEEP", str(keep))


@pytest.mark.parametrize("keep", (0, 1))
@pytest.mark.parametrize("axes", [(2,), (1,), (-1, 0), (0, 1, 2)])
@pytest.mark.parametrize("name", REDUCTIONS)
def test_a_session_has_the_bits_of_the_reference(name, axes, keep):
    rank = 3 if keep else 3 - len(axes)
    shape = ", ".join("abc"[:rank])
    model = parsed("float[b, t, n] x", f"float[{shape}] y", body(name, axes, keep))
    session = InferenceSession(model)
    for size in ((2, 5, 70), (3, 4, 33), (1, 5, 1), (2, 1, 64)):
        x = np.random.default_rng(sum(size)).standard_normal(size).astype(np.float32)
        (got,) = session.run(None, {"x": x})
        want = reduce(name, x, axes)
        np.testing.assert_array_equal(got, np.expand_dims(want, tuple(a % 3 for a in axes)) if keep else want)
        # Either order makes K roundings of sums that are no larger than that of the magnitudes.
        count = int(np.prod([size[a] for a in axes]))
        error = 2 * (count + 2) * 2.0**-24 * (np.abs(x).sum() if name in ("ReduceSum", "ReduceMean") else np.abs(got))
        assert (np.abs(got - in_reference(model, {"x": x})[0]) <= error).all()
    assert [step.kernel for step in session.report()] == [name]


def test_integers_and_views():
    text = """
        turned = Transpose <perm: ints = [1, 0]> (x)
        axes = Constant <value_ints: ints = [1]> ()
        y = ReduceSum <keepdims = 0> (turned, axes)
        z = ReduceMax <keepdims = 0> (turned)
    """
    model = parsed("int64[a, b] x", "int64[b] y, int64 z", text)
    session = InferenceSession(model)
    for size in ((3, 4), (100, 7)):
        x = np.random.default_rng(0).integers(-9, 9, size)
        y, z = session.run(None, {"x": x})
        np.testing.assert_array_equal(y, x.sum(0))
        assert z == x.max()
    assert [step.kernel for step in session.report()] == ["ReduceSum", "ReduceMax"]


@pytest.mark.parametrize("keep", (0, 1))
@pytest.mark.parametrize("last", (0, 1))
@pytest.mark.parametrize("axis", (0, 1, 2))
def test_places_and_running_sums_are_those_of_onnx(axis, last, keep):
    text = f"""
        turned = Transpose <perm: ints = [2, 0, 1]> (x)
        y = ArgMax <axis: int = {axis}, keepdims: int = {keep}, select_last_index: int = {last}> (turned)
        least = ArgMin <axis: int = {axis}, keepdims: int = {keep}, select_last_index: int = {last}> (x)
        axis = Constant <value_int: int = {axis - 3}> ()
        z = CumSum <exclusive: int = {keep}, reverse: int = {last}> (turned, axis)
    """
    one, other = ("a, b, c", "l, m, n") if keep else ("a, b", "l, m")
    model = parsed("float[d, e, f] x", f"int64[{one}] y, int64[{other}] least, float[i, j, k] z", text)
    session = InferenceSession(model)
    for size in ((2, 5, 7), (3, 4, 33), (1, 1, 1), (0, 2, 3)):
        if size[0] == 0 and axis < 2:
            continue  # the axis itself, of either operand
        x = np.random.default_rng(1).integers(-4, 5, size).astype(np.float32)
        for got, want in zip(session.run(None, {"x": x}), in_reference(model, {"x": x}), strict=True):
            assert got.dtype == want.dtype
            np.testing.assert_array_equal(got, want)
    assert not any(step.kernel.startswith("python") for step in session.report())
