"""Reductions: the reference against exact sums and numpy, the compiled code against the reference, bit for bit."""

from __future__ import annotations

import ctypes
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from regions import same, special

import dynq_numba as dq
from dynq_numba.kernels.reduce import call
from dynq_numba.kernels.reduce.context import KEPT, REDUCED, ReduceRecord
from dynq_numba.kernels.reduce.reference import LANES, REDUCTIONS, TYPES, reduce, refused
from dynq_numba.kernels.reduce.rows import COLUMNS
from dynq_numba.kernels.rowwise.reference import row_sum
from dynq_numba.runtime import isa as sets
from dynq_numba.runtime import threads

F, W, I32, *_ = TYPES
EVERY = [(name, kind) for name in REDUCTIONS for kind in TYPES if not refused(name, kind)]
SHAPES = [
    ((5, 384), (1,)), ((5, 7), (-1,)), ((3, LANES + 6, LANES + 1), (1,)), ((3, 5, 6, 2 * LANES + 2), (1, 2)),
    ((3, 5, 6, 13), (0, 1, 3)), ((2, 3, 4, 5, 6, 7), (1, 3, 4)), ((200,), (0,)), ((4, 0), (1,)), ((4, 0), (0,)),
    ((3, COLUMNS + 65), (0,)), ((2, 3, LANES), (1, 2)), ((9, 1), (1,)),
]  # fmt: skip


def run(name, x, axes, isa, count=1, out=None):
    """A reduction through its step."""
    axes = sorted(axis % x.ndim for axis in axes)
    kept = [axis for axis in range(x.ndim) if axis not in axes]
    out = np.empty([x.shape[axis] for axis in kept], x.dtype) if out is None else out
    threads.ready(count)

    def padded(field, values, axes_there, filler):
        values = [filler] * (axes_there - len(values)) + list(values)
        return {f"{field}_{i}": value for i, value in enumerate(values)}

    words = ReduceRecord.array(
        **call.constant_fields(name, x.dtype.name, sets._lookup(isa, "isa"), threads.POOL),
        last=int(x.ndim - 1 in axes), x=x.ctypes.data, out=out.ctypes.data,
        **padded("kept", [x.shape[axis] for axis in kept], KEPT, 1),
        **padded("x_kept", [x.strides[axis] for axis in kept], KEPT, 0),
        **padded("out_kept", out.strides, KEPT, 0),
        **padded("reduced", [x.shape[axis] for axis in axes], REDUCED, 1),
        **padded("x_reduced", [x.strides[axis] for axis in axes], REDUCED, 0),
    )  # fmt: skip
    step = ctypes.CFUNCTYPE(ctypes.c_int64, ctypes.c_void_p, ctypes.c_int64)(call.step_address())
    assert step(words.ctypes.data, count) == 0
    return out


@pytest.mark.parametrize("name, kind", EVERY)
def test_every_set_and_thread_has_the_bits_of_the_reference(name, kind, isa):
    rng = np.random.default_rng(0)
    for shape, axes in SHAPES:
        x = np.asarray(3 * rng.normal(size=shape), kind)
        for threads_there in (1, 2):
            assert same(run(name, x, axes, isa, threads_there), reduce(name, x, axes)), (shape, axes)


@pytest.mark.parametrize("name, kind", EVERY)
def test_special_values(name, kind, isa):
    x = np.random.default_rng(1).choice(special(kind), (40, 70))
    x[0] = x[0, 0]
    for axis in (0, 1):
        assert same(run(name, x, (axis,), isa), reduce(name, x, (axis,)))


@given(st.lists(st.sampled_from([1, 2, 3, 5, 33, LANES, 70]), min_size=1, max_size=4), st.data())
def test_any_axes_and_strides(shape, data):
    axes = data.draw(st.sets(st.integers(0, len(shape) - 1), min_size=1, max_size=REDUCED))
    order, steps = data.draw(st.permutations(range(len(shape)))), [data.draw(st.integers(1, 2)) for _ in shape]
    rng = np.random.default_rng(data.draw(st.integers(0, 2**32 - 1)))
    big = rng.normal(size=[shape[axis] * steps[axis] for axis in order]).astype(F)
    x = big.transpose(np.argsort(order))[tuple(slice(None, None, step) for step in steps)][::-1]
    for name in ("ReduceMean", "ReduceMax"):
        assert same(run(name, x, axes, dq.available_isas()[0], 2), reduce(name, x, axes))


def test_no_byte_around_a_result_is_written(isa):
    x = np.random.default_rng(2).normal(size=(6, 7, 70)).astype(F)
    for axes in ((0,), (1,), (2,)):
        want = reduce("ReduceSum", x, axes)
        big = np.full((want.shape[0] + 2, 2 * want.shape[1] + 2), np.float32(77))
        expected = big.copy()
        expected[1:-1, 1:-1:2] = want
        run("ReduceSum", x, axes, isa, 1, big[1:-1, 1:-1:2])
        assert same(big, expected)


def test_sums_have_the_order_of_rows_elsewhere():
    x = np.random.default_rng(3).normal(size=(7, 333)).astype(F)
    assert same(reduce("ReduceSum", x, (1,)), row_sum(x)[:, 0])


def test_bits_do_not_depend_on_strides(isa):
    x = np.random.default_rng(4).normal(size=(5, 6, 130)).astype(F)
    turned = np.ascontiguousarray(x.transpose(2, 0, 1)).transpose(1, 2, 0)
    for axes in ((2,), (1,), (0, 2)):
        assert same(run("ReduceSum", x, axes, isa), run("ReduceSum", turned, axes, isa))


@pytest.mark.parametrize("axis", (0, 1))
def test_float_sums_are_as_near_as_their_order_allows(axis):
    """K roundings in the worst case, each half a last place of the sum of magnitudes."""
    x = np.random.default_rng(5).normal(size=(300, 300)).astype(F)
    exact = [math.fsum(line.tolist()) for line in np.moveaxis(x, axis, 1)]
    bound = np.abs(x.astype(np.float64)).sum(axis) * 300 * 2.0**-24
    assert (np.abs(reduce("ReduceSum", x, (axis,)) - exact) <= bound).all()
    mean = reduce("ReduceMean", x, (axis,))
    assert same(mean, reduce("ReduceSum", x, (axis,)) / np.float32(300))
    squares = np.array([math.fsum(v * v for v in line.tolist()) for line in np.moveaxis(x.astype(np.float64), axis, 1)])
    np.testing.assert_allclose(reduce("ReduceSumSquare", x, (axis,)), squares, rtol=301 * 2.0**-24)
    np.testing.assert_allclose(reduce("ReduceL2", x, (axis,)), np.sqrt(squares), rtol=302 * 2.0**-24)
    np.testing.assert_allclose(reduce("ReduceL1", x, (axis,)), np.abs(x).sum(axis, np.float64), rtol=301 * 2.0**-24)


@pytest.mark.parametrize("kind", TYPES)
@pytest.mark.parametrize("axes", [(0,), (1,), (0, 1)])
def test_exact_ones_are_those_of_numpy(kind, axes):
    rng = np.random.default_rng(6)
    x = rng.integers(-3, 4, (6, 9)).astype(kind)
    oracles = {
        "ReduceSum": np.sum, "ReduceMax": np.max, "ReduceMin": np.min, "ReduceProd": np.prod,
        "ReduceL1": lambda v, axis: np.abs(v).sum(axis), "ReduceSumSquare": lambda v, axis: (v * v).sum(axis),
    }  # fmt: skip
    for name, oracle in oracles.items():
        if not refused(name, kind):
            np.testing.assert_array_equal(reduce(name, x, axes), oracle(x, axis=axes).astype(kind))
    if kind == F:
        x[2, 3] = np.nan
        for name, oracle in (("ReduceMax", np.max), ("ReduceMin", np.min)):
            np.testing.assert_array_equal(reduce(name, x, axes), oracle(x, axis=axes))


def test_what_has_no_kernel_is_told():
    assert "no kernel for reduction ReduceLogSumExp" in refused("ReduceLogSumExp", F)
    with pytest.raises(ValueError, match="ReduceMean of int64: types are float32, float64"):
        call.constant_fields("ReduceMean", W, sets.active(), threads.POOL)
    assert "types are" in refused("ReduceSum", "int8") and I32 in refused("ReduceSum", "int8")
