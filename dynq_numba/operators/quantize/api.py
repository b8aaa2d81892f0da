"""quantize, dequantize, matmul_integer: the integer pieces on their own."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy import empty, may_share_memory, ndarray

from ...arguments import checks
from ...arguments.checks import F32
from ...arguments.literals import ByteType, XGranularity
from ...arguments.matrices import contiguous_rows, plain_out, target_for
from ...runtime import backend

GRANULARITIES = ("per_token", "per_tensor")
DTYPES = {"uint8": np.dtype(np.uint8), "int8": np.dtype(np.int8)}
#: The bit that int8 has other than the uint8 grid.
FLIPS = {"uint8": 0, "int8": 128}
FLIP_OF = {DTYPES[name]: flip for name, flip in FLIPS.items()}


class Quantized(NamedTuple):
    """What `quantize` gives: ``(data - zero_point) * scale`` is near x.

    Attributes
    ----------
    data : uint8 or int8 array, shape of x
        The integers.
    scale : float32 array
        The step of the grid. x's shape without `axis` for "per_token", () for "per_tensor".
    zero_point : array of data's dtype, shape of scale
        The integer that stands for 0.
    axis : int
        The axis that shares a scale ("per_token"), counted from the end.

    Examples
    --------
    >>> import numpy as np
    >>> import dynq_numba as dq
    >>> q = dq.quantize(np.array([[0.0, 1.0], [0.0, 255.0]]))
    >>> q.data.tolist(), q.scale.round(4), q.zero_point.tolist()
    ([[0, 255], [0, 255]], array([0.0039, 1.    ], dtype=float32), [0, 0])
    """

    data: np.ndarray
    scale: np.ndarray
    zero_point: np.ndarray
    axis: int


def quantize(
    x: np.ndarray,
    *,
    granularity: XGranularity = "per_token",
    dtype: ByteType = "uint8",
    symmetric: bool = False,
    axis: int = -1,
    out: np.ndarray | None = None,
) -> Quantized:
    """Quantize to 8 bits by the range actually there.

    Parameters
    ----------
    x : array of float16, float32, float64 or bfloat16
        Any shape and strides. Computed in float32.
    granularity : {"per_token", "per_tensor"}
        One scale for each slice along `axis` (per row, with the default axis), or one for all of x.
    dtype : {"uint8", "int8"}
        Of `data`; int8 is the same grid moved by 128.
    symmetric : bool
        False: the range [min(0, x), max(0, x)] over 255 steps; True: max|x| over 127 steps, zero point in the middle.
    axis : int
        The axis along which values share a scale.
    out : array of `dtype`, shape of x, optional
        Written and returned as `data`; its last axis must be contiguous. It may overlap x. Beyond some MB this saves
        the time in which the system finds and clears memory for a new array.

    Returns
    -------
    Quantized
        A named tuple ``data, scale, zero_point, axis``.

    Raises
    ------
    TypeError, ValueError
        Naming the argument, what it was and what is allowed, before anything is written.
    MemoryError
        When there is no memory for the result.

    Notes
    -----
    ``|dequantize(quantize(x)) - x| ≤ scale / 2 · (1 + 2^-13)``: half a step and rounding. (Not where scale is denormal
    or the result is beyond float32.)

    All zeros: scale 1, zero point 0 of the uint8 grid (so -128 for int8). NaN or an infinity in a slice: scale NaN
    there, and data equal to the zero point; no other slice changes.

    Source: ONNX DynamicQuantizeLinear-11, per slice. Asymmetric uint8 per tensor is the same, bit for bit.

    Examples
    --------
    >>> import numpy as np
    >>> q = quantize(np.array([[0.0, 2.0, -3.0, -2.5, 1.34, 0.5]], np.float32))
    >>> q.data
    array([[153, 255,   0,  26, 221, 179]], dtype=uint8)
    >>> q.zero_point, q.scale.round(4)
    (array([153], dtype=uint8), array([0.0196], dtype=float32))
    """
    if (
        type(x) is ndarray and x.dtype is F32 and x.ndim == 2 and x.strides[1] == 4
        and granularity == "per_token" and type(dtype) is str and dtype in DTYPES and type(symmetric) is bool
        and type(axis) is int and axis == -1 and (out is None or plain_out(out, DTYPES[dtype], x))
    ):  # fmt: skip
        # What small calls are made of: no step more than the kernel needs.
        kind, m = DTYPES[dtype], len(x)
        result = Quantized(empty(x.shape, kind) if out is None else out, empty(m, F32), empty(m, kind), -1)
        backend.quantize(x, symmetric, FLIPS[dtype], result[0], result[1], result[2])
        return result
    x = checks.float_array("x", x)
    checks.choice("granularity", granularity, GRANULARITIES)
    name = checks.choice("dtype", checks.dtype_name(dtype), DTYPES)
    if not isinstance(symmetric, (bool, np.bool_)):
        raise TypeError(f"symmetric must be True or False; got {checks.describe(symmetric)}")
    per_token = granularity == "per_token"
    if per_token:
        if isinstance(axis, bool) or not isinstance(axis, (int, np.integer)):
            raise TypeError(f"axis must be an integer; got {checks.describe(axis)}")
        if not -x.ndim <= axis < x.ndim:
            raise ValueError(f"axis must be in [-{x.ndim}, {x.ndim}) for x of shape {x.shape}; got {axis}")
        axis = int(axis) % x.ndim - x.ndim
    kind = DTYPES[name]
    if out is not None:
        checks.out_array(out, kind, x.shape)
    moved = np.moveaxis(x, axis, -1) if per_token else x.reshape(-1)
    outer = moved.shape[:-1]
    rows = contiguous_rows(moved)
    scale, zero_point = np.empty(len(rows), F32), np.empty(len(rows), kind)
    data = target_for(out, axis if per_token else None, rows, kind, x)
    backend.quantize(rows, bool(symmetric), FLIPS[name], data, scale, zero_point)
    shaped = np.moveaxis(data.reshape(moved.shape), -1, axis) if per_token else data.reshape(x.shape)
    if out is not None:
        if not may_share_memory(data, out):
            out[...] = shaped
        shaped = out
    if not per_token:
        return Quantized(shaped, scale.reshape(()), zero_point.reshape(()), -1)
    return Quantized(shaped, scale.reshape(outer), zero_point.reshape(outer), axis)


def dequantize(q: Quantized, *, out: np.ndarray | None = None) -> np.ndarray:
    """float32 ``(data - zero_point) * scale``: the integer difference is exact, the product rounded once.

    Parameters
    ----------
    q : Quantized
        From `quantize`, or any such tuple.
    out : float32 array, shape of q.data, optional
        Written and returned; its last axis must be contiguous. It may overlap q.data. Beyond some MB this saves the
        time in which the system finds and clears memory for a new array: most of all the time.

    Returns
    -------
    float32 array, shape of q.data

    Raises
    ------
    TypeError, ValueError
        When q is not such a tuple or its parts do not fit each other, or `out` does not fit, before it is written.
    MemoryError
        When there is no memory for the result.

    Notes
    -----
    Exact but for the one rounding of the product: at most 2^-24 of it, or 2^-150. Source: ONNX DequantizeLinear-13.

    Examples
    --------
    >>> import numpy as np
    >>> dequantize(quantize(np.array([-1.0, 0.0, 1.0], np.float32))).round(2)
    array([-1.,  0.,  1.], dtype=float32)
    """
    if not isinstance(q, tuple) or len(q) != 4:
        raise TypeError(f"q must be a Quantized tuple (data, scale, zero_point, axis); got {checks.describe(q)}")
    data, scale, zero, axis = q
    if (
        type(data) is type(scale) is type(zero) is ndarray and data.dtype in FLIP_OF and data.ndim == 2
        and data.strides[1] == 1 and scale.dtype is F32 and zero.dtype == data.dtype and scale.shape == zero.shape
        and scale.shape == data.shape[:1] and type(axis) is int and axis == -1
        and (out is None or plain_out(out, F32, data)) and scale.flags.c_contiguous and zero.flags.c_contiguous
    ):  # fmt: skip
        result = empty(data.shape, F32) if out is None else out
        backend.dequantize(data, scale, zero, FLIP_OF[data.dtype], result, out is None)
        return result
    data = checks.byte_array("q.data", data)
    scale, zero = np.asarray(scale, F32), np.asarray(zero).astype(np.int32)
    if scale.shape != zero.shape:
        raise ValueError(f"q.zero_point must have the shape of q.scale, {scale.shape}; got {zero.shape}")
    one_scale = scale.ndim == 0 and data.ndim != 1
    moved = data.reshape(-1) if one_scale else np.moveaxis(data, axis, -1)
    if moved.shape[:-1] != scale.shape:
        raise ValueError(f"q.scale must have shape {moved.shape[:-1]} for axis {axis}, or (); got {scale.shape}")
    if out is not None:
        checks.out_array(out, F32, data.shape)
    rows = contiguous_rows(moved)
    target = target_for(out, None if one_scale else axis, rows, F32, data)
    scale, zero = np.ascontiguousarray(scale).reshape(-1), np.ascontiguousarray(zero).reshape(-1)
    backend.dequantize(rows, scale, zero, FLIP_OF[data.dtype], target, out is None)
    result = target.reshape(data.shape) if one_scale else np.moveaxis(target.reshape(moved.shape), -1, axis)
    if out is None:
        return result
    if not may_share_memory(target, out):
        out[...] = result
    return out


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
        Naming the argument, what it was and what is allowed.

    Notes
    -----
    Exact: no sum saturates, at any K; beyond 2^31 it wraps, as the source allows. Source: ONNX MatMulInteger-10.

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
