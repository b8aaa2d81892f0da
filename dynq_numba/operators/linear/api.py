"""The linear layer on numpy arrays: validate, pick the compiled entry, run."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
from numba.extending import is_jitted

from ...arguments import checks
from ...arguments.checks import F32
from ...arguments.literals import Activation
from ...arguments.matrices import delivered, target_of
from ...kernels.activations.reference import ACTIVATIONS
from ...kernels.base.jit import JIT_ENABLED
from ...runtime.builtin import builtin
from . import backend
from .packed import PackedLinear


@builtin
def linear(
    x: np.ndarray,
    w: PackedLinear,
    *,
    activation: Activation | None = None,
    residual: np.ndarray | None = None,
    epilogue: Callable | None = None,
    out: np.ndarray | None = None,
    threads: int | None = None,
) -> np.ndarray:
    """y = epilogue(activation(x · Wᵀ + bias) + residual), the product in exact 8-bit integers.

    Each row of x is quantized separately in the call (unless the weight was packed with
    ``x_granularity="per_tensor"``). So a row's result has the same bits in any batch, on every instruction set and for
    every number of threads.

    Parameters
    ----------
    x : array [..., K] of float16, float32, float64 or bfloat16
        Any strides. Computed in float32. A row with NaN or an infinity gives a row of NaN. (All rows are NaN if the
        weight was packed with ``x_granularity="per_tensor"``.)
    w : PackedLinear
        From `pack_linear`.
    activation : {"relu", "gelu", "gelu_tanh", "silu", "tanh", "sigmoid"}, optional
        "gelu" is the form with erf. Applied while the tile is in cache.
    residual : array [..., N] of floats, optional
        Added after the activation, before `epilogue`.
    epilogue : ``numba.njit`` function of one float32, optional
        Inlined into the loop over the tile. It gets the value after activation and residual. It must not raise, because
        nobody can catch an error in the middle of a tile. It is compiled once per function object: define it once.
    out : float32 array [..., N], optional
        Written and returned; its last axis must be contiguous. It may overlap x or residual.
    threads : int, optional
        The largest number of threads, including the calling one. By default as many as pay for the work, at most
        `get_num_threads()`. A call goes on without helpers that another call is using.

    Returns
    -------
    float32 array [..., N]

    Raises
    ------
    TypeError, ValueError
        Names the argument, what it was and what is allowed. Raised before anything is written.
    MemoryError
        If there is too little memory for the result or the packed rows.

    Notes
    -----
    For each row: ``scale_x = (max(0, x) - min(0, x)) / 255``. Each x is off by at most scale_x / 2, and each weight by
    scale_w / 2 (exact bounds and exceptions: `quantize`, `pack_linear`). So, without float32 rounding,
    ``|y - x·Wᵀ| ≤ K · (scale_x·max|w| + scale_w·max|x| + scale_x·scale_w / 2) / 2``. Groups of 4 bits minimize the
    squared error instead.

    Sources: ONNX DynamicQuantizeLinear-11 (per row), MatMulInteger-10; XNNPACK's qd8-f32-qc8w.

    Examples
    --------
    >>> import numpy as np
    >>> import dynq_numba as dq
    >>> w = dq.pack_linear(np.array([[1.0, 2.0], [3.0, -4.0]]), bias=np.array([0.5, 0.0]))
    >>> dq.linear(np.array([[1.0, 1.0], [0.0, 2.0]]), w, activation="relu").round(1)
    array([[3.5, 0. ],
           [4.5, 0. ]], dtype=float32)
    """
    if type(w) is not PackedLinear:
        raise TypeError(f"w must be a PackedLinear from pack_linear; got {checks.describe(w)}")
    if type(x) is not np.ndarray or x.dtype is not F32:
        x = checks.float_array("x", x)
    n, k = w.shape
    shape = x.shape
    if not shape or shape[-1] != k:
        turned = "; pack_linear takes [outputs, inputs]: was weight to be weight.T?" if shape and shape[-1] == n else ""
        raise ValueError(f"x must have shape [..., {k}] for this weight; got {shape}{turned}")
    if activation is not None and not (type(activation) is str and activation in ACTIVATIONS):
        checks.choice("activation", activation, ACTIVATIONS)
    if epilogue is not None:
        _check_epilogue(epilogue, activation, residual is not None)
    count = 0 if threads is None else checks.thread_count("threads", threads)
    rows = _matrix(x, k)
    if rows.strides[1] != 4 and k > 1:
        rows = np.ascontiguousarray(rows)
    full = (*shape[:-1], n)
    addend = None if residual is None else _residual(residual, full, n)
    if out is not None:
        checks.out_array(out, F32, full)
    target = np.empty((rows.shape[0], n), F32) if out is None else target_of(out, (rows.shape[0], n), x, addend)
    backend.linear(rows, w._layout(), activation, addend, epilogue, target, count)
    return target.reshape(full) if out is None else delivered(target, out)


def _check_epilogue(epilogue: Any, activation: str | None, residual: bool) -> None:
    if not (is_jitted(epilogue) or (not JIT_ENABLED and callable(epilogue))):
        raise TypeError(f"epilogue must be a function compiled by numba.njit; got {checks.describe(epilogue)}")
    backend.prepare_post_ops(activation, epilogue, residual)


def _matrix(array: np.ndarray, columns: int) -> np.ndarray:
    """[..., columns] as [rows, columns], also where a dimension is zero."""
    return array.reshape(math.prod(array.shape[:-1]), columns)


def _residual(residual: np.ndarray, shape: tuple[int, ...], n: int) -> np.ndarray:
    residual = checks.float_array("residual", residual)
    if residual.shape != shape:
        raise ValueError(f"residual must have the result's shape {shape}; got {residual.shape}")
    rows = _matrix(residual, n)
    return rows if rows.strides[1] == 4 or n <= 1 else np.ascontiguousarray(rows)
