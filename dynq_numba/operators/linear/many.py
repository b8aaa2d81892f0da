"""Several linear layers of the same input, such as the query, key and value of attention."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from ...arguments import checks
from ...arguments.checks import F32
from ...arguments.literals import Activation
from ...kernels.activations.reference import ACTIVATIONS
from ...runtime.builtin import builtin
from . import backend
from .api import linear
from .packed import PackedLinear


@builtin
def linear_many(
    x: np.ndarray,
    weights: Sequence[PackedLinear],
    *,
    activation: Activation | None = None,
    threads: int | None = None,
) -> tuple[np.ndarray, ...]:
    """``tuple(linear(x, w) for w in weights)``, but x is quantized once and the threads are started once.

    Parameters
    ----------
    x : array [..., K] of float16, float32, float64 or bfloat16
        Any strides, as for `linear`.
    weights : sequence of PackedLinear
        Each [Ni, K]. Weights that were packed differently (bits, granularity, x_bits, x_granularity, rotate, outliers)
        run one after the other; per channel and per tensor count as the same granularity.
    activation : {"relu", "gelu", "gelu_tanh", "silu", "tanh", "sigmoid"}, optional
        Applied to every result.
    threads : int, optional
        As for `linear`.

    Returns
    -------
    tuple of float32 arrays [..., Ni]
        Each contiguous. The same bits as from `linear`.

    Raises
    ------
    TypeError, ValueError
        Names the argument, what it was and what is allowed.
    MemoryError
        If there is too little memory for the results or the packed rows.

    Notes
    -----
    Bits, error bound and sources are those of `linear`.

    Examples
    --------
    >>> import numpy as np
    >>> import dynq_numba as dq
    >>> query, key = dq.pack_linear(np.eye(2, 4)), dq.pack_linear(np.ones((3, 4)))
    >>> q, k = dq.linear_many(np.ones((5, 4)), [query, key])
    >>> q.shape, k.shape
    ((5, 2), (5, 3))
    """
    ws = tuple(weights) if isinstance(weights, Sequence) else (None,)
    if any(type(w) is not PackedLinear for w in ws):
        raise TypeError(f"weights must be a sequence of PackedLinear from pack_linear; got {checks.describe(weights)}")
    if not ws:
        return ()
    if type(x) is not np.ndarray or x.dtype is not F32:
        x = checks.float_array("x", x)
    shape, k = x.shape, ws[0].shape[1]
    for w in ws:
        if not shape or shape[-1] != w.shape[1]:
            raise ValueError(f"x must have shape [..., {w.shape[1]}] for each of the weights; got {shape}")
    if activation is not None:
        checks.choice("activation", activation, ACTIVATIONS)
    count = 0 if threads is None else checks.thread_count("threads", threads)
    rows = x if x.ndim == 2 else x.reshape(math.prod(shape[:-1]), k)
    if rows.strides[1] != 4 and k > 1:
        rows = np.ascontiguousarray(rows)
    outs = [np.empty((len(rows), w.shape[0]), F32) for w in ws]
    if not backend.linear_many(rows, [w._layout() for w in ws], activation, outs, count):
        return tuple(linear(x, w, activation=activation, threads=threads) for w in ws)
    return tuple(out.reshape(*shape[:-1], w.shape[0]) for out, w in zip(outs, ws, strict=True))
