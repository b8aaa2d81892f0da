"""The reference of float32 rows to 8 bits and back. It defines every result, and imports numpy only."""

from __future__ import annotations

import numpy as np

from ..base.exact import F32

F32_MAX = np.finfo(np.float32).max


def row_parameters(
    x: np.ndarray, symmetric: bool = False, steps: int = 255
) -> tuple[np.ndarray, np.ndarray]:
    """Scale (float32) and zero point (int32, in 0 … steps) per row of x [M, K]; NaN, 0 where a row is not finite.

    Asymmetric: ONNX DynamicQuantizeLinear-11, per row, with 255 or 65535 steps. Symmetric: max|x| / 127 and 128.
    """
    top = F32(steps)
    finite = np.isfinite(x).all(axis=1)
    with np.errstate(all="ignore"):
        lo = np.minimum(F32(0), x.min(axis=1, initial=0)).astype(F32)
        hi = np.maximum(F32(0), x.max(axis=1, initial=0)).astype(F32)
        if symmetric:
            scale = np.maximum(-lo, hi) / F32(127)
        else:
            spread = hi - lo
            scale = np.where(spread > F32_MAX, hi / top - lo / top, spread / top)
        flat = scale == 0
        scale = np.where(flat, F32(1), scale).astype(F32)
        zero_point = np.where(flat, 0, np.clip(np.rint(-lo / scale), 0, steps))
        if symmetric:
            zero_point = np.full(len(scale), 128)
        zero_point = np.where(finite, np.nan_to_num(zero_point), 128 if symmetric else 0)
    return np.where(finite, scale, F32(np.nan)).astype(F32), zero_point.astype(np.int32)


def quantize_rows(
    x: np.ndarray, scale: np.ndarray, zero_point: np.ndarray, low: int = 0, steps: int = 255
) -> np.ndarray:
    """clip(rint(x / scale) + zero_point, low, steps); rows that are not finite hold their zero point.

    uint8 [M, K], or uint16 of 65535 steps.
    """
    with np.errstate(all="ignore"):
        q = np.clip(np.rint(x / scale[:, None]) + zero_point[:, None].astype(F32), low, steps)
    return np.where(np.isnan(scale)[:, None], zero_point[:, None], q).astype(np.uint8 if steps == 255 else np.uint16)


def dequantize(data: np.ndarray, scale: np.ndarray, zero_point: np.ndarray) -> np.ndarray:
    """float32 (data - zero_point) · scale, rows first."""
    return (data.astype(np.int32) - zero_point[:, None].astype(np.int32)).astype(F32) * scale[:, None]
