"""ArgMax, ArgMin, CumSum and CumProd beside numpy, through their step."""

from __future__ import annotations

import ctypes

import numpy as np
import pytest
from regions import same, special

from dynq_numba.kernels.base.typed import TYPES
from dynq_numba.kernels.reduce import scan
from dynq_numba.kernels.reduce.context import KEPT
from dynq_numba.runtime import threads


def run(operation, x, axis, last=0, exclusive=0, count=1):
    kept = [each for each in range(x.ndim) if each != axis]
    sums = operation >= scan.CUM_SUM
    out = np.empty(x.shape if sums else [x.shape[each] for each in kept], x.dtype if sums else np.int64)
    threads.ready(count)
    filler = KEPT - len(kept)
    strides = [out.strides[each] for each in kept] if sums else list(out.strides)
    rows = {
        "kept": [1] * filler + [x.shape[each] for each in kept],
        "x_kept": [0] * filler + [x.strides[each] for each in kept],
        "out_kept": [0] * filler + strides,
    }
    words = scan.ScanRecord.array(
        worker=scan.worker_address(), pool=threads.POOL, operation=operation, kind=TYPES.index(x.dtype.name),
        last=last, exclusive=exclusive, n=x.shape[axis], x_step=x.strides[axis],
        out_step=out.strides[axis] if sums else 0, x=x.ctypes.data, out=out.ctypes.data,
        **{f"{field}_{i}": value for field, values in rows.items() for i, value in enumerate(values)},
    )  # fmt: skip
    step = ctypes.CFUNCTYPE(ctypes.c_int64, ctypes.c_void_p, ctypes.c_int64)(scan.step_address())
    assert step(words.ctypes.data, count) == 0
    return out


def arrays(kind):
    rng = np.random.default_rng(0)
    yield rng.choice(special(kind), (40, 30))
    yield rng.integers(-3, 4, (3, 5, 7)).astype(kind)
    yield np.asfortranarray(rng.integers(-2, 3, (6, 9))).astype(kind)[::-1, ::2]
    yield np.zeros((1, 4), kind)


@pytest.mark.parametrize("kind", TYPES)
@pytest.mark.parametrize("operation, oracle", [(scan.ARG_MAX, np.argmax), (scan.ARG_MIN, np.argmin)])
def test_places_are_those_of_numpy(operation, oracle, kind):
    for x in arrays(kind):
        for axis in range(x.ndim):
            for count in (1, 2):
                assert same(run(operation, x, axis, 0, 0, count), oracle(x, axis=axis))
            want = x.shape[axis] - 1 - oracle(np.flip(x, axis), axis=axis)
            assert same(run(operation, x, axis, 1), want)


@pytest.mark.parametrize("reverse", (0, 1))
@pytest.mark.parametrize("exclusive", (0, 1))
@pytest.mark.parametrize("kind", TYPES)
@pytest.mark.parametrize("operation, one, oracle", [(scan.CUM_SUM, 0, np.cumsum), (scan.CUM_PROD, 1, np.cumprod)])
def test_sums_and_products_are_those_of_numpy(kind, exclusive, reverse, operation, one, oracle):
    """In their order, from 0: so that -0 becomes 0; products from 1."""
    for x in arrays(kind):
        for axis in range(x.ndim):
            line = np.flip(x, axis) if reverse else x
            first = np.full([1 if each == axis else size for each, size in enumerate(x.shape)], one, kind)
            with np.errstate(all="ignore"):
                sums = oracle(np.concatenate([first, line], axis), axis=axis, dtype=kind)
            part = [slice(None)] * x.ndim
            part[axis] = slice(0, -1) if exclusive else slice(1, None)
            want = sums[tuple(part)]
            got = run(operation, x, axis, reverse, exclusive, 2)
            assert same(got, np.ascontiguousarray(np.flip(want, axis) if reverse else want))
