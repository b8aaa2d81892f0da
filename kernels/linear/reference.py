"""The numpy reference of every kernel: it defines every result, rounding included. It imports numpy only.

All float arithmetic is float32, one rounding per operation, in the order written. Integers are int64, hence exact.
"""

from __future__ import annotations

import numpy as np

from ..base.exact import F32, LARGEST, bfloat16_up, exact_product, fma
from ..quantize.reference import quantize_rows, row_parameters

# -- quantization -------------------------------------------------------------------------------


#: Of a group of symmetric 4-bit weights: the candidates for max|w| / scale. The first is the plain choice.
DIVISORS = np.array([7, *(d / 4 for d in range(24, 40) if d != 28)], F32)
#: Of a group with zero points: the candidates for how far its range is shrunk.
SHRINKS = np.array([1, *(f / 50 for f in range(38, 54) if f != 50)], F32)


def quantize_weight(weight: np.ndarray, group: int, limit: int, short: bool) -> tuple[np.ndarray, np.ndarray]:
    """int8 [N, K] and scale [N, groups] of float32 weight [N, K]: symmetric, scale = max|w| / limit.

    `short`: scales are rounded up to bfloat16. A scale whose limit-fold is no float32 gives way to the next smaller.
    """
    n, k = weight.shape
    groups = max(1, -(-k // group))
    q, scale = np.zeros((n, k), np.int8), np.ones((n, groups), F32)
    for g in range(groups):
        part = weight[:, g * group : (g + 1) * group]
        step = np.abs(part).max(axis=1, initial=0).astype(F32) / F32(limit)
        step = bfloat16_up(step) if short else step
        with np.errstate(over="ignore"):
            beyond = np.isinf(step * F32(limit))
        step[beyond] = (step[beyond].view(np.uint32) - np.uint32(0x10000 if short else 1)).view(F32)
        scale[:, g] = np.where(step == 0, F32(1), step)
        q[:, g * group : (g + 1) * group] = np.clip(np.rint(part / scale[:, g, None]), -limit, limit)
    return q, scale


def search_groups(weight: np.ndarray, group: int, zero_points: bool) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """int8 [N, K], scale [N, groups] and zero point (uint8) of float32 weight [N, K] in 4 bits: q · scale ≈ w.

    Each group takes the first candidate of the least cost = scale² · Σ (w / scale - q)², where
    q = clip(rint(w / scale) + zero_point, low, high) - zero_point; the sum in float32 in the order of k, its product
    with scale² in float64. A candidate is none whose scale is 0, or whose largest value is no float32.
    """
    n, k = weight.shape
    groups = max(1, -(-k // group))
    low, high = (0, 15) if zero_points else (-8, 7)
    q, scale, zero_point = np.zeros((n, k), np.int8), np.ones((n, groups), F32), np.zeros((n, groups), np.uint8)
    for g in range(groups):
        part = weight[:, g * group : (g + 1) * group]
        with np.errstate(all="ignore"):
            steps, zeros = _ranges(part) if zero_points else _magnitudes(part)  # [N, candidates] each
            total = np.zeros(steps.shape, F32)
            for column in part.T:
                ratio = column[:, None] / steps
                gap = ratio - (np.clip(np.rint(ratio) + zeros, low, high).astype(F32) - zeros)
                total = total + gap * gap
            cost = total.astype(np.float64) * steps.astype(np.float64) ** 2
            none = (steps == 0) | np.isinf(steps * np.maximum(zeros - F32(low), F32(high) - zeros))
            cost = np.where(none | np.isnan(cost), np.inf, cost)
        rows, best = np.arange(n), cost.argmin(axis=1)
        empty = np.isinf(cost[rows, best])
        scale[:, g] = np.where(empty, F32(1), steps[rows, best])
        zero_point[:, g] = np.where(empty, F32(0), zeros[rows, best])
        shift = zero_point[:, g, None].astype(F32)
        q[:, g * group : (g + 1) * group] = np.clip(np.rint(part / scale[:, g, None]) + shift, low, high) - shift
    return q, scale, zero_point


def _magnitudes(part: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The symmetric candidates: scale = ±16·up(max|w| / 16d), all positive ones first; zero point 0."""
    largest = np.abs(part).max(axis=1, initial=0).astype(F32)
    step = F32(16) * bfloat16_up(largest[:, None] / (F32(16) * DIVISORS))
    return np.concatenate([step, -step], axis=1), np.zeros((len(part), 2 * len(DIVISORS)), F32)


def _ranges(part: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The candidates with zero points: scale = up(f·(hi/2 - lo/2) / 7.5), zero point = clip(rint(-f·lo / scale))."""
    low = part.min(axis=1, initial=0).astype(F32)[:, None]
    high = part.max(axis=1, initial=0).astype(F32)[:, None]
    step = bfloat16_up(SHRINKS * (high * F32(0.5) - low * F32(0.5)) / F32(7.5))
    return step, np.clip(np.rint(-(SHRINKS * low) / np.where(step == 0, F32(1), step)), 0, 15).astype(F32)


# -- products -----------------------------------------------------------------------------------


def linear(
    x: np.ndarray,
    q: np.ndarray,
    scale: np.ndarray,
    bias: np.ndarray,
    *,
    group: int = 0,
    per_tensor: bool = False,
    x_bits: int = 8,
) -> np.ndarray:
    """float32 [M, N] of float32 x [M, K], weight q int8 [N, K] with scale [N, groups] float32.

    q is what multiplies the scale: with zero points, the stored integer less the zero point.

    y = float32(Σ (qx - zero_point)·q) · (scale_x · scale) + bias                       one scale per channel; the sum
        is 256·Σ (high - high of zero_point)·q + Σ (low - low of zero_point)·q where x has 16 bits
    y = (t - float32(zero_point) · weighted_sum) · scale_x + bias                       per group, where
        t = fma(float32(Σ qx·q), scale_g, t) and weighted_sum = fma(float32(Σ q), scale_g, weighted_sum) for all g,
        the latter kept finite: what is beyond the largest float32 becomes that
    """
    rows = x.reshape(1, -1) if per_tensor else x
    steps = 2**x_bits - 1
    scale_x, zero_point = row_parameters(rows, steps=steps)
    if per_tensor:
        scale_x, zero_point = np.repeat(scale_x, len(x)), np.repeat(zero_point, len(x))
    qx = quantize_rows(x, scale_x, zero_point, steps=steps)
    with np.errstate(all="ignore"):
        if not group:
            acc = exact_product(qx.astype(np.int32) - zero_point[:, None], q)
            return acc.astype(F32) * (scale_x[:, None] * scale[:, 0]) + bias
        total: np.ndarray = np.zeros((len(x), len(q)), F32)
        weighted: np.ndarray = np.zeros(len(q), F32)
        for g in range(scale.shape[1]):
            part = slice(g * group, (g + 1) * group)
            total = fma(exact_product(qx[:, part], q[:, part]).astype(F32), scale[:, g], total)
            weighted = fma(q[:, part].sum(axis=1, dtype=np.int64).astype(F32), scale[:, g], weighted)
            weighted = np.clip(weighted, -LARGEST, LARGEST)
        return (total - zero_point.astype(F32)[:, None] * weighted) * scale_x[:, None] + bias



