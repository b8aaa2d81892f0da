"""What `save` writes of a packed weight and how `load` makes it again: attributes as JSON, and arrays by role.

    kind        attributes beside it                            arrays (F32 where nothing is said)
    linear      shape [N, K], bits, granularity, group_size,    qweight I8 [N, K]; of 4 bits U8 [N, ceil(K / 2)];
                activations, symmetric, rotate, bias, outliers  scale [], [N], of groups BF16 [N, groups];
                                                                zero_point U8 [N, groups]; bias [N];
                                                                floats [outliers, N]
    conv        shape, stride, padding, dilation, groups, bias  qweight I8 shape; scale [O]; bias [O]
    embedding   shape [V, D], bits                              qweight U8 [V, ceil(D · bits / 8)]; scale, minimum [V]
    lstm,       hidden_size, direction, activations, clip,      alpha, beta F64 [directions, activations];
    gru, rnn    input_forget, linear_before_reset, peepholes,   peepholes [directions, 3, H]; of weight i of direction
                weights: a list for each direction, of linears  d those of a linear, their roles behind "d.i."

`symmetric`, `bias` and `peepholes` are booleans, and tell whether there are zero points, a bias, peepholes. Two 4-bit
integers share a byte. Of a linear, columns 2j (low nibble) and 2j + 1: two's complement, or with zero points what is
stored (0 … 15), the integer + zero_point. Of an embedding, columns j (low) and j + ceil(D / 2). A nibble without a
column is 0.

Whatever comes from a file is held to what the pack functions make, ValueError or TypeError where it is something else,
before there is an object: a file may be forged, and compiled code trusts a packed weight.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from ..arguments import checks
from ..kernels.embedding.reference import HEAD, row_bytes
from ..kernels.linear.emit_rotation import BLOCKS
from ..operators.conv.packed import PackedConv, convolution_geometry
from ..operators.embedding.packed import MAX_ROWS, PackedEmbedding
from ..operators.linear import schemes
from ..operators.linear.pack import outlier_columns
from ..operators.linear.packed import X_GRANULARITIES, PackedLinear
from .container import Tensor

Described = tuple[dict[str, Any], dict[str, Tensor]]
#: Gives the array of a role, having checked that it is there with this type's name and shape.
Take = Callable[[str, str, tuple[int, ...]], np.ndarray]
#: Rows of a weight without columns, which no byte of a file stands for.
MOST_EMPTY_ROWS = 1 << 20


def given(code: str, array: np.ndarray) -> Tensor:
    """An array that is there already."""
    return Tensor(code, array.shape, lambda: array)


def attributes(about: dict[str, Any], *names: str) -> list[Any]:
    """The attributes, which are these and no others beside the kind."""
    if set(about) != {"kind", *names}:
        raise ValueError(f"attributes must be {', '.join(names)}; got {', '.join(about)}")
    return [about[name] for name in names]


def _shape(value: Any, *axes: int) -> tuple[int, ...]:
    if type(value) is not list or len(value) not in axes or any(type(n) is not int or n < 0 for n in value):
        raise ValueError(f"shape must be {' or '.join(map(str, axes))} sizes; got {checks.describe(value)}")
    return tuple(value)


def flag(name: str, value: Any) -> bool:
    if type(value) is not bool:
        raise ValueError(f"{name} must be true or false; got {checks.describe(value)}")
    return value


def _within(name: str, values: np.ndarray, low: int, high: int) -> None:
    if values.size and not (low <= values.min() and values.max() <= high):
        raise ValueError(f"{name} must be from {low} to {high}; got {values.min()} … {values.max()}")


def _steps(scale: np.ndarray, most: int, signed: bool = False) -> None:
    """Scales are such: not 0, and finite times the largest integer."""
    with np.errstate(all="ignore"):
        fine = np.isfinite(scale * np.float32(most)) & (scale != 0 if signed else scale > 0)
    if not fine.all():
        raise ValueError(f"scale must be {'other than 0' if signed else 'positive'}, and finite times {most}")


def _bias(about: Any, take: Take, count: int) -> np.ndarray | None:
    return take("bias", "F32", (count,)).copy() if flag("bias", about) else None


# -- linear


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
        _within("the nibble after the last column", pairs[:, -1] >> 4, 0, 0)
    return q


def describe_linear(w: PackedLinear) -> Described:
    n, k = w.shape
    _check_empty(n, k, bool(w.outliers))
    about = {
        "shape": [n, k], "bits": w.bits, "granularity": w.granularity, "group_size": w.group_size,
        "activations": w.x_granularity, "symmetric": w.symmetric, "rotate": w.rotate, "bias": w.bias is not None,
        "outliers": list(w.outliers),
    }  # fmt: skip
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
    shape, bits, granularity, group, activations, symmetric, rotate, bias, outliers = attributes(
        about, "shape", "bits", "granularity", "group_size", "activations", "symmetric", "rotate", "bias", "outliers"
    )
    n, k = _shape(shape, 2)
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

    groups = max(1, -(-k // group)) if group else 1
    if group:
        scale = (take("scale", "BF16", (n, groups)).astype(np.uint32) << 16).view(np.float32)
    else:
        scale = take("scale", "F32", () if granularity == "per_tensor" else (n,)).reshape(-1, 1).copy()
    four_in_groups = bits == 4 and group is not None
    limit, zero_point = schemes.LIMITS[bits] + (four_in_groups and symmetric), None
    _steps(scale, limit, signed=four_in_groups and symmetric)
    if four_in_groups and symmetric and not _sixteenths(scale):
        raise ValueError("scale of groups of 4 bits must be 16 times a bfloat16")
    if bits == 8:
        q = take("qweight", "I8", (n, k)).copy()
        _within("qweight", q, -limit, limit)
    else:
        q = _from_nibbles(take("qweight", "U8", (n, _half(k))), k)
        if symmetric:
            q = (q ^ 8) - 8
            _within("qweight", q, -limit, schemes.LIMITS[bits])
        else:
            zero_point = take("zero_point", "U8", (n, groups)).copy()
            _within("zero_point", zero_point, 0, 15)
            q -= schemes.expand(zero_point, k, group).astype(np.int8)
    _within("qweight in the columns of outliers", q[:, columns], 0, 0)
    floats = take("floats", "F32", (len(columns), n)).copy() if columns else None
    if floats is not None and not np.isfinite(floats).all():
        raise ValueError("floats must be finite")
    return PackedLinear(
        q, scale, _bias(bias, take, n), bits, granularity, group, activations, zero_point, rotate, columns, floats
    )  # fmt: skip


# -- convolution


def describe_conv(w: PackedConv) -> Described:
    about = {
        "shape": list(w.shape), "stride": list(w.stride), "padding": [list(pair) for pair in w.padding],
        "dilation": list(w.dilation), "groups": w.groups, "bias": w.bias is not None,
    }  # fmt: skip
    tensors = {"qweight": Tensor("I8", w.shape, lambda: w.qweight), "scale": given("F32", w.scale)}
    return about, tensors | ({} if w.bias is None else {"bias": given("F32", w.bias)})


def restore_conv(about: dict[str, Any], take: Take) -> PackedConv:
    shape, stride, padding, dilation, groups, bias = attributes(
        about, "shape", "stride", "padding", "dilation", "groups", "bias"
    )
    geometry = convolution_geometry(shape := _shape(shape, 3, 4), stride, padding, dilation, groups)
    q, scale = take("qweight", "I8", shape).copy(), take("scale", "F32", shape[:1]).copy()
    _within("qweight", q, -schemes.LIMITS[8], schemes.LIMITS[8])
    _steps(scale, schemes.LIMITS[8])
    return PackedConv(q, scale, _bias(bias, take, shape[0]), geometry)


# -- embedding


def describe_embedding(table: PackedEmbedding) -> Described:
    v, d = table.shape
    rows = table._store.rows
    integers = Tensor("U8", (v, row_bytes(d, table.bits) - HEAD), lambda: rows[:, HEAD:])
    about = {"shape": [v, d], "bits": table.bits}
    return about, {"qweight": integers, "scale": given("F32", table.scale), "minimum": given("F32", table.minimum)}


def restore_embedding(about: dict[str, Any], take: Take) -> PackedEmbedding:
    shape, bits = attributes(about, "shape", "bits")
    v, d = _shape(shape, 2)
    checks.choice("bits", bits, (8, 4))
    if v >= MAX_ROWS:
        raise ValueError(f"shape must have fewer than 2^32 rows; got {v}")
    q = take("qweight", "U8", (v, row_bytes(d, bits) - HEAD))
    scale, minimum = take("scale", "F32", (v,)), take("minimum", "F32", (v,))
    _steps(scale, 1)
    if not np.isfinite(minimum).all():
        raise ValueError("minimum must be finite")
    if bits == 4 and d % 2:
        _within("the nibble after the last column", q[:, -1] >> 4, 0, 0)
    packed = PackedEmbedding((v, d), bits)
    rows = packed._store.rows
    rows[:, :HEAD] = np.stack([scale, minimum], axis=1).view(np.uint8)
    rows[:, HEAD:] = q
    return packed
