"""Products of two float arrays that are both quantized at run time."""

from __future__ import annotations

import math

import numpy as np

from ...arguments import checks, deprecated
from ...arguments.checks import F32
from ...arguments.matrices import delivered, target_of
from . import backend


def quantized_matmul(
    a: np.ndarray, b: np.ndarray, *, out: np.ndarray | None = None, threads: int | None = None
) -> np.ndarray:
    """``a @ b`` in exact 8-bit integers: rows of a and columns of b are quantized in the call.

    If b is the same in every call, use `pack_linear` and `linear`: the same bits, without the work on b.

    Parameters
    ----------
    a : array [..., M, K] of float16, float32, float64 or bfloat16
        Each row becomes uint8 by its own range, as a row of `linear`'s x.
    b : array [..., K, N] of such floats
        Each column becomes int8: scale = max|column| / 127. Leading dimensions broadcast, as in ``numpy.matmul``, and
        so do vectors. Neither a nor b is copied if it is float32, a's rows are contiguous, and at most two leading
        dimensions cannot be merged.
    out : float32 array [..., M, N], optional
        Written and returned; its last axis must be contiguous. It may overlap a or b.
    threads : int, optional
        As for `linear`.

    Returns
    -------
    float32 array [..., M, N]

    Raises
    ------
    TypeError, ValueError
        Names the argument, what it was and what is allowed. Raised before anything is written.
    MemoryError
        If there is too little memory for the result or the packed operands.

    Notes
    -----
    For each product, with the scales of its row and column, without float32 rounding,
    ``|y - a·b| ≤ K · (scale_a·max|b| + scale_b·max|a| + scale_a·scale_b / 2) / 2``.

    NaN or an infinity makes its row of the result (or its column) NaN. No other value changes.

    Sources: ONNX DynamicQuantizeLinear-11 (per row), QuantizeLinear-13 (symmetric), MatMulInteger-10.

    Examples
    --------
    >>> import numpy as np
    >>> scores = quantized_matmul(np.ones((2, 3, 8), np.float32), np.full((2, 8, 4), 0.5, np.float32))
    >>> scores.shape, float(scores[1, 2, 3].round(3))
    ((2, 3, 4), 4.0)
    """
    a, b = checks.float_array("a", a), checks.float_array("b", b)
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
    (m, k), n = left.shape[-2:], right.shape[-1]
    count = 0 if threads is None else checks.thread_count("threads", threads)
    shape = batch + (() if a.ndim == 1 else (m,)) + (() if b.ndim == 1 else (n,))
    if out is not None:
        checks.out_array(out, F32, shape)
    target = target_of(out if out is not None and out.flags.c_contiguous else None, shape, a, b)
    if left.strides[-1] != 4 and k > 1:
        left = np.ascontiguousarray(left)
    if right.strides[-1] != 4 != right.strides[-2] and n > 1 and k > 1:
        right = np.ascontiguousarray(right)
    products = target.reshape(*batch, m, n)
    backend.matmul(_batched(left, batch, 2), _batched(right, batch, 2), _batched(products, batch, 2), count)
    return delivered(target, out)


def _batched(array: np.ndarray, batch: tuple[int, ...], levels: int) -> np.ndarray:
    """[*batch, rows, columns] with as many leading dimensions as `levels`; a copy only where they do not merge."""
    shape = (*batch, *array.shape[-2:])
    whole = array if array.shape == shape else np.broadcast_to(array, shape)  # whose result cannot be written
    if len(batch) < levels:
        return whole.reshape((1,) * (levels - len(batch)) + whole.shape)
    return whole.reshape(math.prod(batch[: len(batch) - levels + 1]), *whole.shape[len(batch) - levels + 1 :])


def matmul(
    a: np.ndarray, b: np.ndarray, *, out: np.ndarray | None = None, threads: int | None = None
) -> np.ndarray:
    """The old name of `quantized_matmul`, until 0.3: matrix products of this name are exact elsewhere.

    Parameters
    ----------
    a, b : arrays of floats
        As for `quantized_matmul`.
    out : float32 array, optional
        As for `quantized_matmul`.
    threads : int, optional
        As for `quantized_matmul`.

    Returns
    -------
    float32 array [..., M, N]

    Raises
    ------
    TypeError, ValueError, MemoryError
        As `quantized_matmul` does.

    Notes
    -----
    Error bound and source: those of `quantized_matmul`.

    Examples
    --------
    >>> import warnings
    >>> with warnings.catch_warnings(action="ignore"):
    ...     matmul(np.ones((1, 2), np.float32), np.ones((2, 1), np.float32)).round(3)
    array([[2.]], dtype=float32)
    """
    deprecated.warn("matmul", "it is quantized_matmul now")
    return quantized_matmul(a, b, out=out, threads=threads)
