"""matmul_integer: exact products of given integers."""

from __future__ import annotations

from typing import Any

import numpy as np

from ...arguments import checks
from . import backend


def matmul_integer(a: np.ndarray, b: np.ndarray, a_zero_point: Any = 0, b_zero_point: Any = 0) -> np.ndarray:
    """Exact int32 product of 8-bit matrices: Σ_k (a - a_zero_point)·(b - b_zero_point), modulo 2^32.

    Parameters
    ----------
    a : uint8 or int8 array [..., M, K]
        Any strides.
    b : uint8 or int8 array [..., K, N]
        Any strides. Leading dimensions broadcast, as in ``numpy.matmul``; so do vectors.
    a_zero_point : integer, or array [M] or [..., M, 1]
        Per tensor or per row, in the range of a's dtype.
    b_zero_point : integer, or array [N] or [..., 1, N]
        Per tensor or per column, in the range of b's dtype.

    Returns
    -------
    int32 array [..., M, N]

    Raises
    ------
    TypeError, ValueError
        Names the argument, what it was and what is allowed.

    Notes
    -----
    Exact: no sum saturates, for any K. A sum beyond 2^31 wraps around, as the source allows. Source: ONNX
    MatMulInteger-10.

    Examples
    --------
    >>> import numpy as np
    >>> a = np.array([[11, 7, 3], [10, 6, 2]], np.uint8)
    >>> b = np.array([[1, 4], [2, 5], [3, 6]], np.uint8)
    >>> matmul_integer(a, b, 12, 0)
    array([[-38, -83],
           [-44, -98]], dtype=int32)
    """
    a, b = checks.byte_array("a", a), checks.byte_array("b", b)
    for name, operand in (("a", a), ("b", b)):
        if operand.ndim == 0:
            raise ValueError(f"{name} must have at least one dimension; got {checks.describe(operand)}")
    left = a[None, :] if a.ndim == 1 else a
    right = b[:, None] if b.ndim == 1 else b
    if left.shape[-1] != right.shape[-2]:
        raise ValueError(f"b must have {left.shape[-1]} rows, as a has columns; got a {a.shape}, b {b.shape}")
    try:
        batch = np.broadcast_shapes(left.shape[:-2], right.shape[:-2])
    except ValueError:
        raise ValueError(f"a and b must broadcast in their leading dimensions; got {a.shape}, {b.shape}") from None
    m, k, n = left.shape[-2], left.shape[-1], right.shape[-1]
    zero_a = _zero_points("a_zero_point", a_zero_point, a.dtype, batch, m, 1)[..., 0]
    zero_b = _zero_points("b_zero_point", b_zero_point, b.dtype, batch, 1, n)[..., 0, :]
    out = np.empty((*batch, m, n), np.int32)
    left = np.broadcast_to(left, (*batch, m, k))
    right = np.broadcast_to(right, (*batch, k, n))
    for i in np.ndindex(batch):
        backend.matmul_integer(left[i], right[i], zero_a[i], zero_b[i], out[i])
    if a.ndim == 1:
        out = out[..., 0, :]
    return out[..., 0] if b.ndim == 1 else out


def _zero_points(
    name: str, value: Any, dtype: np.dtype, batch: tuple[int, ...], rows: int, columns: int
) -> np.ndarray:
    """Zero points as int32 [*batch, rows, columns], one of which is 1: from a scalar, a vector, or that shape."""
    given = checks.integers(name, value)
    limits = np.iinfo(dtype)
    if given.size and not (limits.min <= given.min() and given.max() <= limits.max):
        raise ValueError(f"{name} must lie in [{limits.min}, {limits.max}], the range of {dtype}; got {value}")
    shape = (*batch, rows, columns)
    matrix = given.reshape(-1, columns) if given.ndim == 1 and columns == 1 else given
    try:
        return np.ascontiguousarray(np.broadcast_to(matrix.astype(np.int32), shape))
    except ValueError:
        vector = (max(rows, columns),)
        raise ValueError(f"{name} must be a scalar or have shape {vector} or {shape}; got {given.shape}") from None
