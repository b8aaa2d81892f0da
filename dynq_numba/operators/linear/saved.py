"""A PackedLinear in a file (files/fields.py has the format)."""

from __future__ import annotations

from typing import Any

import numpy as np

from ...arguments import checks
from ...files.container import Tensor
from ...files.fields import Described, Take, attributes, flag, given, read_bias, read_shape, steps, within
from ...kernels.linear.emit_rotation import BLOCKS
from . import schemes
from .pack import check_wide, outlier_columns
from .packed import X_BITS, X_GRANULARITIES, PackedLinear

#: Rows of a weight without columns, which no byte of a file stands for.
MOST_EMPTY_ROWS = 1 << 20


def _sixteenths(scale: np.ndarray) -> bool:
    """Whether panels can hold these scales, as bfloat16 of a sixteenth."""
    part = scale / np.float32(16)
    return not (part.view(np.uint32) & 0xFFFF).any() and np.array_equal(part * np.float32(16), scale)


def _half(columns: int) -> int:
    return (columns + 1) // 2


def _to_nibbles(q: np.ndarray) -> np.ndarray:
    low, high = q.view(np.uint8)[:, 0::2] & 15, q.view(np.uint8)[:, 1::2] << 4
    low[:, : high.shape[1]] |= high
    return low


def _from_nibbles(pairs: np.ndarray, columns: int) -> np.ndarray:
    q = np.empty((len(pairs), columns), np.int8)
    q[:, 0::2], q[:, 1::2] = pairs & 15, pairs[:, : columns // 2] >> 4
    if columns % 2:
        within("the nibble after the last column", pairs[:, -1] >> 4, 0, 0)
    return q


def describe_linear(w: PackedLinear) -> Described:
    n, k = w.shape
    _check_empty(n, k, bool(w.outliers))
    about = {
        "shape": [n, k], "bits": w.bits, "granularity": w.granularity, "group_size": w.group_size,
        "activations": w.x_granularity, "symmetric": w.symmetric, "rotate": w.rotate, "bias": w.bias is not None,
        "outliers": list(w.outliers),
    }  # fmt: skip
    if w.x_bits != 8:  # else left out, as in files of versions that had only these
        about["x_bits"] = w.x_bits
    scale, zero_point = w.scale, w.zero_point

    def integers() -> np.ndarray:
        if w.bits == 8:
            return w.qweight
        q = w.qweight
        if zero_point is not None:
            q += schemes.expand(zero_point, k, w.group_size).astype(np.int8)
        return _to_nibbles(q)

    shape = (n, k) if w.bits == 8 else (n, _half(k))
    tensors = {"qweight": Tensor("I8" if w.bits == 8 else "U8", shape, integers), "scale": given("F32", scale)}
    if w.group_size:
        tensors["scale"] = Tensor("BF16", scale.shape, lambda: scale.view(np.uint32) >> 16)
    if zero_point is not None:
        tensors["zero_point"] = given("U8", zero_point)
    if w.bias is not None:
        tensors["bias"] = given("F32", w.bias)
    if w.outliers:
        tensors["floats"] = given("F32", w._first.floats)
    return about, tensors


def _check_empty(n: int, k: int, outliers: bool) -> None:
    if k == 0 and n > MOST_EMPTY_ROWS:
        raise ValueError(f"a weight without columns must have at most {MOST_EMPTY_ROWS} rows in a file; got {n}")
    if n == 0 and k > MOST_EMPTY_ROWS and outliers:  # which take room for each column
        raise ValueError(f"a weight without rows must have at most {MOST_EMPTY_ROWS} columns with outliers; got {k}")


def restore_linear(about: dict[str, Any], take: Take) -> PackedLinear:
    shape, bits, granularity, group, activations, symmetric, rotate, bias, outliers, x_bits = attributes(
        {"x_bits": 8} | about,
        "shape", "bits", "granularity", "group_size", "activations", "symmetric", "rotate", "bias", "outliers",
        "x_bits",
    )  # fmt: skip
    n, k = read_shape(shape, 2)
    _check_empty(n, k, bool(outliers))
    checks.choice("bits", bits, schemes.LIMITS)
    checks.choice("granularity", granularity, schemes.GRANULARITIES)
    checks.choice("group_size", group, schemes.GROUP_SIZES if granularity == "per_group" else (None,))
    checks.choice("activations", activations, X_GRANULARITIES)
    if not flag("symmetric", symmetric) and (bits, granularity) != (4, "per_group"):
        raise ValueError(f"symmetric must be true of {bits} bits {granularity}")
    if rotate is not None and k % checks.choice("rotate", rotate, BLOCKS):
        raise ValueError(f"rotate must divide K; got {rotate}, K={k}")

    columns = outlier_columns(outliers, k)
    if list(columns) != outliers:
        raise ValueError(f"outliers must be a list in ascending order; got {checks.describe(outliers)}")
    if columns and rotate is not None:
        raise ValueError("outliers must be none where rotate is given")

    if checks.choice("x_bits", x_bits, X_BITS) == 16:
        check_wide(bits, granularity, rotate, columns)

    groups = max(1, -(-k // group)) if group else 1
    if group:
        scale = (take("scale", "BF16", (n, groups)).astype(np.uint32) << 16).view(np.float32)
    else:
        scale = take("scale", "F32", () if granularity == "per_tensor" else (n,)).reshape(-1, 1).copy()
    four_in_groups = bits == 4 and group is not None
    limit, zero_point = schemes.LIMITS[bits] + (four_in_groups and symmetric), None
    steps(scale, limit, signed=four_in_groups and symmetric)
    if four_in_groups and symmetric and not _sixteenths(scale):
        raise ValueError("scale of groups of 4 bits must be 16 times a bfloat16")
    if bits == 8:
        q = take("qweight", "I8", (n, k)).copy()
        within("qweight", q, -limit, limit)
    else:
        q = _from_nibbles(take("qweight", "U8", (n, _half(k))), k)
        if symmetric:
            q = (q ^ 8) - 8
            within("qweight", q, -limit, schemes.LIMITS[bits])
        else:
            zero_point = take("zero_point", "U8", (n, groups)).copy()
            within("zero_point", zero_point, 0, 15)
            q -= schemes.expand(zero_point, k, group).astype(np.int8)
    within("qweight in the columns of outliers", q[:, columns], 0, 0)
    floats = take("floats", "F32", (len(columns), n)).copy() if columns else None
    if floats is not None and not np.isfinite(floats).all():
        raise ValueError("floats must be finite")
    return PackedLinear(
        q, scale, read_bias(bias, take, n), bits, granularity, group, activations, zero_point, rotate, columns, floats,
        x_bits,
    )  # fmt: skip
