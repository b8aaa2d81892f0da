"""The numpy twin of every kernel: what the results are, rounding included. Normative; imports numpy only.

All float arithmetic is float32, one rounding per operation, in the order written. Integers are int64, hence exact.
"""

from __future__ import annotations

import numpy as np

F32 = np.float32
F32_MAX = np.finfo(np.float32).max


# -- quantization -------------------------------------------------------------------------------
def row_parameters(x: np.ndarray, symmetric: bool = False) -> tuple[np.ndarray, np.ndarray]:
    """Scale (float32) and zero point (int32, of the uint8 grid) per row of x [M, K]; NaN, 0 where a row is not finite.

    Asymmetric: ONNX DynamicQuantizeLinear-11, per row. Symmetric: max|x| / 127 and 128.
    """
    finite = np.isfinite(x).all(axis=1)
    with np.errstate(all="ignore"):
        lo = np.minimum(F32(0), x.min(axis=1, initial=0)).astype(F32)
        hi = np.maximum(F32(0), x.max(axis=1, initial=0)).astype(F32)
        if symmetric:
            scale = np.maximum(-lo, hi) / F32(127)
        else:
            spread = hi - lo
            scale = np.where(spread > F32_MAX, hi / F32(255) - lo / F32(255), spread / F32(255))
        flat = scale == 0
        scale = np.where(flat, F32(1), scale).astype(F32)
        zero_point = np.where(flat, 0, np.clip(np.rint(-lo / scale), 0, 255))
        if symmetric:
            zero_point = np.full(len(scale), 128)
        zero_point = np.where(finite, np.nan_to_num(zero_point), 128 if symmetric else 0)
    return np.where(finite, scale, F32(np.nan)).astype(F32), zero_point.astype(np.int32)


def quantize_rows(x: np.ndarray, scale: np.ndarray, zero_point: np.ndarray, low: int = 0) -> np.ndarray:
    """uint8 [M, K] = clip(rint(x / scale) + zero_point, low, 255); rows that are not finite hold their zero point."""
    with np.errstate(all="ignore"):
        q = np.clip(np.rint(x / scale[:, None]) + zero_point[:, None].astype(F32), low, 255)
    return np.where(np.isnan(scale)[:, None], zero_point[:, None], q).astype(np.uint8)


def dequantize(data: np.ndarray, scale: np.ndarray, zero_point: np.ndarray) -> np.ndarray:
    """float32 (data - zero_point) · scale, rows first."""
    return (data.astype(np.int32) - zero_point[:, None].astype(np.int32)).astype(F32) * scale[:, None]


def quantize_weight(weight: np.ndarray, group: int, limit: int) -> tuple[np.ndarray, np.ndarray]:
    """int8 [N, K] and scale [N, groups] of float32 weight [N, K]: symmetric, scale = max|w| / limit."""
    n, k = weight.shape
    groups = max(1, -(-k // group))
    q, scale = np.zeros((n, k), np.int8), np.ones((n, groups), F32)
    for g in range(groups):
        part = weight[:, g * group : (g + 1) * group]
        step = np.abs(part).max(axis=1, initial=0).astype(F32) / F32(limit)
        scale[:, g] = np.where(step == 0, F32(1), step)
        q[:, g * group : (g + 1) * group] = np.clip(np.rint(part / scale[:, g, None]), -limit, limit)
    return q, scale


# -- products -----------------------------------------------------------------------------------
def exact_product(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Σ_k a[m, k] · b[n, k] in int64. Through float64 BLAS where that is exact (below 2^53), for speed."""
    if a.shape[-1] < 2**36:
        return (a.astype(np.float64) @ b.astype(np.float64).T).astype(np.int64)
    return a.astype(np.int64) @ b.astype(np.int64).T


def linear(
    x: np.ndarray,
    q: np.ndarray,
    scale: np.ndarray,
    bias: np.ndarray,
    *,
    bits: int = 8,
    group: int = 0,
    per_tensor: bool = False,
) -> np.ndarray:
    """float32 [M, N] of float32 x [M, K], weight q int8 [N, K] with scale [N, groups] float32.

    y = float32(Σ (qx - zero_point)·q) · (scale_x · scale) + bias                       one scale per channel
    y = (Σ_g float32(Σ qx·q) · scale_g - float32(zero_point) · weighted_sum) · scale_x + bias       per group
    """
    rows = x.reshape(1, -1) if per_tensor else x
    scale_x, zero_point = row_parameters(rows)
    if per_tensor:
        scale_x, zero_point = np.repeat(scale_x, len(x)), np.repeat(zero_point, len(x))
    qx = quantize_rows(x, scale_x, zero_point)
    with np.errstate(all="ignore"):
        if not group:
            acc = exact_product(qx.astype(np.int32) - zero_point[:, None], q)
            return acc.astype(F32) * (scale_x[:, None] * scale[:, 0]) + bias
        times = F32(16 if bits == 4 else 1)
        total: np.ndarray = np.zeros((len(x), len(q)), F32)
        weighted: np.ndarray = np.zeros(len(q), F32)
        for g in range(scale.shape[1]):
            part = slice(g * group, (g + 1) * group)
            step = scale[:, g] / times
            total = total + (exact_product(qx[:, part], q[:, part]) * int(times)).astype(F32) * step
            weighted = weighted + (q[:, part].sum(axis=1, dtype=np.int64) * int(times)).astype(F32) * step
        return (total - zero_point.astype(F32)[:, None] * weighted) * scale_x[:, None] + bias


def matmul_integer(a: np.ndarray, b: np.ndarray, a_zero: np.ndarray, b_zero: np.ndarray) -> np.ndarray:
    """int32 [M, N] = Σ (a - a_zero[m]) · (b - b_zero[n]) modulo 2^32; a [M, K], b [K, N]. ONNX MatMulInteger-10."""
    left = a.astype(np.int64) - a_zero.astype(np.int64)[:, None]
    right = b.astype(np.int64) - b_zero.astype(np.int64)
    return exact_product(left, right.T).astype(np.int32)
