"""The reference of float32 products. It defines every result, but for the payload of NaN."""

from __future__ import annotations

import numpy as np

from ..base.exact import F32, fma


def product(a: np.ndarray, b: np.ndarray, bias: np.ndarray | None = None) -> np.ndarray:
    """float32 [..., M, N] = bias + a [..., M, K] · b [..., K, N]: one chain of fma from bias [N] or 0, k ascending."""
    batch = np.broadcast_shapes(a.shape[:-2], b.shape[:-2])
    sums = np.zeros((*batch, a.shape[-2], b.shape[-1]), F32)
    if bias is not None:
        sums[...] = bias
    for k in range(a.shape[-1]):
        sums = fma(a[..., k, None], b[..., k, None, :], sums)
    return sums
