"""The steps of a `Chain`. A step does the same as the function of its name, with names in place of arrays.

Every step takes `x`, the name of a value: of another step, or of an array that the chain is called with; by default
what the step before gives, for the first step the chain's first argument. So do `residual` and `up`, without a default.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import KW_ONLY, dataclass
from typing import Any, Self

import numpy as np

from ...arguments import checks
from ...arguments.literals import Activation
from ...kernels.activations.reference import ACTIVATIONS
from ...kernels.linear.context import LinearContext, Weight
from ...kernels.threads.partition import MACS_PER_US
from ...runtime.post_ops import post_ops_address
from ..linear.api import linear
from ..linear.packed import PackedLinear
from .base import ChainStep, Cost
from .rowwise import LayerNorm, RMSNorm, SwiGLU

__all__ = ["LayerNorm", "Linear", "RMSNorm", "Step", "SwiGLU"]


@dataclass(frozen=True, eq=False)
class Linear(ChainStep):
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
        From `Chain`, which checks its steps. Names the step and what is wrong with it.

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

    def checked(self, where: str) -> Self:
        if type(self.w) is not PackedLinear:
            raise TypeError(f"{where}: w must be a PackedLinear from pack_linear; got {checks.describe(self.w)}")
        if self.w.x_granularity != "per_token":
            raise ValueError(f'{where}: w must be packed with x_granularity="per_token"; got {self.w.x_granularity!r}')
        if self.activation is not None:
            checks.choice(f"{where}: activation", self.activation, ACTIVATIONS)
        return self

    def columns(self, source: int | None) -> tuple[int, int]:
        return self.w.shape[1], self.w.shape[0]

    @property
    def beside(self) -> tuple[str, str] | None:
        return None if self.residual is None else ("residual", self.residual)

    @property
    def fusible(self) -> bool:
        return not self.w.rotate

    def joins(self, leader: ChainStep) -> bool:
        """As `together` of kernels/linear/many.py wants it."""
        if not isinstance(leader, Linear):
            return False
        mine, its = (
            (w.bits, w.group_size, w.symmetric, w.rotate, w.outliers, w.x_bits) for w in (self.w, leader.w)
        )
        return mine == its

    def fill(self, words: np.ndarray, width: int, keep: list[Any]) -> Cost:
        layout = self.w._layout()
        keep.append(layout)
        words[: Weight.size] = layout.descriptor[: Weight.size]
        post_ops = post_ops_address(self.activation, None, self.residual is not None)
        LinearContext.fill(words, post_ops=post_ops, all_panels=words[Weight.panels])
        n, k = self.w.shape
        weight_bytes = int(words[Weight.panels] * words[Weight.panel_stride])
        return Cost(n * k * (self.w.x_bits // 8) / MACS_PER_US, weight_bytes, int(words[Weight.mr]))

    def run(
        self, name: str, x: np.ndarray, values: Mapping[str, np.ndarray], threads: int | None
    ) -> dict[str, np.ndarray]:
        addend = None if self.residual is None else values[self.residual]
        return {name: linear(x, self.w, activation=self.activation, residual=addend, threads=threads)}


Step = Linear | LayerNorm | RMSNorm | SwiGLU
