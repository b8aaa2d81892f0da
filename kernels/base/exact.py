"""Arithmetic that the references need beside float32: exact integer products, fma, rounding to bfloat16."""

from __future__ import annotations

import numpy as np

F32 = np.float32


#: What sums of a group's weights are kept within, so that a zero point of 0 times one is 0.
LARGEST = np.finfo(F32).max


def bfloat16_up(values: np.ndarray) -> np.ndarray:
    """Float32 values ≥ 0 rounded up to bfloat16: floats whose low 16 bits are 0."""
    bits = np.ascontiguousarray(values, F32).view(np.uint32).astype(np.int64)
    return ((bits + 0xFFFF) & 0xFFFF0000).astype(np.uint32).view(F32)


def exact_product(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Σ_k a[m, k] · b[n, k] in int64. By float64 BLAS where that is exact (x of 16 bits: below 2^53), for speed."""
    if a.shape[-1] < 2**28:
        return (a.astype(np.float64) @ b.astype(np.float64).T).astype(np.int64)
    return a.astype(np.int64) @ b.astype(np.int64).T


def fma(a: np.ndarray, b: np.ndarray, c: np.ndarray) -> np.ndarray:
    """float32 a·b + c with one rounding.

    In float64 the product is exact. A sum that is not is made odd, the neighbour of the exact value whose last bit is
    1: then rounding to float32, many bits shorter, cannot meet a tie that is none (Boldo and Melquiond, 2008).
    """
    with np.errstate(all="ignore"):
        product, addend = a.astype(np.float64) * b, c.astype(np.float64)
        total = product + addend
        part = total - product
        rest = (product - (total - part)) + (addend - part)  # product + addend - total, exactly
        bits = total.view(np.int64)
        inexact = np.isfinite(total) & (rest != 0) & (bits & 1 == 0)
        bits += np.where(inexact, np.where((rest > 0) == (total > 0), 1, -1), 0)
        return total.astype(F32)
