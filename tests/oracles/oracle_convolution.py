"""The oracle of convolutions, pixel by pixel and tap by tap in int64 and float64; imports nothing of the project."""

import numpy as np
import oracle
from oracle_weights import symmetric_rows
from remembered import remembered

F32 = np.float32


def two(value):
    return value if isinstance(value, tuple) else (value, value)


def geometry(weight, stride=1, padding=0, dilation=1, groups=1):
    """The options for two spatial dimensions."""
    if weight.ndim == 3:
        (before, after) = padding[0] if isinstance(padding, tuple) else (padding, padding)
        return (1, stride), ((0, 0), (before, after)), (1, dilation), groups
    padding = padding if isinstance(padding, tuple) else (padding, padding)
    return two(stride), tuple(two(side) for side in padding), two(dilation), groups


@remembered
def naive(x, weight, bias, **options):
    """(float32 result, bound of its distance from the float64 convolution, that one): pixel by pixel, tap by tap."""
    if weight.ndim == 3:
        parts = naive(x[:, :, None], weight[:, :, None], bias, two_dimensions=geometry(weight, **options))
        return tuple(part[:, :, 0] for part in parts)
    step, around, apart, groups = options.get("two_dimensions") or geometry(weight, **options)
    images, _, height, width = x.shape
    outputs, own, k_high, k_wide = weight.shape
    high = (height + sum(around[0]) - apart[0] * (k_high - 1) - 1) // step[0] + 1
    wide = (width + sum(around[1]) - apart[1] * (k_wide - 1) - 1) // step[1] + 1
    data, scale_x, zero = oracle.quantize_rows(x.reshape(images, -1))
    data = (data - zero[:, None]).reshape(x.shape)
    q, scale_w = symmetric_rows(weight.reshape(outputs, -1), 127)
    q = q.astype(np.int64).reshape(weight.shape)
    acc = np.zeros((images, outputs, high, wide), np.int64)
    real, size_x = np.zeros(acc.shape), np.zeros(acc.shape)
    each = outputs // groups
    for o in range(outputs):
        inputs = slice(o // each * own, (o // each + 1) * own)
        for ky in range(k_high):
            for kx in range(k_wide):
                ys = np.arange(high) * step[0] + ky * apart[0] - around[0][0]
                xs = np.arange(wide) * step[1] + kx * apart[1] - around[1][0]
                in_y, in_x = (ys >= 0) & (ys < height), (xs >= 0) & (xs < width)
                at = np.ix_(range(images), [o], in_y, in_x)
                here = (slice(None), inputs, ys[in_y][:, None], xs[in_x])
                acc[at] += np.einsum("nchw,c->nhw", data[here], q[o, :, ky, kx])[:, None]
                with np.errstate(invalid="ignore"):
                    values, w = x[here].astype(np.float64), weight[o, :, ky, kx].astype(np.float64)
                    real[at] += np.einsum("nchw,c->nhw", values, w)[:, None]
                    size_x[at] += np.abs(values).sum(axis=1)[:, None]
    with np.errstate(all="ignore"):
        factor = scale_w[:, None, None] * scale_x[:, None, None, None]
        y = acc.astype(F32) * factor + bias[:, None, None]
        # |x w - x^ w^| <= |x| |ew| + |ex| |w^|: half a step each (see oracle.float_value); then four roundings
        half = 0.5 + 2.0**-14
        used = (np.abs(q).reshape(outputs, -1).sum(axis=1) * scale_w.astype(np.float64))[:, None, None]
        bound = size_x * scale_w[:, None, None] * half + scale_x[:, None, None, None] * half * used
        bound = bound + 5 * oracle.U * (np.abs(acc * factor.astype(np.float64)) + np.abs(bias)[:, None, None])
    return y, bound * (1 + 2.0**-20), real + bias[:, None, None]


def naive_float(x, weight, bias, **options):
    """(float32 result, bound of its distance from the float64 convolution, that one): a chain of fma for each output.

    K fma in a row: each rounds once what |bias| + Σ |x w| bounds, (1 + U)^K - 1 of it in all.
    """
    step, around, apart, groups = geometry(weight, **options)
    outputs, own, k_high, k_wide = weight.shape
    padded = np.pad(x, ((0, 0), (0, 0), *around))
    high = (padded.shape[2] - apart[0] * (k_high - 1) - 1) // step[0] + 1
    wide = (padded.shape[3] - apart[1] * (k_wide - 1) - 1) // step[1] + 1
    y = np.empty((len(x), outputs, high, wide), F32)
    y[...] = bias[:, None, None]
    real, size = y.astype(np.float64), np.abs(y).astype(np.float64)
    first = np.arange(outputs) // (outputs // groups) * own
    for c, ky, kx in np.ndindex(own, k_high, k_wide):
        rows = padded[:, first + c, ky * apart[0] :][:, :, : (high - 1) * step[0] + 1 : step[0]]
        met = rows[:, :, :, kx * apart[1] :][:, :, :, : (wide - 1) * step[1] + 1 : step[1]]
        w = np.broadcast_to(weight[:, c, ky, kx][:, None, None], met.shape)
        y = oracle.fma(met, w, y)
        product = met.astype(np.float64) * w
        real, size = real + product, size + np.abs(product)
    k = weight[0].size
    return y, k * oracle.U / (1 - k * oracle.U) * size * (1 + 2.0**-20), real


#: Of Winograd's F(2×2, 3×3) and F(4×4, 3×3), by the side of a tile: a kernel's taps, an image's values, and sums, to or
#: from points along one axis. The points of the second are 0, ±5/8, ±3/2 and infinity.
P, Q = 5 / 8, 3 / 2
G = {
    2: np.array([[1, 0, 0], [0.5, 0.5, 0.5], [0.5, -0.5, 0.5], [0, 0, 1]]),
    4: np.array([
        [1 / (P * Q) ** 2, 0, 0],
        *([1 / n, x / n, x * x / n] for x, n in (
            (sign * a, 2 * a * a * (a * a - b * b)) for a, b in ((P, Q), (Q, P)) for sign in (1, -1))),
        [0, 0, 1]]),
}  # fmt: skip
B_T = {
    2: np.array([[1, 0, -1, 0], [0, 1, 1, 0], [0, -1, 1, 0], [0, 1, 0, -1]]),
    4: np.array([
        [(P * Q) ** 2, 0, -(P * P + Q * Q), 0, 1, 0],
        [0, -P * Q * Q, -Q * Q, P, 1, 0], [0, P * Q * Q, -Q * Q, -P, 1, 0],
        [0, -Q * P * P, -P * P, Q, 1, 0], [0, Q * P * P, -P * P, -Q, 1, 0],
        [0, (P * Q) ** 2, 0, -(P * P + Q * Q), 0, 1]]),
}  # fmt: skip
A_T = {
    2: np.array([[1, 1, 1, 0], [0, 1, -1, -1]]),
    4: np.array([[1, 1, 1, 1, 1, 0], *([0, P**n, (-P) ** n, Q**n, (-Q) ** n, n == 3] for n in (1, 2, 3))]),
}


def _sums(matrix, values):
    """matrix · values along the first axis, entries ±1: term by term, each sum rounded to the type of values."""
    results = []
    for row in matrix:
        terms = [value if factor > 0 else -value for factor, value in zip(row, values, strict=True) if factor]
        total = terms[0]
        for term in terms[1:]:
            total = total + term
        results.append(total)
    return np.array(results)


def _into_six(values):
    """B_T[4] · values along the first axis: the even and the odd part of each pair of points, then both."""
    d, product, total = values, F32((P * Q) ** 2), F32(P * P + Q * Q)
    results = [oracle.fma(product, d[0], oracle.fma(-total, d[2], d[4]))]
    for point, other in ((P, Q), (Q, P)):
        even, odd = (oracle.fma(F32(-other * other), d[2 - i], d[4 - i]) for i in (0, 1))
        results += [oracle.fma(F32(sign * point), odd, even) for sign in (1, -1)]
    return np.array([*results, oracle.fma(product, d[1], oracle.fma(-total, d[3], d[5]))])


def _out_of_six(m):
    """A_T[4] · m along the first axis."""
    plus, minus = (m[1] + m[2], m[3] + m[4]), (m[1] - m[2], m[3] - m[4])
    return np.array([
        m[0] + (plus[0] + plus[1]),
        oracle.fma(F32(Q), minus[1], F32(P) * minus[0]),
        oracle.fma(F32(Q**2), plus[1], F32(P**2) * plus[0]),
        oracle.fma(F32(Q**3), minus[1], oracle.fma(F32(P**3), minus[0], m[5])),
    ])  # fmt: skip


def _along_both(transform, values):
    return np.swapaxes(transform(np.swapaxes(transform(values), 0, 1)), 0, 1)


@remembered
def winograd_float(x, weight, bias, padding=0, side=2):
    """(float32 result, bound of its distance from the float64 convolution, that one), tile by tile."""
    (above, below), (before, after) = geometry(weight, padding=padding)[1]
    real, channels, points = naive_float(x, weight, bias, padding=padding)[2], weight.shape[1], side + 2
    high, wide = real.shape[2:]
    padded = np.pad(x, ((0, 0), (0, 0), (above, below + side - 1), (before, after + side - 1)))
    g, b_t, a_t = G[side], B_T[side], A_T[side]
    into, out_of = (
        (lambda d: _sums(b_t, d), lambda m: _sums(a_t, m)) if side == 2 else (_into_six, _out_of_six)
    )  # fmt: skip
    u = np.einsum("ik,ockl,jl->ijoc", g, weight.astype(np.float64), g)
    u_size = np.einsum("ik,ockl,jl->ijoc", np.abs(g), np.abs(weight.astype(np.float64)), np.abs(g))
    y, size = np.empty(real.shape, F32), np.empty(real.shape)
    for row in range(0, high, side):
        for column in range(0, wide, side):
            d = np.moveaxis(padded[:, :, row : row + points, column : column + points], (2, 3), (0, 1))
            v = _along_both(into, d)
            v_size = np.einsum("ik,klnc,jl->ijnc", np.abs(b_t), np.abs(d.astype(np.float64)), np.abs(b_t))
            m = np.zeros((points, points, len(x), len(weight)), F32)
            if side == 2:
                m[1, 1] = bias
            for c in range(channels):
                m = oracle.fma(u[:, :, None, :, c].astype(F32), v[..., None, c], m)
            tile = _along_both(out_of, m)
            tile = tile if side == 2 else tile + bias
            m_size = np.einsum("ijnc,ijoc->ijno", v_size, u_size)
            tile_size = np.einsum("ik,klno,jl->ijno", np.abs(a_t), m_size, np.abs(a_t))
            here = (slice(None), slice(None), slice(row, row + side), slice(column, column + side))
            count = y[here].shape[2:]
            y[here] = np.moveaxis(tile, (0, 1), (2, 3))[:, :, : count[0], : count[1]]
            size[here] = np.moveaxis(tile_size, (0, 1), (2, 3))[:, :, : count[0], : count[1]]

    def gamma(n):
        return n * oracle.U / (1 - n * oracle.U)

    terms, biased = (channels + 7, channels + 4) if side == 2 else (channels + 12, 1)
    bound = gamma(terms) * size + gamma(biased) * np.abs(bias)[:, None, None]
    return y, bound * (1 + 2.0**-20), real


def problem(rng, shape, size, images=1, groups=1):
    x = rng.standard_normal((images, shape[1] * groups, *size)) * 2.0 ** rng.integers(-9, 9)
    weight = rng.standard_normal(shape) * 2.0 ** rng.integers(-5, 5, (shape[0], *(1,) * (len(shape) - 1)))
    return x.astype(F32), weight.astype(F32), rng.standard_normal(shape[0]).astype(F32)
