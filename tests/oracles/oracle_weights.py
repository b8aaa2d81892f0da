"""The oracle's weights: what pack_linear must store, in numpy, importing nothing of the project. Part of `oracle`."""

from typing import NamedTuple

import numpy as np
from remembered import remembered

F32 = np.float32


def as_float32(x):
    """Any float type to float32; what does not fit becomes infinite."""
    with np.errstate(over="ignore"):
        return np.asarray(x).astype(F32)


def symmetric_rows(x, limit):
    """Each row of `x` [R, L] to integers in [-limit, limit] (int64) and its scale [R]; DESIGN 2."""
    with np.errstate(all="ignore"):
        scale = np.max(np.abs(x), axis=1, initial=F32(0)) / F32(limit)
        scale = np.where(scale == 0, F32(1), scale)
        return np.clip(np.rint(x / scale[:, None]), -limit, limit), scale


class Weight(NamedTuple):
    """A quantized weight: q int64 [N, K], its scale in the public shape, bias float32 [N], columns of each group.

    q is what multiplies the scale. zero_point is None or int64 [N, groups]; `searched` tells scales that were chosen
    for the least squared error, so that an element may be off by more than half a step.
    """

    q: np.ndarray
    scale: np.ndarray
    bias: np.ndarray
    groups: list | None
    zero_point: np.ndarray | None = None
    searched: bool = False

    @property
    def full_scale(self):
        """The scale of every element, [N, K]."""
        if self.groups is None:
            return np.broadcast_to(self.scale.reshape(-1, 1), self.q.shape)
        columns = np.arange(self.q.shape[1]) // (self.groups[0].stop if self.groups else 1)
        return self.scale[:, columns]

    @property
    def values(self):
        """What dequantize returns, float32 [N, K]."""
        with np.errstate(over="ignore"):
            return self.q.astype(F32) * self.full_scale


def up_to_bfloat16(scale):
    """The next bfloat16 at or above each float32 >= 0, found by rounding the significand up to 8 bits."""
    significand, exponent = np.frexp(scale.astype(np.float64))
    bits = np.minimum(8, exponent + 133)  # below 2**-126 a bfloat16 has fewer: its steps are 2**-133
    return np.ldexp(np.ceil(np.ldexp(significand, bits)), exponent - bits).astype(F32)


def least_error(part, steps, zeros, low, high):
    """NUMERICS 2: of candidates (a scale and zero point per row each), what the rows of `part` [R, L] take.

    Returns integers less their zero point, scale and zero point. The cost of a candidate is scale**2 (float64) times
    the sum, in float32 and in the order of k, of (w/scale - q)**2; the first of the cheapest wins.
    """
    best = np.full(len(part), np.inf)
    scale, zero_point = np.ones(len(part), F32), np.zeros(len(part), F32)

    def integers(ratio, zero):
        return np.clip(np.rint(ratio) + zero, F32(low), F32(high)) - zero

    with np.errstate(all="ignore"):
        for step, zero in zip(steps, zeros, strict=True):
            ratio = part / step[:, None]
            squares = (ratio - integers(ratio, zero[:, None])) ** 2
            total = np.cumsum(squares, axis=1, dtype=F32)[:, -1]  # one after the other: np.sum adds in pairs
            cost = total.astype(np.float64) * step.astype(np.float64) ** 2
            largest = step * np.maximum(zero - F32(low), F32(high) - zero)
            better = (step != 0) & (cost < best) & np.isfinite(largest)
            best[better], scale[better], zero_point[better] = cost[better], step[better], zero[better]
        return integers(part / scale[:, None], zero_point[:, None]), scale, zero_point


def signed_groups(part):
    """Symmetric 4-bit groups, one per row: integers -8..7, scales ±16 up(max|w| / 16d), d = 7, 6, 6.25 ... 9.75."""
    largest = np.max(np.abs(part), axis=1, initial=F32(0))
    divisors = [7.0] + [d for d in np.arange(6, 10, 0.25) if d != 7]
    steps = [up_to_bfloat16(largest / F32(16 * d)) * F32(16) for d in divisors]
    steps += [-step for step in steps]
    return least_error(part, steps, np.zeros((len(steps), len(part)), F32), -8, 7)


def shifted_groups(part):
    """4-bit groups with zero points, one per row: the range shrunk by f = 1, then 0.76, 0.78 ... 1.06, in 15 steps."""
    lo, hi = np.min(part, axis=1, initial=F32(0)), np.max(part, axis=1, initial=F32(0))
    shrinks = [F32(1), *(F32(f / 100) for f in range(76, 108, 2) if f != 100)]
    with np.errstate(all="ignore"):
        steps = [up_to_bfloat16(f * (hi / F32(2) - lo / F32(2)) / F32(7.5)) for f in shrinks]
        zeros = [np.clip(np.rint(-(f * lo) / step), 0, 15) for f, step in zip(shrinks, steps, strict=True)]
    return least_error(part, steps, np.nan_to_num(zeros), 0, 15)


def whole_groups(part):
    """8-bit groups, one per row: integers -127..127, scale up(max|w| / 127)."""
    scale = up_to_bfloat16(np.max(np.abs(part), axis=1, initial=F32(0)) / F32(127))
    scale = np.where(scale == 0, F32(1), scale)
    with np.errstate(over="ignore"):  # near float32's largest, down instead: 8 bits of a significand in [1/2, 1)
        down = scale - np.ldexp(F32(1), np.frexp(scale)[1] - 8)
        scale = np.where(np.isinf(scale * F32(127)), down, scale)
    return np.clip(np.rint(part / scale[:, None]), -127, 127), scale, np.zeros(len(part))


@remembered
def pack(weight, bias=None, *, bits=8, granularity="per_channel", group_size=None, symmetric=True):
    """Quantize a float weight [N, K] as NUMERICS 2 says."""
    weight, limit = as_float32(weight), 127 if bits == 8 else 7
    n, k = weight.shape
    bias = np.zeros(n, F32) if bias is None else as_float32(bias)
    if granularity != "per_group":
        whole = granularity == "per_tensor"
        rows = weight.reshape(1, -1) if whole else weight
        q, scale = symmetric_rows(rows, limit)
        with np.errstate(over="ignore"):  # a weight's largest value is a float32
            scale = np.where(np.isinf(scale * F32(limit)), np.nextafter(scale, F32(0)), scale)
            q = np.clip(np.rint(rows / scale[:, None]), -limit, limit)
        return Weight(q.astype(np.int64).reshape(n, k), scale.reshape(() if whole else n), bias, None)
    step = group_size or 32
    groups = [slice(start, start + step) for start in range(0, k, step)]
    quantize_group = whole_groups if bits == 8 else signed_groups if symmetric else shifted_groups
    whole = k // step * step  # all whole groups at once, as rows; the rest of k is a shorter group
    rows = [weight[:, :whole].reshape(-1, step), weight[:, whole:]]
    parts = [[values.reshape(n, -1) for values in quantize_group(part)] for part in rows if part.size]
    empty = [np.zeros((n, k)), np.zeros((n, len(groups)), F32), np.zeros((n, len(groups)))]  # n or k is 0
    q, scale, zero_point = (np.concatenate(pieces, axis=1) for pieces in zip(*(parts or [empty]), strict=True))
    return Weight(
        q.astype(np.int64), scale, bias, groups, None if symmetric else zero_point.astype(np.int64), bits == 4
    )
