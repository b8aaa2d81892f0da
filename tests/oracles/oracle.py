"""The oracle: what every result must be, in numpy int64/float64, importing nothing of the project.

Integer products are exact in int64 (|product| <= 255*255, so K could be 1e14), by einsum rather than BLAS, whose
spinning threads cost seconds on a busy machine. The float32 results are the operations of docs/NUMERICS.md, one
rounding each, in their order, on those exact integers.

Error bounds use u = 2**-24 (half an ulp of 1 in float32), TINY = 2**-149 (the smallest float32 step, so a result that
underflows is off by at most TINY/2) and gamma(n) = n*u/(1 - n*u), the bound of n successive relative roundings.
"""

import math

import numpy as np
from oracle_weights import F32, as_float32, symmetric_rows
from oracle_weights import Weight as Weight
from oracle_weights import pack as pack
from oracle_weights import up_to_bfloat16 as up_to_bfloat16
from remembered import remembered

U = 2.0**-24
TINY = 2.0**-149
GROUP_SIZES = (32, 64, 128)
GRANULARITIES = [("per_tensor", None), ("per_channel", None), *[("per_group", size) for size in GROUP_SIZES]]
SYMMETRIC = [{"bits": bits, "granularity": name, "group_size": size} for bits in (8, 4) for name, size in GRANULARITIES]
ZERO_POINTS = [{"bits": 4, "granularity": "per_group", "group_size": g, "symmetric": False} for g in GROUP_SIZES]
SCHEMES = [*SYMMETRIC, *ZERO_POINTS]


def scheme_id(scheme):
    """A test id such as ``8-per_group-32`` or ``4-per_group-32-zero_points``."""
    parts = [str(value) for name, value in scheme.items() if value is not None and name != "symmetric"]
    return "-".join([*parts, *([] if scheme.get("symmetric", True) else ["zero_points"])])


def same_bits(actual, expected):
    """Bitwise equality of two float32 arrays; NaNs are equal whatever their payload, 0.0 and -0.0 are not."""
    actual, expected = np.asarray(actual), np.asarray(expected)
    if actual.shape != expected.shape or actual.dtype != F32 or expected.dtype != F32:
        return False
    equal = np.ascontiguousarray(actual).view(np.uint32) == np.ascontiguousarray(expected).view(np.uint32)
    return bool((equal | (np.isnan(actual) & np.isnan(expected))).all())


def assert_same_bits(actual, expected, context=""):
    """Fail with the first differing element when `same_bits` is false."""
    if same_bits(actual, expected):
        return
    actual, expected = np.asarray(actual), np.asarray(expected)
    assert actual.dtype == expected.dtype, f"{context}: dtype {actual.dtype}, expected {expected.dtype}"
    assert actual.shape == expected.shape, f"{context}: shape {actual.shape}, expected {expected.shape}"
    differ = (actual != expected) & ~(np.isnan(actual) & np.isnan(expected))
    differ |= np.signbit(actual) != np.signbit(expected)
    where = tuple(int(i) for i in np.argwhere(differ)[0])
    pair = f"{actual[where]!r}, expected {expected[where]!r}"
    raise AssertionError(f"{context}: {int(differ.sum())} of {differ.size} differ, first at {where}: {pair}")


# ------------------------------------------------------------------------------------------------ quantization


def _unsigned_rows(x):
    """DESIGN 1 on each row of `x` [R, L]: integers 0..255 (int64), scale [R] and zero point [R]."""
    lo, hi = np.min(x, axis=1, initial=F32(0)), np.max(x, axis=1, initial=F32(0))
    spread = hi - lo
    scale = np.where(np.isfinite(spread), spread / F32(255), hi / F32(255) - lo / F32(255))
    scale = np.where(scale == 0, F32(1), scale)
    zero_point = np.clip(np.rint(-lo / scale), 0, 255)
    q = np.clip(np.rint(x / scale[:, None]) + zero_point[:, None], 0, 255)
    return q, scale, zero_point


def quantize_rows(x, dtype="uint8", symmetric=False):
    """Rows of `x` [R, L] (float32) to (data int64 [R, L], scale float32 [R], zero point int64 [R])."""
    with np.errstate(all="ignore"):
        if symmetric:
            q, scale = symmetric_rows(x, 127)
            zero_point, shift = np.zeros(len(x)), 128 if dtype == "uint8" else 0
        else:
            q, scale, zero_point = _unsigned_rows(x)
            shift = -128 if dtype == "int8" else 0
    bad = ~np.isfinite(x).all(axis=1)
    q[bad], zero_point[bad] = 0, 0
    scale = np.where(bad, F32(np.nan), scale).astype(F32)
    return q.astype(np.int64) + shift, scale, zero_point.astype(np.int64) + shift


@remembered
def quantize(x, *, granularity="per_token", dtype="uint8", symmetric=False, axis=-1):
    """The public quantize: data, scale and zero point with their public dtypes and shapes."""
    x = as_float32(x)
    rows = x.reshape(1, -1) if granularity == "per_tensor" else np.moveaxis(x, axis, -1)
    lead = () if granularity == "per_tensor" else rows.shape[:-1]
    flat = rows.reshape(math.prod(lead), rows.shape[-1])
    data, scale, zero_point = quantize_rows(flat, dtype, symmetric)
    data = data.reshape(x.shape) if granularity == "per_tensor" else np.moveaxis(data.reshape(rows.shape), -1, axis)
    return data.astype(dtype), scale.reshape(lead), zero_point.astype(dtype).reshape(lead)


def spread_over(values, shape, granularity, axis):
    """Scales or zero points of `quantize` broadcast back to the shape of the data."""
    return np.broadcast_to(values if granularity == "per_tensor" else np.expand_dims(values, axis), shape)


# ------------------------------------------------------------------------------------------------ integer products


def exact_product(a, b_t):
    """``a @ b_t.T`` of integer arrays [..., M, K] and [..., N, K], exact, as int64."""
    return np.einsum("...mk,...nk->...mn", a.astype(np.int64), b_t.astype(np.int64))


@remembered
def matmul_integer(a, b, a_zero_point=0, b_zero_point=0):
    """ONNX MatMulInteger: zero points already broadcastable to `a` and `b`; int32, wrapping modulo 2**32."""
    wide_a, wide_b = a.astype(np.int64) - a_zero_point, b.astype(np.int64) - b_zero_point
    return exact_product(wide_a, np.swapaxes(wide_b, -1, -2)).astype(np.int32)


# ------------------------------------------------------------------------------------------------ linear


def _rows(x, activations):
    """`x` [..., K] as quantized rows: q [M, K], scale [M, 1], zero point [M, 1]."""
    x = as_float32(x)
    flat = x.reshape(math.prod(x.shape[:-1]), x.shape[-1])
    if activations == "per_token":
        q, scale, zero_point = quantize_rows(flat)
        return q, scale[:, None], zero_point[:, None]
    q, scale, zero_point = quantize_rows(flat.reshape(1, -1))
    ones = np.ones((len(flat), 1), np.int64)
    return q.reshape(flat.shape), scale * ones.astype(F32), zero_point * ones


@remembered
def accumulator(x, w, activations="per_token"):
    """The exact integers sum_k (qx - zx) * qw, int64 [M, N]."""
    q, _, zero_point = _rows(x, activations)
    return exact_product(q - zero_point, w.q)


def fma(a, b, c):
    """Float32 a*b + c, rounded once.

    In float64 a*b is exact; of the sum s its error e is known exactly (Knuth's two-sum). Rounding s to float32 is right
    unless s lies in the middle between two of them and e is not 0: then the side of e decides.
    """
    with np.errstate(all="ignore"):
        x, y = np.broadcast_arrays(a.astype(np.float64) * b.astype(np.float64), c.astype(np.float64))
        s = x + y
        e = (x - (s - (s - x))) + (y - (s - x))
        near = s.astype(F32)
        other = np.nextafter(near, np.where(s > near, F32(np.inf), F32(-np.inf)))
        middle = (s != near) & (s - near == other.astype(np.float64) - s)
        away = np.where(e > 0, np.maximum(near, other), np.minimum(near, other))
        return np.where(middle & (e != 0), away, near)


@remembered
def linear(x, w, activations="per_token"):
    """The float32 result, bit for bit: DESIGN 4, or group by group in ascending order."""
    q, sx, zx = _rows(x, activations)
    with np.errstate(all="ignore"):
        if w.groups is None:
            y = accumulator(x, w, activations).astype(F32) * (sx * w.scale) + w.bias
        else:
            total, column_sum = np.zeros((len(q), len(w.q)), F32), np.zeros(len(w.q), F32)
            for group, cols in enumerate(w.groups):
                total = fma(exact_product(q[:, cols], w.q[:, cols]).astype(F32), w.scale[:, group], total)
                column_sum = fma(w.q[:, cols].sum(axis=1).astype(F32), w.scale[:, group], column_sum)
                infinite = np.isinf(column_sum)  # stays finite, so that no zero point makes a NaN of it
                column_sum[infinite] = np.copysign(np.finfo(F32).max, column_sum[infinite])
            y = (total - zx.astype(F32) * column_sum) * sx + w.bias
    return y.reshape(*np.shape(x)[:-1], len(w.q))


@remembered
def linear_value(x, w, activations="per_token", step=1):
    """The linear of the quantized integers in float64, and the bound of its float32 evaluation.

    Plain: y^ = (acc(1+d1) * (sx*sw(1+d2))(1+d3) + b)(1+d4), hence |y^ - y| <= gamma(4) (|acc sx sw| + |b|), plus
    what underflow adds: TINY/2 in sx*sw, multiplied by |acc|, and TINY/2 in its product.
    Groups (G of them): a term of t or csw meets at most G roundings (each fma has one), then zx*csw, the difference,
    *sx and + b: at most G + 5 roundings, on S = sum_g (|raw_g| + zx |colsum_g|) sw_g sx + |b|. Underflow: TINY/2 for
    each of the G products of t and (zx times) of csw, times sx, and once more for *sx.
    Without groups, a 4-bit kernel may use sw/16 and 16 raw (`step` 16), the same bits unless something is subnormal:
    then the underflow above counts 16 times, and that of sw/16 itself, TINY/2, is multiplied by 16 |raw| sx.
    """
    q, sx, zx = _rows(x, activations)
    sx, sw, bias = sx.astype(np.float64), w.scale.astype(np.float64), w.bias.astype(np.float64)
    if w.groups is None:
        acc = exact_product(q - zx, w.q)
        part = acc * sx * sw
        underflow = step * np.abs(acc) * (1 + (step > 1) * sx)
        bound = 4.01 * U * (np.abs(part) + np.abs(bias)) + (underflow + 1) * TINY
        return part + bias, bound
    part, size = np.zeros((len(q), len(w.q))), np.zeros((len(q), len(w.q)))
    for group, cols in enumerate(w.groups):
        raw, column_sum = exact_product(q[:, cols], w.q[:, cols]), w.q[:, cols].sum(axis=1)
        part += (raw - zx * column_sum) * sw[:, group]
        size += (np.abs(raw) + zx * np.abs(column_sum)) * np.abs(sw[:, group])
    count = len(w.groups)
    underflow = count * (1 + zx) * sx
    bound = 1.01 * (count + 5) * U * (size * sx + np.abs(bias)) + (underflow + 1) * TINY
    return part * sx + bias, bound


@remembered
def float_value(x, weight, w, activations="per_token"):
    """x @ weight.T + bias in float64, and how far the quantized float32 linear may be from it.

    An activation: sx = (hi-lo)/255 up to 2u, x/sx one more rounding on at most 255, so rounding to an integer leaves
    at most 1/2 + 768u steps, and clipping at 255 (both ends rounded up) not more: |ex| <= sx (1/2 + 2**-14).
    A weight likewise: |ew| <= sw (1/2 + 2**-14). Where a scale is subnormal its own rounding, TINY/2, is multiplied
    by up to 255 steps: 2**-141 covers it. Where scales are searched, ew is what it is. Then
    |x w - x^ w^| <= |x| |ew| + |ex| |w^|, summed over k; the evaluation in float32 adds the bound of `linear_value`.
    """
    _, sx, _ = _rows(x, activations)
    flat = as_float32(x).reshape(len(sx), -1).astype(np.float64)
    weight, half = as_float32(weight).astype(np.float64), 0.5 + 2.0**-14
    error_x = sx.astype(np.float64) * half + 2.0**-141
    error_w = w.full_scale.astype(np.float64) * half + 2.0**-141
    if w.searched:
        error_w = np.abs(weight - w.q * w.full_scale.astype(np.float64))
    used = np.abs(w.q * w.full_scale.astype(np.float64)).sum(axis=1)
    bound = np.abs(flat) @ error_w.T + error_x * used + linear_value(x, w, activations)[1]
    return flat @ weight.T + w.bias, bound * (1 + 2.0**-30)


# ------------------------------------------------------------------------------------------------ activations

_GELU_TANH = math.sqrt(2 / math.pi)
ACTIVATIONS = ("relu", "gelu", "gelu_tanh", "silu", "tanh", "sigmoid")


def _sigmoid(v):
    return 1 / (1 + np.exp(-v))


_VALUE = {
    "relu": lambda v: np.maximum(v, 0),
    "tanh": np.tanh,
    "sigmoid": _sigmoid,
    "silu": lambda v: v * _sigmoid(v),
    "gelu": lambda v: 0.5 * v * np.vectorize(math.erfc, otypes=[float])(-v / math.sqrt(2)),
    "gelu_tanh": lambda v: v * _sigmoid(2 * _GELU_TANH * (v + 0.044715 * v**3)),
}


@remembered
def activation_value(name, v):
    """The activation of finite float32 values in float64, and the bound of DESIGN 5.

    tanh, sigmoid: 4 ulp, at most 8u relative, or 4 TINY below the normals. silu: that of sigmoid times |v| and four
    more roundings. gelu forms: |v|/2 (1 + f(a)): the argument a carries at most 7u (its constants and products), and
    |a f'(a)| <= 0.49, so 3.5u; f itself 8u; 1 + f rounds on at most 2, so 2u: half of 13.5u, and two products more:
    10u |v| covers it.
    """
    v = np.asarray(v, np.float64)
    with np.errstate(all="ignore"):
        value = _VALUE[name](v)
    if name == "relu":
        return value, np.zeros_like(v)
    if name in ("tanh", "sigmoid"):
        return value, 8 * U * np.abs(value) + 4 * TINY
    if name == "silu":
        return value, 12 * U * np.abs(value) + (4 * np.abs(v) + 2) * TINY
    return value, 10 * U * np.abs(v) + 4 * TINY
