"""quantize and dequantize: float32 to 8 bits and back, as functions of their own."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy import empty, ndarray

from ...arguments import checks
from ...arguments.checks import F32
from ...arguments.literals import ByteType, XGranularity
from ...arguments.matrices import contiguous_rows, delivered, plain_out, target_for
from . import backend

GRANULARITIES = ("per_token", "per_tensor")
DTYPES = {"uint8": np.dtype(np.uint8), "int8": np.dtype(np.int8)}
#: The bit that int8 has other than the uint8 grid.
FLIPS = {"uint8": 0, "int8": 128}
FLIP_OF = {DTYPES[name]: flip for name, flip in FLIPS.items()}


class Quantized(NamedTuple):
    """The result of `quantize`: ``(data - zero_point) * scale`` is near x.

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
    """Quantize to 8 bits, by the actual range of x.

    Parameters
    ----------
    x : array of float16, float32, float64 or bfloat16
        Any shape and strides. Computed in float32.
    granularity : {"per_token", "per_tensor"}
        One scale for each slice along `axis` (with the default axis, for each row), or one for all of x.
    dtype : {"uint8", "int8"}
        The type of `data`. int8 is the same grid, shifted by 128.
    symmetric : bool
        False: the range [min(0, x), max(0, x)] over 255 steps; True: max|x| over 127 steps, zero point in the middle.
    axis : int
        The axis along which values share a scale.
    out : array of `dtype`, shape of x, optional
        Written and returned as `data`; its last axis must be contiguous. It may overlap x. From some MB on this saves
        the time in which the system allocates and clears memory for a new array.

    Returns
    -------
    Quantized
        A named tuple ``data, scale, zero_point, axis``.

    Raises
    ------
    TypeError, ValueError
        Names the argument, what it was and what is allowed. Raised before anything is written.
    MemoryError
        If there is too little memory for the result.

    Notes
    -----
    ``|dequantize(quantize(x)) - x| ≤ scale / 2 · (1 + 2^-13)``: half a step and rounding. (This does not hold
    if scale is denormal or the result is too large for float32.)

    A slice of zeros has scale 1 and the uint8 grid's zero point 0 (for int8, -128). A slice with NaN or an infinity has
    scale NaN, and its data equals the zero point. No other slice changes.

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
    symmetric = checks.boolean("symmetric", symmetric)
    per_token = granularity == "per_token"
    if per_token:
        axis = checks.axis_of(x, axis)
    kind = DTYPES[name]
    if out is not None:
        checks.out_array(out, kind, x.shape)
    moved = np.moveaxis(x, axis, -1) if per_token else x.reshape(-1)
    outer = moved.shape[:-1]
    rows = contiguous_rows(moved)
    scale, zero_point = np.empty(len(rows), F32), np.empty(len(rows), kind)
    data = target_for(out, axis if per_token else None, rows, kind, x)
    backend.quantize(rows, symmetric, FLIPS[name], data, scale, zero_point)
    shaped = np.moveaxis(data.reshape(moved.shape), -1, axis) if per_token else data.reshape(x.shape)
    shaped = delivered(shaped, out)
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
        Written and returned; its last axis must be contiguous. It may overlap q.data. From some MB on this saves
        the time in which the system allocates and clears memory for a new array, which is most of the time.

    Returns
    -------
    float32 array, shape of q.data

    Raises
    ------
    TypeError, ValueError
        If q is not such a tuple, its parts do not fit each other, or `out` does not fit. Raised before anything is
        written.
    MemoryError
        If there is too little memory for the result.

    Notes
    -----
    Exact except for the one rounding of the product: at most 2^-24 of it, or 2^-150. Source: ONNX DequantizeLinear-13.

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
    moved = data.reshape(-1) if one_scale else np.moveaxis(data, checks.axis_of(data, axis, "q.data"), -1)
    if moved.shape[:-1] != scale.shape:
        fits = f"shape {moved.shape[:-1]} for axis {axis} of q.data of shape {data.shape}"
        raise ValueError(f"q.scale must have {fits}, or (); got {scale.shape}")
    if out is not None:
        checks.out_array(out, F32, data.shape)
    rows = contiguous_rows(moved)
    target = target_for(out, None if one_scale else axis, rows, F32, data)
    scale, zero = np.ascontiguousarray(scale).reshape(-1), np.ascontiguousarray(zero).reshape(-1)
    backend.dequantize(rows, scale, zero, FLIP_OF[data.dtype], target, out is None)
    result = target.reshape(data.shape) if one_scale else np.moveaxis(target.reshape(moved.shape), -1, axis)
    return delivered(result, out)
