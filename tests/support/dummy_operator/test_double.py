"""double against integers: their doubles are exact."""

import numba
import numpy as np

import dynq_numba as dq


@numba.njit
def compiled(x):
    return dq.double(x)


def test_doubles_are_exact():
    x = np.arange(-1000, 1000, dtype=np.float32).reshape(40, 50)
    for view in (x, x[::-2], x.T, x[:0]):
        assert np.array_equal(dq.double(view), 2 * view.astype(np.int64))
        assert np.array_equal(compiled(view), 2 * view.astype(np.int64))
