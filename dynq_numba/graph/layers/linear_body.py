"""What a quantized linear means in standard ONNX: the functions, and their inputs of a weight.

    Linear           x, uint8 weight [K, N] (integers + 128), scale [N], column sums [N], bias [N]       exact
    LinearLong       the same from MOST_K on, where an int32 sum may wrap: products in float64           exact
    Linear16         the same inputs, x as 16 bits: high and low bytes, joined in int64                  exact
    Linear16Long     the same from MOST_K on                                                             exact
    LinearGroup⟨g⟩   x, int4 weight [N, K], scale [N, K/g], weighted sums [N], bias [N]                  exact
    LinearGroup⟨g⟩_8  the same of an int8 weight                                                        exact
      …_wide, …_ties  the same, where float32 or float64 cannot hold what is added                      exact
    …_outliers       the same, and columns [C], their float32 weights [C, N] (treatment.py)              exact

A group's sum times its scale is added to the others by a fused multiply-add, group after group (kernels/linear/
reference.py), here in a Scan. How, the scales decide:

    Mul, Add in float32       float32 holds every product, as of 4 bits, groups of 32 and scales of 8 bits
    in float64 (wide)         float64 holds every sum: each is a multiple of the lowest bit of a scale, below 2⁵³ of it
    … and repaired (ties)     else; a sum may be rounded to just the middle between two float32, and is then moved
                              towards what was rounded off, so that rounding once more goes the right way
"""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from ...kernels.base.exact import LARGEST, fma
from ..functions import BYTES, DEQUANTIZE, MOST_K, QUANTIZE, function
from .base import Roles
from .treatment import with_outliers

_AXES = """
    axes = Constant <value_ints: ints = [-1]> ()
"""
_EXACT = _AXES + QUANTIZE + BYTES + """
    products = MatMulInteger (bytes, weight, none, middle)
    excess = Mul (zero_points, column_sum)
    sums = Sub (products, excess)
""" + DEQUANTIZE  # fmt: skip
_PRODUCTS_IN_FLOAT64 = """
    centred = Sub (q, zero_point)
    left = Cast <to: int = 11> (centred)
    unsigned = Cast <to: int = 11> (weight)
    middle = Constant <value: tensor = double {128.0}> ()
    right = Sub (unsigned, middle)
    sums = MatMul (left, right)
""" + DEQUANTIZE  # fmt: skip
_LONG = _AXES + QUANTIZE + _PRODUCTS_IN_FLOAT64
_SIXTEEN = QUANTIZE.replace("255.0", "65535.0")
_EXACT_16 = _AXES + _SIXTEEN + """
    base = Constant <value_float: float = 256.0> ()
    parts = Div (q, base)
    upper = Floor (parts)
    above = Mul (upper, base)
    lower = Sub (q, above)
    upper_bytes = Cast <to: int = 2> (upper)
    lower_bytes = Cast <to: int = 2> (lower)
    middle = Constant <value: tensor = uint8 {128}> ()
    none = Constant <value: tensor = uint8 {0}> ()
    upper_sums = MatMulInteger (upper_bytes, weight, none, middle)
    lower_sums = MatMulInteger (lower_bytes, weight, none, middle)
    upper_wide = Cast <to: int = 7> (upper_sums)
    lower_wide = Cast <to: int = 7> (lower_sums)
    times = Constant <value_int: int = 256> ()
    upper_part = Mul (upper_wide, times)
    products = Add (upper_part, lower_wide)
    zero_points = Cast <to: int = 7> (zero_point)
    column_sums = Cast <to: int = 7> (column_sum)
    excess = Mul (zero_points, column_sums)
    sums = Sub (products, excess)
""" + DEQUANTIZE  # fmt: skip
_GROUP = _AXES + QUANTIZE + """
    bytes = Cast <to: int = 2> (q)
    size = Constant <value_ints: ints = [GROUP]> ()
    open = Constant <value_ints: ints = [-1]> ()
    groups = Shape <start: int = 1> (weight_scale)
    by_group = Concat <axis: int = 0> (open, groups, size)
    rows = Reshape (bytes, by_group)
    left = Transpose <perm: ints = [1, 0, 2]> (rows)
    in_32_bits = Cast <to: int = 6> (weight)
    middle = Constant <value: tensor = int32 {128}> ()
    above = Add (in_32_bits, middle)
    integers = Cast <to: int = 2> (above)
    columns = Reshape (integers, by_group)
    right = Transpose <perm: ints = [1, 2, 0]> (columns)
    scales = Transpose <perm: ints = [1, 0]> (weight_scale)
    count = Shape <end: int = 1> (rows)
    outputs = Shape <end: int = 1> (weight)
    shape = Concat <axis: int = 0> (count, outputs)
    begin = Expand (zero, shape)
    total = Scan <num_scan_inputs: int = 3, body: graph = group
        (float[m, n] before, uint8[m, g] x_part, uint8[g, n] w_part, float[n] s_part) => (float[m, n] after) {
        x_point = Constant <value: tensor = uint8 {0}> ()
        w_point = Constant <value: tensor = uint8 {128}> ()
        products = MatMulInteger (x_part, w_part, x_point, w_point)
ADDED    }> (begin, left, right, scales)
    before_last = Shape <end: int = -1> (x)
    result_shape = Concat <axis: int = 0> (before_last, outputs)
    sums = Reshape <allowzero: int = 1> (total, result_shape)
    excess = Mul (zero_point, weighted_sum)
    centred = Sub (sums, excess)
    scaled = Mul (centred, row_scale)
    y = Add (scaled, bias)
"""
#: before + products · s_part, rounded once.
_ADDED_IN_FLOAT32 = """
        floats = Cast <to: int = 1> (products)
        term = Mul (floats, s_part)
        after = Add (term, before)
"""
_SUM_IN_FLOAT64 = """
        wide = Cast <to: int = 11> (products)
        wide_s = Cast <to: int = 11> (s_part)
        term = Mul (wide, wide_s)
        addend = Cast <to: int = 11> (before)
        sum = Add (term, addend)
"""
_ADDED_IN_FLOAT64 = _SUM_IN_FLOAT64 + """
        after = Cast <to: int = 1> (sum)
"""
#: The float32 nearest to term + addend, which are float64.
REPAIRED = """
        of_addend = Sub (sum, term)
        of_term = Sub (sum, of_addend)
        lost_term = Sub (term, of_term)
        lost_addend = Sub (addend, of_addend)
        lost = Add (lost_term, lost_addend)
        splitter = Constant <value: tensor = double {268435457.0}> ()
        spread = Mul (sum, splitter)
        beneath = Sub (spread, sum)
        of_25_bits = Sub (spread, beneath)
        middle_or_float = Equal (of_25_bits, sum)
        last_bit = Constant <value: tensor = double {2.220446049250313e-16}> ()
        magnitude = Abs (sum)
        bit = Mul (magnitude, last_bit)
        way = Sign (lost)
        towards = Mul (bit, way)
        moved = Add (sum, towards)
        right_one = Where (middle_or_float, moved, sum)
        after = Cast <to: int = 1> (right_one)
"""
_ADDED_AND_REPAIRED = _SUM_IN_FLOAT64 + REPAIRED
#: Function and body by bits of x, and whether K is beyond MOST_K.
_BODIES = {
    (8, False): ("Linear", _EXACT), (8, True): ("LinearLong", _LONG),
    (16, False): ("Linear16", _EXACT_16), (16, True): ("Linear16Long", _AXES + _SIXTEEN + _PRODUCTS_IN_FLOAT64),
}  # fmt: skip


def exact_linear() -> ir.Function:
    """The function of 8-bit weights and x, for layers that are made of it."""
    return _linear(8, False)


def of_channels(
    q: np.ndarray, scale: np.ndarray, bias: np.ndarray, x_bits: int = 8, outliers: bool = False
) -> tuple[ir.Function, Roles]:
    """The function of integers [N, K] within ±127 with a scale [N], and what it takes behind x, but for outliers."""
    sums = q.sum(axis=1, dtype=np.int32)
    inputs: Roles = [("weight", biased(q.T)), ("scale", scale), ("column_sum", sums), ("bias", bias)]
    return _linear(x_bits, q.shape[1] > MOST_K, outliers), inputs


def of_groups(
    q: np.ndarray, scale: np.ndarray, bias: np.ndarray, bits: int, outliers: bool = False
) -> tuple[ir.Function, Roles]:
    """The same of integers of 4 or 8 bits whose groups have a scale each, [N, K/g]."""
    dtype = ir.DataType.INT4 if bits == 4 else ir.DataType.INT8
    inputs: Roles = [
        ("weight", ir.tensor(q.astype(dtype.numpy()), dtype)), ("scale", scale),
        ("weighted_sum", weighted_sums(q, scale)), ("bias", bias),
    ]  # fmt: skip
    return _grouped(bits, scale, q.shape[1] // scale.shape[1], outliers), inputs


def _linear(x_bits: int, long: bool, outliers: bool = False) -> ir.Function:
    name, body = _BODIES[x_bits, long]
    return _function(name, "x, weight, weight_scale, column_sum, bias", body, outliers)


def _function(name: str, inputs: str, body: str, outliers: bool) -> ir.Function:
    return function(*with_outliers(name, inputs, body, REPAIRED) if outliers else (name, inputs, body))


def _grouped(bits: int, scale: np.ndarray, group: int, outliers: bool) -> ir.Function:
    how, added = _adding(group * 255 * (8 if bits == 4 else 128), scale)
    body = _GROUP.replace("ADDED", added).replace("GROUP", str(group))
    name = f"LinearGroup{group}{'_8' * (bits == 8)}{how}"
    return _function(name, "x, weight, weight_scale, weighted_sum, bias", body, outliers)


def _adding(most: int, scale: np.ndarray) -> tuple[str, str]:
    """How sums of groups are added up, by its name: `most` is the largest one, scale [N, K/g]."""
    mantissa, exponent = np.frexp(np.abs(scale).astype(np.float64))
    whole = np.ldexp(mantissa, 24).astype(np.int64)  # an integer, as float32 has 24 bits
    lowest = np.maximum(whole & -whole, 1)
    if most * int((whole // lowest).max()) <= 1 << 24:
        return "", _ADDED_IN_FLOAT32
    unit = np.where(whole, np.ldexp(lowest.astype(np.float64), exponent - 24), np.inf).min(axis=1)
    if (2 * most * np.abs(scale).sum(axis=1, dtype=np.float64) <= np.ldexp(unit, 53)).all():
        return "_wide", _ADDED_IN_FLOAT64
    return "_ties", _ADDED_AND_REPAIRED


def weighted_sums(q: np.ndarray, scale: np.ndarray) -> np.ndarray:
    """Σ_g Σ q · scale [N] of q [N, K] and scale [N, K/g], as kernels/linear/reference.py adds it."""
    sums = q.reshape(*scale.shape, -1).sum(axis=2, dtype=np.int64).astype(np.float32)
    total = np.zeros(len(q), np.float32)
    for g in range(scale.shape[1]):
        total = np.clip(fma(sums[:, g], scale[:, g], total), -LARGEST, LARGEST)
    return total


def biased(q: np.ndarray) -> np.ndarray:
    """Integers in [-127, 127] as uint8 about 128."""
    return np.ascontiguousarray(q).view(np.uint8) ^ np.uint8(128)
