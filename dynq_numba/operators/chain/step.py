"""The steps that a `Chain` is made of: what the function of the same name does, with names in place of arrays.

Every step takes `x`, the name of a value: of another step, or of an array that the chain is called with; by default
what the step before gives, for the first step the chain's first argument. So do `residual` and `up`, without a default.
"""

from __future__ import annotations

from dataclasses import KW_ONLY, dataclass

import numpy as np

from ...arguments.literals import Activation
from ..linear.packed import PackedLinear


@dataclass(frozen=True, eq=False)
class Linear:
    """A `Chain`'s step: activation(x · Wᵀ + bias) + residual, as `linear`.

    Linears of the same x in a row quantize it once, as `linear_many`.

    Parameters
    ----------
    w : PackedLinear
        From `pack_linear`, quantizing rows of x on their own (not ``x_granularity="per_tensor"``).
    x : str, optional
        The name of the value it takes: of another step, of a `sum`, or of an array of the call. By default what the
        step before gives; for the first step the chain's first argument.
    activation : {"relu", "gelu", "gelu_tanh", "silu", "tanh", "sigmoid"}, optional
        Applied before the residual.
    residual : str, optional
        The name of the value that is added after the activation.

    Raises
    ------
    TypeError, ValueError
        From `Chain`, which checks its steps: naming the step and what is wrong with it.

    Notes
    -----
    The same bits as `linear`, and so its bound. Source: see `linear`.

    Examples
    --------
    >>> import numpy as np
    >>> import dynq_numba as dq
    >>> inner = dq.step.Linear(dq.pack_linear(np.eye(4)), activation="relu")
    >>> dq.Chain({"y": inner})(np.array([[1.0, -2.0, 3.0, -4.0]], np.float32)).round(1)
    array([[1., 0., 3., 0.]], dtype=float32)
    """

    w: PackedLinear
    _: KW_ONLY
    x: str | None = None
    activation: Activation | None = None
    residual: str | None = None


@dataclass(frozen=True, eq=False)
class LayerNorm:
    """A `Chain`'s step: `layer_norm` of x + residual.

    Parameters
    ----------
    weight : array [K] of floats
        What the normalized row is multiplied by.
    bias : array [K] of floats, optional
        What is added then.
    x : str, optional
        The name of the value it takes: of another step, of a `sum`, or of an array of the call. By default what the
        step before gives; for the first step the chain's first argument.
    eps : float
        As for `layer_norm`.
    residual : str, optional
        The name of the value that is added before the norm.
    sum : str, optional
        A name for x + residual, which other steps may take; needs `residual`.

    Raises
    ------
    TypeError, ValueError
        From `Chain`, which checks its steps: naming the step and what is wrong with it.

    Notes
    -----
    The same bits as `layer_norm`, and so its bound. Source: see `layer_norm`.

    Examples
    --------
    >>> import numpy as np
    >>> import dynq_numba as dq
    >>> norm = dq.step.LayerNorm(np.ones(2, np.float32), residual="stream", sum="total")
    >>> chain = dq.Chain({"y": norm}, returns=["y", "total"])
    >>> chain.arguments
    ('x', 'stream')
    >>> chain(np.float32([[1, 2]]), stream=np.float32([[0, 1]]))
    (array([[-0.9999..., 0.9999...]], dtype=float32), array([[1., 3.]], dtype=float32))
    """

    weight: np.ndarray
    bias: np.ndarray | None = None
    _: KW_ONLY
    x: str | None = None
    eps: float = 1e-5
    residual: str | None = None
    sum: str | None = None


@dataclass(frozen=True, eq=False)
class RMSNorm:
    """A `Chain`'s step: `rms_norm` of x + residual.

    Parameters
    ----------
    weight : array [K] of floats
        What the normalized row is multiplied by.
    x : str, optional
        The name of the value it takes: of another step, of a `sum`, or of an array of the call. By default what the
        step before gives; for the first step the chain's first argument.
    eps : float
        As for `rms_norm`.
    residual : str, optional
        The name of the value that is added before the norm.
    sum : str, optional
        A name for x + residual, which other steps may take; needs `residual`.

    Raises
    ------
    TypeError, ValueError
        From `Chain`, which checks its steps: naming the step and what is wrong with it.

    Notes
    -----
    The same bits as `rms_norm`, and so its bound. Source: see `rms_norm`.

    Examples
    --------
    >>> import numpy as np
    >>> import dynq_numba as dq
    >>> chain = dq.Chain({"y": dq.step.RMSNorm(np.ones(2, np.float32))})
    >>> chain(np.float32([[3, -3]])).round(3)
    array([[ 1., -1.]], dtype=float32)
    """

    weight: np.ndarray
    _: KW_ONLY
    x: str | None = None
    eps: float = 1e-6
    residual: str | None = None
    sum: str | None = None


@dataclass(frozen=True, eq=False)
class SwiGLU:
    """A `Chain`'s step: silu(x) · up, as `swiglu`.

    Parameters
    ----------
    up : str
        The name of the value that silu(x) is multiplied by.
    x : str, optional
        The name of the value it takes: of another step, of a `sum`, or of an array of the call. By default what the
        step before gives; for the first step the chain's first argument.

    Raises
    ------
    TypeError, ValueError
        From `Chain`, which checks its steps: naming the step and what is wrong with it.

    Notes
    -----
    The same bits as `swiglu`, and so its bound. Source: see `swiglu`.

    Examples
    --------
    >>> import numpy as np
    >>> import dynq_numba as dq
    >>> w = dq.pack_linear(np.eye(2))
    >>> gate, up = dq.step.Linear(w, x="x"), dq.step.Linear(w, x="x")
    >>> chain = dq.Chain({"gate": gate, "up": up, "y": dq.step.SwiGLU("up", x="gate")})
    >>> chain(np.float32([[0, 1]])).round(3)
    array([[0.   , 0.731]], dtype=float32)
    """

    up: str
    _: KW_ONLY
    x: str | None = None


Step = Linear | LayerNorm | RMSNorm | SwiGLU
