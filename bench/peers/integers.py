"""Weights as integers, for the frameworks that want to be handed them."""

from __future__ import annotations

import numpy as np


def symmetric(weight: np.ndarray, limit: int) -> tuple[np.ndarray, np.ndarray]:
    """``(integers within ±limit, scales)``, a scale for each run along the last axis."""
    scales = np.abs(weight).max(-1, keepdims=True) / np.float32(limit)
    scales = np.maximum(scales, np.finfo(np.float32).tiny)  # rows of zeros
    return np.clip(np.rint(weight / scales), -limit, limit).astype(np.int8), scales[..., 0]
