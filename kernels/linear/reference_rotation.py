"""The numpy reference of linear/emit_rotation.py, and the rotation of weights. It defines every result."""

from __future__ import annotations

import numpy as np


def rotate(x: np.ndarray, block: int) -> np.ndarray:
    """x [M, K] times the Hadamard matrix of ±1, block by block, in x's dtype: a step for each bit of a block."""
    y = x.reshape(-1, block)
    h = 1
    with np.errstate(all="ignore"):
        while h < block:
            pairs = y.reshape(-1, block // (2 * h), 2, h)
            a, b = pairs[:, :, 0], pairs[:, :, 1]
            y = np.stack([a + b, a - b], axis=2).reshape(-1, block)
            h *= 2
    return y.reshape(x.shape)


def rotate_weight(weight: np.ndarray, block: int) -> np.ndarray:
    """float32 weight · H / block, in float64, rounded once: rotate(x) · rotate_weight(weight)ᵀ is x · weightᵀ."""
    rotated = rotate(weight.astype(np.float64), block) / block
    return rotated.astype(np.float32)
