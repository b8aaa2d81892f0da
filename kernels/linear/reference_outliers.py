"""The numpy reference of outliers.py: columns of x that stay float32. It defines every result."""

from __future__ import annotations

import numpy as np

from ..base.exact import fma


def without(matrix: np.ndarray, columns: tuple[int, ...]) -> np.ndarray:
    """The matrix [rows, K] with 0 in these columns; itself where there are none."""
    if not columns:
        return matrix
    rest = np.array(matrix)
    rest[:, columns] = 0
    return rest


def share(x: np.ndarray, columns: tuple[int, ...], weight: np.ndarray) -> np.ndarray:
    """float32 [M, N] of x [M, K] and the columns' weight [columns, N]: t = fma(x[:, c], w, t) in ascending order."""
    t = np.zeros((len(x), weight.shape[1]), np.float32)
    for c, w in zip(columns, weight, strict=True):
        t = fma(x[:, c, None], w, t)
    return t
