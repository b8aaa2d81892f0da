"""Integers of a weight that are chosen for data: what rounding one column adds, the columns behind it take away again.

    for k ascending:   q[:, k] = clip(rint(w[:, k] / scale))
                       e = (w[:, k] - q[:, k] · scale) / U[k, k]
                       w[:, j] -= e · U[k, j]     for all j > k

U is the upper Cholesky factor of H⁻¹, H = Σ xᵀx + 1 % of its mean diagonal. The scale of a channel is that of the
weight as it is given; that of a group, of the weight as it is when its first column comes. In float64.
Integers and scales are of the form that plain rounding gives, so kernels and artifacts know nothing of it.

Source: Frantar et al., GPTQ (2023), without reordering.
"""

from __future__ import annotations

import hashlib

import numpy as np

from ...arguments.literals import Bits, Granularity, GroupSize
from ...operators.linear import schemes

#: Columns between which errors are carried on at once; then to all behind them in one product.
BLOCK = 32
DAMPING = 0.01
#: Factors that are kept.
KEPT = 2
_LAST: dict[bytes, np.ndarray] = {}


def rounded(
    weight: np.ndarray, gram: np.ndarray, bits: Bits, granularity: Granularity, group_size: GroupSize | None
) -> tuple[np.ndarray, np.ndarray]:
    """int8 q [N, K] and scales [N or 1, groups] of float32 weight [N, K], for Σ xᵀx [K, K]."""
    n, k = weight.shape
    group = group_size or k
    least, most = (-8, 7) if bits == 4 and group_size else (-schemes.LIMITS[bits], schemes.LIMITS[bits])
    factor = _remembered(gram)
    left, q = weight.astype(np.float64), np.zeros((n, k), np.int8)
    scales = []
    for first in range(0, k, min(BLOCK, group)):
        last = min(first + min(BLOCK, group), k)
        if first % group == 0:
            part = left[:, first : first + group].astype(np.float32)
            _, scale, _ = schemes.quantize_weight(part, bits, granularity, group_size, True)
            scales.append(scale)
        errors = np.zeros((n, last - first))
        for j in range(first, last):
            step = scales[-1][:, 0].astype(np.float64)
            q[:, j] = np.clip(np.rint(left[:, j] / step), least, most)
            error = (left[:, j] - q[:, j] * step) / factor[j, j]
            left[:, j:last] -= np.outer(error, factor[j, j:last])
            errors[:, j - first] = error
        left[:, last:] -= errors @ factor[first:last, last:]
    return q, np.concatenate(scales, axis=1)


def _remembered(gram: np.ndarray) -> np.ndarray:
    """`_factor`, kept for the next layers: those of one x come one after another."""
    key = hashlib.sha256(np.ascontiguousarray(gram).data).digest()
    factor = _LAST.get(key)
    if factor is None:
        factor = _factor(gram)
        while len(_LAST) >= KEPT:
            _LAST.pop(next(iter(_LAST)), None)
        _LAST[key] = factor
    return factor


def _factor(gram: np.ndarray) -> np.ndarray:
    """U of a positive definite H: H⁻¹ = Uᵀ U."""
    diagonal = np.diagonal(gram)
    damping = DAMPING * diagonal.mean() or 1.0
    damped = gram + np.diag(np.where(diagonal == 0, damping, 0) + damping)
    upper: np.ndarray = np.linalg.cholesky(np.linalg.inv(damped)).T
    return upper
