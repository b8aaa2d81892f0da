"""The reference of products of two activations. It defines every result."""

from __future__ import annotations

import numpy as np

from ..base.exact import F32, exact_product
from ..linear.reference import linear
from ..quantize.reference import quantize_rows, row_parameters


def matmul(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """float32 [M, N] of float32 a [M, K] and b [K, N]: `linear`, with b's columns made int8, symmetric, in the call."""
    scale, zero_point = row_parameters(b.T, symmetric=True)
    q = quantize_rows(b.T, scale, zero_point, low=1).astype(np.int16) - 128
    return linear(a, q.astype(np.int8), scale[:, None], np.zeros(len(q), F32))


def matmul_integer(a: np.ndarray, b: np.ndarray, a_zero: np.ndarray, b_zero: np.ndarray) -> np.ndarray:
    """int32 [M, N] = Σ (a - a_zero[m]) · (b - b_zero[n]) modulo 2^32; a [M, K], b [K, N]. ONNX MatMulInteger-10."""
    left = a.astype(np.int64) - a_zero.astype(np.int64)[:, None]
    right = b.astype(np.int64) - b_zero.astype(np.int64)
    return exact_product(left, right.T).astype(np.int32)
