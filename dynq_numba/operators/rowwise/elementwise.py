"""gelu, silu and swiglu: float32 in, float32 out, value by value."""

from __future__ import annotations

import numpy as np
from numpy import empty, ndarray

from ...arguments import checks
from ...arguments.checks import F32
from ...arguments.matrices import contiguous_rows, delivered, target_of
from ...arguments.rows import canonical, check_out, float_axes, same_shape, threads_asked
from . import backend


def gelu(
    x: np.ndarray, *, approximate: str | None = None, out: np.ndarray | None = None, threads: int | None = None
) -> np.ndarray:
    """x·(1 + erf(x/√2))/2, or its form with tanh.

    Parameters
    ----------
    x : array of float16, float32, float64 or bfloat16
        Any shape and strides. Computed in float32.
    approximate : {None, "tanh"}
        "tanh": x·(1 + tanh(√(2/π)·(x + 0.044715·x³)))/2.
    out : float32 array, shape of x, optional
        Written and returned; its last axis must be contiguous. It may be x.
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
    Error: at most 10·2^-24·|x| + 2^-147. The same bits as ``linear(…, activation="gelu")`` gives on its result.
    Source: Hendrycks and Gimpel, Gaussian Error Linear Units (2016); ONNX Gelu-20.

    Examples
    --------
    >>> import numpy as np
    >>> gelu(np.array([-1.0, 0.0, 1.0])).round(4)
    array([-0.1587,  0.    ,  0.8413], dtype=float32)
    """
    if approximate is not None:
        checks.choice("approximate", approximate, (None, "tanh"))
    return _map("gelu" if approximate is None else "gelu_tanh", x, out, threads)


def silu(x: np.ndarray, *, out: np.ndarray | None = None, threads: int | None = None) -> np.ndarray:
    """x / (1 + exp(-x)), also known as swish.

    Parameters
    ----------
    x : array of float16, float32, float64 or bfloat16
        Any shape and strides. Computed in float32.
    out : float32 array, shape of x, optional
        Written and returned; its last axis must be contiguous. It may be x.
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
    Relative error at most 12·2^-24, plus an absolute error of at most (4·|x| + 2)·2^-149.
    Source: Elfwing, Uchibe and Doya, Sigmoid-Weighted Linear Units (2017).

    Examples
    --------
    >>> import numpy as np
    >>> silu(np.array([-1.0, 0.0, 1.0])).round(4)
    array([-0.2689,  0.    ,  0.7311], dtype=float32)
    """
    return _map("silu", x, out, threads)


def swiglu(
    gate: np.ndarray, up: np.ndarray | None = None, *, out: np.ndarray | None = None, threads: int | None = None
) -> np.ndarray:
    """silu(gate)·up, in one pass.

    Parameters
    ----------
    gate : array [..., N] of float16, float32, float64 or bfloat16
        Any strides. Without `up`: [..., 2N]. The first half is the gate, the second half is `up`, as one wide linear
        returns them.
    up : array of floats, shape of gate, optional
        silu(gate) is multiplied by it.
    out : float32 array [..., N], optional
        Written and returned; its last axis must be contiguous. It may be gate or up.
    threads : int, optional
        The largest number of threads, including the calling one. By default as many as pay for the work.

    Returns
    -------
    float32 array [..., N]

    Raises
    ------
    TypeError, ValueError
        Names the argument, what it was and what is allowed. Raised before anything is written.
    MemoryError
        If there is too little memory for the result.

    Notes
    -----
    Relative error at most 13·2^-24, plus an absolute error of at most ((4·|gate| + 2)·|up| + 1)·2^-149.
    Source: Shazeer, GLU Variants Improve Transformer (2020).

    Examples
    --------
    >>> import numpy as np
    >>> swiglu(np.array([[0.0, 1.0, 2.0, 3.0]])).round(4)
    array([[0.    , 2.1932]], dtype=float32)
    """
    if type(gate) is ndarray and gate.ndim:
        if out is None:
            shape = gate.shape if up is not None else (*gate.shape[:-1], gate.shape[-1] // 2)
            y = empty(shape, F32)
        else:
            y = out
        if backend.swiglu(gate, up, y, threads):
            return y
    gate = float_axes("gate", gate)
    if up is None:
        if gate.shape[-1] % 2:
            raise ValueError(f"gate must have an even last axis where up is None; got shape {gate.shape}")
        gate, up = np.split(gate, 2, axis=-1)
    else:
        up = same_shape("up", up, gate.shape, "gate")
    count = threads_asked(threads)
    check_out(out, gate.shape)
    rows, others = contiguous_rows(gate), contiguous_rows(up)
    target = target_of(out, rows.shape, gate, up)
    if rows.size:
        backend.ready(count, rows.size)
        backend.swiglu(rows, others, target, count, True)
    return delivered(target.reshape(gate.shape), out)


def _map(name: str, x: np.ndarray, out: np.ndarray | None, threads: int | None) -> np.ndarray:
    if type(x) is ndarray:
        y = empty(x.shape, F32) if out is None else out
        if backend.unary(name, x, y, threads):
            return y
    x = checks.float_array("x", x)
    count = threads_asked(threads)
    check_out(out, x.shape)
    rows = canonical(np.ascontiguousarray(x)).reshape(1, x.size)
    target = target_of(out, x.shape, x)
    flat = target.reshape(1, x.size) if target.flags.c_contiguous else empty((1, x.size), F32)
    if rows.size:
        backend.ready(count, rows.size)
        backend.unary(name, rows, flat, count, True)
    return delivered(flat.reshape(x.shape), out)
