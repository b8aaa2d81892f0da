"""The row-wise steps of a `Chain`: norms of a sum, and silu(x) · up."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import KW_ONLY, dataclass, replace
from typing import Any, Self

import numpy as np

from ...arguments import checks
from ...arguments.checks import F32
from ...kernels.rowwise.context import MapContext, NormContext, RowsContext
from ...kernels.rowwise.intrinsics import MAP_NAMES
from ...runtime import isa, kernel_table, threads
from ..rowwise.backend import RATES
from ..rowwise.elementwise import swiglu
from ..rowwise.norms import layer_norm, rms_norm
from .base import ChainStep, Cost


def _vector(where: str, value: Any) -> np.ndarray:
    array = checks.float_array(where, value, ndim=1)
    return np.array(array)  # the chain's own


def _number(where: str, value: Any) -> float:
    number = checks.number(where, value)
    if not 0 <= number <= float(np.finfo(F32).max):
        raise ValueError(f"{where} must be finite in float32 and not negative; got {value}")
    return number


def _row_wise(words: np.ndarray, operation: str, width: int) -> Cost:
    """What row-wise kernels have in common."""
    RowsContext.fill(words, worker=kernel_table.worker_address(operation, isa.active()), pool=threads.POOL, k=width)
    return Cost(width / RATES[operation], rate=RATES[operation])


class _Norm(ChainStep):
    """A norm of x + residual; of `weight` as many columns."""

    weight: np.ndarray
    eps: float
    residual: str | None
    sum: str | None
    #: The kernel.
    _operation: str

    def checked(self, where: str) -> Self:
        weight, eps = _vector(f"{where}: weight", self.weight), _number(f"{where}: eps", self.eps)
        if self.sum is not None and self.residual is None:
            raise ValueError(f"{where}: sum must go with a residual; got {self.sum!r} without")
        return replace(self, weight=weight, eps=eps)  # type: ignore[type-var]

    def columns(self, source: int | None) -> tuple[int, int]:
        return len(self.weight), len(self.weight)

    @property
    def beside(self) -> tuple[str, str] | None:
        return None if self.residual is None else ("residual", self.residual)

    @property
    def total(self) -> str | None:
        return self.sum

    @property
    def stores_total(self) -> bool:
        return self.residual is not None

    def _fill(self, words: np.ndarray, width: int, bias: np.ndarray | None) -> Cost:
        cost = _row_wise(words, self._operation, width)
        NormContext.fill(
            words, variant=2 * (1 if bias is None else 2) + (self.residual is not None),
            weight=self.weight.ctypes.data, bias=0 if bias is None else bias.ctypes.data,
        )  # fmt: skip
        words.view(np.float32)[2 * NormContext.eps] = self.eps
        return cost

    def fill(self, words: np.ndarray, width: int, keep: list[Any]) -> Cost:
        return self._fill(words, width, None)

    def _call(self, x: np.ndarray, options: dict[str, Any]) -> np.ndarray:
        raise NotImplementedError

    def run(
        self, name: str, x: np.ndarray, values: Mapping[str, np.ndarray], threads: int | None
    ) -> dict[str, np.ndarray]:
        addend = None if self.residual is None else values[self.residual]
        total = None if self.sum is None else np.empty(x.shape, F32)
        options = {"eps": self.eps, "residual": addend, "sum_out": total, "threads": threads}
        results = {name: self._call(x, options)}
        return results if self.sum is None or total is None else results | {self.sum: total}


@dataclass(frozen=True, eq=False)
class LayerNorm(_Norm):
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
        From `Chain`, which checks its steps. Names the step and what is wrong with it.

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

    _operation = "layer_norm"

    def checked(self, where: str) -> Self:
        step = super().checked(where)
        bias = None if self.bias is None else _vector(f"{where}: bias", self.bias)
        if bias is not None and len(bias) != len(step.weight):
            raise ValueError(f"{where}: bias must have the {len(step.weight)} values of weight; got {len(bias)}")
        return replace(step, bias=bias)

    def fill(self, words: np.ndarray, width: int, keep: list[Any]) -> Cost:
        return self._fill(words, width, self.bias)

    def _call(self, x: np.ndarray, options: dict[str, Any]) -> np.ndarray:
        return layer_norm(x, self.weight, self.bias, **options)


@dataclass(frozen=True, eq=False)
class RMSNorm(_Norm):
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
        From `Chain`, which checks its steps. Names the step and what is wrong with it.

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

    _operation = "rms_norm"

    def _call(self, x: np.ndarray, options: dict[str, Any]) -> np.ndarray:
        return rms_norm(x, self.weight, **options)


@dataclass(frozen=True, eq=False)
class SwiGLU(ChainStep):
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
        From `Chain`, which checks its steps. Names the step and what is wrong with it.

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

    def checked(self, where: str) -> Self:
        return self

    def columns(self, source: int | None) -> tuple[int, int]:
        if source is None:
            raise ValueError("x must be given or taken by an earlier step")
        return source, source

    @property
    def beside(self) -> tuple[str, str] | None:
        return "up", self.up

    def fill(self, words: np.ndarray, width: int, keep: list[Any]) -> Cost:
        cost = _row_wise(words, "map", width)
        MapContext.fill(words, variant=MAP_NAMES.index("swiglu"), last=width)
        return cost

    def run(
        self, name: str, x: np.ndarray, values: Mapping[str, np.ndarray], threads: int | None
    ) -> dict[str, np.ndarray]:
        return {name: swiglu(x, values[self.up], threads=threads)}
