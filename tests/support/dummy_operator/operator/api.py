"""double: its documentation and checks."""

from __future__ import annotations

import numpy as np

from ...arguments import checks
from ...arguments.matrices import delivered, target_of
from ...arguments.rows import check_out, threads_asked
from . import backend


def double(x: np.ndarray, *, out: np.ndarray | None = None, threads: int | None = None) -> np.ndarray:
    """x + x.

    Parameters
    ----------
    x : array of float16, float32, float64 or bfloat16
        Any shape and strides. Computed in float32.
    out : float32 array, shape of x, optional
        Written and returned; its last axis must be contiguous. It may overlap x.
    threads : int, optional
        The largest number of threads, including the calling one. One is used.

    Returns
    -------
    float32 array, shape of x

    Raises
    ------
    TypeError, ValueError
        Names the argument, what it was and what is allowed. Raised before anything is written.

    Notes
    -----
    Exact, but for what is beyond float32. Source: arithmetic.

    Examples
    --------
    >>> import numpy as np
    >>> double(np.array([1.5, -2.0], np.float32))
    array([ 3., -4.], dtype=float32)
    """
    x = checks.float_array("x", x)
    threads_asked(threads)
    check_out(out, x.shape)
    values = np.ascontiguousarray(x).reshape(-1).astype(np.float32)
    target = target_of(out, values.shape, x)
    backend.double(values, target)
    return delivered(target if out is not None else target.reshape(x.shape), out)
