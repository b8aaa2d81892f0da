"""What runs under NUMBA_DISABLE_JIT=1: the numpy reference behind the same API. Same bits, no speed."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np

from .kernels import reference
from .kernels.reference_activations import ACTIVATIONS

if TYPE_CHECKING:
    from .packed import PackedLinear


class PlainLayout:
    """Stands in for a packed layout: the integers as they are."""

    def __init__(self, q: np.ndarray):
        self._q = q
        self.nbytes = q.nbytes
        self.descriptor = np.empty(0, np.int64)

    def unpack(self, shape: tuple[int, int]) -> np.ndarray:
        return self._q.reshape(shape).copy()


def linear(
    x: np.ndarray,
    w: PackedLinear,
    activation: str | None,
    residual: np.ndarray | None,
    epilogue: Callable | None,
    out: np.ndarray,
) -> None:
    """Fill out [M, N] from float32 x [M, K]."""
    n = w.shape[0]
    scales = np.broadcast_to(w._scales, (n, w._scales.shape[1]))
    bias = np.zeros(n, np.float32) if w.bias is None else w.bias
    per_tensor = w.activations == "per_tensor"
    y = reference.linear(x, w.qweight, scales, bias, bits=w.bits, group=w.group_size or 0, per_tensor=per_tensor)
    with np.errstate(all="ignore"):
        y = y if activation is None else ACTIVATIONS[activation](y)
        y = y if residual is None else y + residual
        if epilogue is not None:
            y = np.array([epilogue(value) for value in y.flat], np.float32).reshape(y.shape)
    out[...] = y


def quantize(rows: np.ndarray, symmetric: bool, flip: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """data (uint8, flipped), scale, zero_point (int32, of the unflipped grid) of float32 rows."""
    scale, zero_point = reference.row_parameters(rows, symmetric)
    data = reference.quantize_rows(rows, scale, zero_point, low=int(symmetric))
    return data ^ np.uint8(flip), scale, zero_point
