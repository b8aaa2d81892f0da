"""The steps that a `Chain` is made of: what the function of the same name does, with names in place of arrays.

Every step takes `x`, the name of a value: of another step, or of an array that the chain is called with; by default
what the step before gives, for the first step the chain's first argument. So do `residual` and `up`, without a default.
"""

from __future__ import annotations

from dataclasses import KW_ONLY, dataclass

import numpy as np

from ..linear.packed import PackedLinear


@dataclass(frozen=True, eq=False)
class Linear:
    """`linear` (x, w, activation, residual). Linears of the same x in a row quantize it once, as `linear_many`."""

    w: PackedLinear
    _: KW_ONLY
    x: str | None = None
    activation: str | None = None
    residual: str | None = None


@dataclass(frozen=True, eq=False)
class LayerNorm:
    """`layer_norm` of x + residual. `sum`: a name for that sum, which other steps may take."""

    weight: np.ndarray
    bias: np.ndarray | None = None
    _: KW_ONLY
    x: str | None = None
    eps: float = 1e-5
    residual: str | None = None
    sum: str | None = None


@dataclass(frozen=True, eq=False)
class RMSNorm:
    """`rms_norm` of x + residual. `sum`: a name for that sum, which other steps may take."""

    weight: np.ndarray
    _: KW_ONLY
    x: str | None = None
    eps: float = 1e-6
    residual: str | None = None
    sum: str | None = None


@dataclass(frozen=True, eq=False)
class SwiGLU:
    """`swiglu`: silu(x) · up."""

    up: str
    _: KW_ONLY
    x: str | None = None


Step = Linear | LayerNorm | RMSNorm | SwiGLU
