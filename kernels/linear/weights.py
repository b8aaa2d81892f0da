"""Weights: float32 to small integers and their scales. `reference.py` says the same in numpy.

Per tensor, channel, or group of 8 bits, the weights that share a scale are divided by it in float32, ties to even:

    scale = max |w| / L          L = 127 (8 bit) or 7 (4 bit); of a group, rounded up to bfloat16; 1 if it is 0, and the
                                 next smaller one if L·scale is too large for float32
    q     = clip(rint(w / scale), -L, L)

Groups of 4 bits take the best of a few candidates, of which the first is the plain choice:

    symmetric    q in -8 … 7       scale = ±16·up(max |w| / 16d)            d of DIVISORS; all + before all -
    zero points  q in -z … 15 - z  scale = up(f·(hi/2 - lo/2) / 7.5), z = clip(rint(-f·lo / scale), 0, 15)
                                   f of SHRINKS; lo = min(0, min w), hi = max(0, max w)

    q = clip(rint(w / scale) + z, low, high) - z            cost = scale² · Σ (w / scale - q)²

The sum runs in float32 in the order of k, its product with scale² in float64; the first candidate of the lowest cost
is taken. A candidate whose scale is 0 or whose largest value is too large for float32 is dropped. A group without
candidates has scale 1 and zero point 0. `up` rounds to the next bfloat16 away from zero. So two bytes hold a group's
scale (for symmetric 4 bits: scale / 16), and the rounding clips nothing. The candidates of a group are the lanes of a
vector: each sum keeps its order, and none waits for another.
"""

from __future__ import annotations

import numpy as np

from ..base.jit import kernel
from ..isa.intrinsics import bits_float, float_bits
from .reference import DIVISORS, SHRINKS


@kernel
def quantize_weight(weight, group, limit, short, scale, q):
    """Fill scale [N, groups] and q [N, K] int8 from float32 weight [N, K]; per channel when group ≥ K.

    `short`: scales are rounded up to bfloat16.
    """
    n, k = weight.shape
    top = np.float32(limit)
    for i in range(n):
        for g in range(scale.shape[1]):
            begin, end = g * group, min((g + 1) * group, k)
            largest = np.float32(0)
            for j in range(begin, end):
                largest = max(largest, abs(weight[i, j]))
            scale[i, g] = np.float32(largest / top)
            if short:
                round_up(scale[i, g : g + 1])
            if np.isinf(np.float32(top * scale[i, g])):
                scale[i, g] = bits_float(np.uint32(float_bits(scale[i, g]) - np.uint32(0x10000 if short else 1)))
            if scale[i, g] == np.float32(0):
                scale[i, g] = np.float32(1)
            step = scale[i, g]
            for j in range(begin, end):
                value = np.rint(np.float32(weight[i, j] / step))
                q[i, j] = np.int8(min(max(value, -top), top))


@kernel
def search_groups(weight, group, zero_points, scale, zero, q):
    """Fill scale [N, groups], zero [N, groups] uint8 and q [N, K] int8 from float32 weight [N, K]: 4 bits."""
    n, k = weight.shape
    count = len(SHRINKS) if zero_points else 2 * len(DIVISORS)
    scales, zeros = np.empty(count, np.float32), np.zeros(count, np.float32)
    low, high = (np.float32(0), np.float32(15)) if zero_points else (np.float32(-8), np.float32(7))
    sums, values = np.empty(count, np.float32), np.empty(group, np.float32)
    for i in range(n):
        for g in range(scale.shape[1]):
            begin, length = g * group, min(group, k - g * group)
            for j in range(length):
                values[j] = weight[i, begin + j]
            if zero_points:
                ranges(values[:length], scales, zeros)
            else:
                magnitudes(values[:length], scales)
            chosen = cheapest(values[:length], scales, zeros, low, high, sums)
            step, shift = np.float32(1), np.float32(0)
            if chosen >= 0:
                step, shift = scales[chosen], zeros[chosen]
            scale[i, g], zero[i, g] = step, np.uint8(shift)
            for j in range(length):
                value = np.rint(np.float32(values[j] / step)) + shift
                q[i, begin + j] = np.int8(min(max(value, low), high) - shift)


@kernel
def magnitudes(values, scales):
    """The symmetric candidates."""
    largest, half = np.float32(0), len(DIVISORS)
    for value in values:
        largest = max(largest, abs(value))
    for c in range(half):
        scales[c] = largest / (np.float32(16) * DIVISORS[c])
    round_up(scales[:half])
    for c in range(half):
        scales[c] *= np.float32(16)
        scales[half + c] = -scales[c]


@kernel
def ranges(values, scales, zeros):
    """The candidates with zero points."""
    low, high, half = np.float32(0), np.float32(0), np.float32(0.5)
    for value in values:
        low, high = min(low, value), max(high, value)
    spread = np.float32(half * high) - np.float32(half * low)
    for c in range(len(SHRINKS)):
        scales[c] = np.float32(SHRINKS[c] * spread) / np.float32(7.5)
    round_up(scales)
    for c in range(len(SHRINKS)):
        step = scales[c] if scales[c] != 0 else np.float32(1)
        zeros[c] = min(max(np.rint(np.float32(-np.float32(SHRINKS[c] * low) / step)), np.float32(0)), np.float32(15))


@kernel
def cheapest(values, scales, zeros, low, high, sums):
    """Which candidate costs least, or -1; `sums` is space for one sum each."""
    sums[:] = 0
    for value in values:
        for c in range(len(scales)):
            ratio = np.float32(value / scales[c])
            gap = ratio - (min(max(np.rint(ratio) + zeros[c], low), high) - zeros[c])
            sums[c] += np.float32(gap * gap)
    least, chosen = np.inf, -1
    for c in range(len(scales)):
        step = np.float64(scales[c])
        cost = np.float64(sums[c]) * (step * step)
        reach = max(zeros[c] - low, high - zeros[c])
        if step != 0 and cost < least and np.isfinite(np.float32(reach * scales[c])):
            least, chosen = cost, c
    return chosen


@kernel
def round_up(values):
    """Round float32 values ≥ 0 up to bfloat16, in place: a float whose low 16 bits are 0."""
    for i in range(len(values)):
        values[i] = bits_float(np.uint32((np.int64(float_bits(values[i])) + 0xFFFF) & 0xFFFF0000))
