"""softmax, layer_norm and rms_norm: float32 rows in, float32 rows out."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy import empty, ndarray

from ...arguments import checks
from ...arguments.checks import F32
from ...arguments.matrices import contiguous_rows, delivered, target_of
from ...arguments.rows import (
    apart,
    broadcast_mask,
    check_out,
    check_sum,
    float_axes,
    same_shape,
    threads_asked,
    vector,
)
from . import backend

#: eps must stay finite in float32.
MAX_EPS = float(np.finfo(F32).max)


def softmax(
    x: np.ndarray,
    *,
    mask: np.ndarray | None = None,
    axis: int = -1,
    out: np.ndarray | None = None,
    threads: int | None = None,
) -> np.ndarray:
    """exp(v - max v) / Σ exp(v - max v) along `axis`, where v is x, masked.

    Parameters
    ----------
    x : array of float16, float32, float64 or bfloat16
        Any shape and strides. Computed in float32.
    mask : boolean array, or array of floats, optional
        Broadcast to x. Boolean: True keeps a value, False leaves it out (as -inf does). Floats are added to x.
    axis : int
        If it is not the last axis, x is transposed and the result is a view.
    out : float32 array, shape of x, optional
        Written and returned; its last axis must be contiguous. It may be x.
    threads : int, optional
        The largest number of threads, including the calling one. By default as many as pay for the work.

    Returns
    -------
    float32 array, shape of x
        A row whose values are all masked or -inf is zeros (ONNX: NaN).

    Raises
    ------
    TypeError, ValueError
        Names the argument, what it was and what is allowed. Raised before anything is written.
    MemoryError
        If there is too little memory for the result.

    Notes
    -----
    A NaN (unless a boolean mask leaves it out) or +inf makes its row NaN, and no other row.

    Error, for v in float32 and K values: relative at most ``(2.3·(|v - max v| + ln K) + K/64 + 16)·2^-24``, absolute at
    most 2^-126.

    Sources: ONNX Softmax-13; Blanchard, Higham and Higham, IMA J. Numer. Anal. 41 (2021) 2311, on the shifted form.

    Examples
    --------
    >>> import numpy as np
    >>> x = np.array([[0.0, np.log(3), 7.0]], np.float32)
    >>> softmax(x, mask=np.array([True, True, False])).round(3)
    array([[0.25, 0.75, 0.  ]], dtype=float32)
    """
    if type(x) is ndarray and type(axis) is int and axis == -1:
        # What small calls are made of: compiled code looks whether the rest is plain.
        y = empty(x.shape, F32) if out is None else out
        if (mask is None or out is None or apart(mask, out)) and backend.softmax(x, mask, y, threads):
            return y
    x = float_axes("x", x)
    axis = checks.axis_of(x, axis)
    moved = np.moveaxis(x, axis, -1)
    full = None if mask is None else np.moveaxis(broadcast_mask(mask, x), axis, -1)
    if full is not None and full.strides[-1] != full.itemsize:
        full = np.ascontiguousarray(full)
    count = threads_asked(threads)
    check_out(out, x.shape)
    rows = np.ascontiguousarray(moved)
    inside = out is not None and axis in (-1, x.ndim - 1)
    target = target_of(out if inside else None, rows.shape, x, full)
    if rows.size:
        backend.ready(count, rows.size)
        backend.softmax(rows, full, target, count, True)
    return delivered(np.moveaxis(target, -1, axis), out)


def layer_norm(
    x: np.ndarray,
    weight: np.ndarray | None = None,
    bias: np.ndarray | None = None,
    *,
    eps: float = 1e-5,
    residual: np.ndarray | None = None,
    sum_out: np.ndarray | None = None,
    out: np.ndarray | None = None,
    threads: int | None = None,
) -> np.ndarray:
    """(v - mean) / √(variance + eps) · weight + bias over the last axis, where v = x + residual.

    Parameters
    ----------
    x : array [..., K] of float16, float32, float64 or bfloat16
        Any strides. Computed in float32.
    weight, bias : array [K] of floats, optional
        The normalized row is multiplied by weight, then bias is added. 1 and 0 by default.
    eps : float
        Not negative; rounded to float32. With 0, a row of equal values gives NaN.
    residual : array of floats, shape of x, optional
        Added to x, in float32, before the norm.
    sum_out : float32 array, shape of x, optional
        x + residual is written to it, in the same pass; needs `residual`. It may be x or residual: a transformer block
        continues with ``y = layer_norm(h, w, b, residual=stream, sum_out=stream)``.
    out : float32 array, shape of x, optional
        Written and returned; its last axis must be contiguous. It may be x or residual.
    threads : int, optional
        The largest number of threads, including the calling one. By default as many as pay for the work.

    Returns
    -------
    float32 array, shape of x

    Raises
    ------
    TypeError, ValueError
        Names the argument, what it was and what is allowed. Raised before anything is written.
    MemoryError
        If there is too little memory for the result.

    Notes
    -----
    The variance is the mean of (v - mean)², in a second pass over the row in L1, because E[v²] - mean² loses digits.
    A row with NaN or an infinity becomes NaN, and no other row. Squares must fit float32: |v - mean| < 1.8e19. They may
    be as small as you like: if variance + eps is below 2^-126, both are computed from (v - mean)·2^96.
    With n = (v - mean)/σ and σ = √(variance + eps), the error is, to first order, at most
    (K/64 + 16)·2^-24·(|weight|·(|n| + mean|v| / σ) + |bias|) + 2^-86·|weight| + 2^-148.
    Sources: Ba, Kiros and Hinton, Layer Normalization (2016); ONNX LayerNormalization-17; ONNX Runtime's
    SkipLayerNormalization (the residual and its sum).

    Examples
    --------
    >>> import numpy as np
    >>> x = np.array([[1.0, 3.0], [-2.0, 2.0]], np.float32)
    >>> layer_norm(x, bias=np.array([0.0, 10.0])).round(3)
    array([[-1., 11.],
           [-1., 11.]], dtype=float32)
    """
    return _norm("layer_norm", x, weight, bias, eps, residual, sum_out, out, threads)


def rms_norm(
    x: np.ndarray,
    weight: np.ndarray | None = None,
    *,
    eps: float = 1e-6,
    residual: np.ndarray | None = None,
    sum_out: np.ndarray | None = None,
    out: np.ndarray | None = None,
    threads: int | None = None,
) -> np.ndarray:
    """v / √(mean v² + eps) · weight over the last axis, where v = x + residual.

    Parameters
    ----------
    x : array [..., K] of float16, float32, float64 or bfloat16
        Any strides. Computed in float32.
    weight : array [K] of floats, optional
        The normalized row is multiplied by it; 1 by default.
    eps : float
        Not negative; rounded to float32.
    residual : array of floats, shape of x, optional
        Added to x, in float32, before the norm.
    sum_out : float32 array, shape of x, optional
        x + residual is written to it, in the same pass; needs `residual`. It may be x or residual, as for `layer_norm`.
    out : float32 array, shape of x, optional
        Written and returned; its last axis must be contiguous. It may be x or residual.
    threads : int, optional
        The largest number of threads, including the calling one. By default as many as pay for the work.

    Returns
    -------
    float32 array, shape of x

    Raises
    ------
    TypeError, ValueError
        Names the argument, what it was and what is allowed. Raised before anything is written.
    MemoryError
        If there is too little memory for the result.

    Notes
    -----
    A NaN makes its row NaN, and no other row. In a row with an infinity, finite values become 0 and the infinity NaN.
    Squares must fit float32: |v| < 1.8e19. Small ones are treated as in `layer_norm`.
    Error, for v in float32: relative at most (K/128 + 12)·2^-24, absolute at most 2^-149·(|weight| + 1).
    Sources: Zhang and Sennrich, Root Mean Square Layer Normalization (2019); ONNX RMSNormalization-23.

    Examples
    --------
    >>> import numpy as np
    >>> rms_norm(np.array([[3.0, 4.0, 0.0, 0.0]]), np.array([1.0, 10.0, 1.0, 1.0])).round(3)
    array([[ 1.2, 16. ,  0. ,  0. ]], dtype=float32)
    """
    return _norm("rms_norm", x, weight, None, eps, residual, sum_out, out, threads)


def _norm(
    name: str, x: Any, weight: Any, bias: Any, eps: Any, residual: Any, sum_out: Any, out: Any, threads: Any
) -> np.ndarray:
    if type(x) is ndarray and type(eps) is float and 0.0 <= eps <= 1.0:
        y = empty(x.shape, F32) if out is None else out
        if backend.norm(name, x, weight, bias, residual, sum_out, y, eps, threads):
            return y
    x = float_axes("x", x)
    k = x.shape[-1]
    weight, bias = (None if v is None else vector(n, v, k) for n, v in (("weight", weight), ("bias", bias)))
    weight = np.ones(k, F32) if weight is None and bias is not None else weight  # ·1 changes no bit
    eps = checks.number("eps", eps)
    if not 0 <= eps <= MAX_EPS:
        raise ValueError(f"eps must be finite in float32 and not negative; got {eps}")
    residual = None if residual is None else same_shape("residual", residual, x.shape, "x")
    count = threads_asked(threads)
    check_out(out, x.shape)
    check_sum(sum_out, residual, out, x.shape)
    rows = contiguous_rows(x)
    addend = None if residual is None else contiguous_rows(residual)
    read = (x, residual, weight, bias, sum_out)
    target = target_of(out, rows.shape, *read)
    total = None if sum_out is None else target_of(sum_out, rows.shape, *read[:-1], out)
    if rows.size:
        backend.ready(count, rows.size)
        backend.norm(name, rows, weight, bias, addend, total, target, float(eps), count, True)
    if total is not None:
        delivered(total.reshape(x.shape), sum_out)
    return delivered(target.reshape(x.shape), out)
