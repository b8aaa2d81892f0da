"""What linear layers run on under NUMBA_DISABLE_JIT=1: the numpy reference. Same bits, no speed."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from ...kernels.activations.reference import ACTIVATIONS
from ...kernels.gemm.pack import MAX_K
from ...kernels.linear import reference
from ...kernels.linear.reference import quantize_weight as quantize_weight
from ...kernels.linear.reference import search_groups as search_groups
from ...kernels.linear.reference_outliers import share, without
from ...kernels.linear.reference_rotation import rotate


class Layout:
    """Stands in for a packed layout: the integers as they are."""

    def __init__(
        self,
        q: np.ndarray,
        scales: np.ndarray,
        bias: np.ndarray,
        zero_point: np.ndarray | None,
        *,
        bits: int,
        group: int,
        per_tensor: bool,
        isa: Any,
        rotate: int = 0,
        columns: tuple[int, ...] = (),
        floats: np.ndarray | None = None,
        x_bits: int = 8,
    ):
        self._q, self._scales, self._bias, self._zero_point = q, scales, bias, zero_point
        self.n, self.rows_for_two = len(q), math.inf
        self._rotate, self._outliers = rotate, columns
        self.floats = np.empty((0, self.n), np.float32) if floats is None else floats.copy()
        #: 4 bits enter the product as 16·q, of scales / 16: other bits where those are denormal.
        self._sixteen = bits == 4 and not group and q.shape[1] <= MAX_K
        self._form: dict[str, Any] = {"group": group, "per_tensor": per_tensor, "x_bits": x_bits}
        self.nbytes = q.nbytes + (scales.nbytes if group else 0) + (0 if zero_point is None else zero_point.nbytes)
        self.nbytes += self.floats.nbytes
        self.descriptor = np.empty(0, np.int64)

    def prepare(self) -> None:
        """Nothing is compiled."""

    def unpack(self, shape: tuple[int, int]) -> tuple[np.ndarray, np.ndarray | None, np.ndarray | None]:
        zero_point = None if self._zero_point is None else self._zero_point.copy()
        return self._q.copy(), self._scales.copy() if self._form["group"] else None, zero_point

    def linear(self, x: np.ndarray) -> np.ndarray:
        x = rotate(x, self._rotate) if self._rotate else x
        q, scales = self._q, self._scales
        if self._sixteen:
            q, scales = q.astype(np.int16) * np.int16(16), scales / np.float32(16)
        y = reference.linear(without(x, self._outliers), q, scales, self._bias, **self._form)
        if self._outliers:
            with np.errstate(all="ignore"):
                y += share(x, self._outliers, self.floats)
        return y


def linear(
    x: np.ndarray,
    layout: Layout,
    activation: str | None,
    residual: np.ndarray | None,
    epilogue: Any,
    out: np.ndarray,
    count: int,
) -> None:
    """Fill out [M, N] from x [M, K]."""
    y = layout.linear(x)
    with np.errstate(all="ignore"):
        y = y if activation is None else ACTIVATIONS[activation](y)
        y = y if residual is None else y + residual
        if epilogue is not None:
            y = np.array([epilogue(value) for value in y.flat], np.float32).reshape(y.shape)
    out[...] = y


def linear_many(
    x: np.ndarray, layouts: list[Layout], activation: str | None, outs: list[np.ndarray], count: int
) -> bool:
    """Not here: let them run one after the other."""
    return False


def prepare_post_ops(activation: str | None, epilogue: Any, residual: bool) -> None:
    """Nothing to compile."""
