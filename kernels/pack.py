"""Weights: float32 to small integers, and small integers to and from panels.

    scale[n, g] = max |w[n, g·G … ]| / L            L = 127 (8 bit) or 7 (4 bit); 1 where the maximum is 0
    q[n, k]     = clip(rint(w[n, k] / scale), -L, L)     float32 true divisions, ties to even

A panel holds NR output channels (rows of the weight), the words of k one after another (see emit/tile.py):

    8 bit  [words][NR][KR]             byte = q
    4 bit  [words / 2][NR][KR]         low nibble = q of the even word, high nibble = of the odd word
    grouped: after each group's words, NR float32 scales (of 16·q for 4 bit)

Channels beyond N and values of k beyond K are zero.
"""

from __future__ import annotations

import numpy as np

from .emit.isa import K_ALIGN
from .jit import kernel

#: Largest K whose exact sum fits int32: 255 · 128 · 65,793 < 2^31.
MAX_K = 65_793
#: The steps in which a longer K is summed: whole k-words and unrolled steps of every instruction set.
LONG_STEP = MAX_K // K_ALIGN * K_ALIGN


def padded_k(k: int, group: int) -> int:
    """K rounded up to whole unrolled steps, or whole groups; at least one step."""
    unit = group or K_ALIGN
    return max(1, -(-k // unit)) * unit


def panel_bytes(k: int, columns: int, bits: int, group: int) -> int:
    """Bytes of one panel, its inline scales included."""
    padded = padded_k(k, group)
    return padded * columns * bits // 8 + (padded // group * columns * 4 if group else 0)


@kernel
def quantize_weight(weight, group, limit, scale, q):
    """Fill scale [N, groups] and q [N, K] int8 from float32 weight [N, K]; per channel when group ≥ K."""
    n, k = weight.shape
    top = np.float32(limit)
    for i in range(n):
        for g in range(scale.shape[1]):
            begin, end = g * group, min((g + 1) * group, k)
            largest = np.float32(0)
            for j in range(begin, end):
                largest = max(largest, abs(weight[i, j]))
            step = np.float32(largest / top)
            if step == np.float32(0):
                step = np.float32(1)
            scale[i, g] = step
            for j in range(begin, end):
                value = np.rint(np.float32(weight[i, j] / step))
                q[i, j] = np.int8(min(max(value, -top), top))


@kernel
def pack_panels(q, scale, columns, k_per_word, bits, group, stride, panels):
    """Write q [N, K] int8 (and scale [N, groups] float32 when grouped) into panels, a zeroed uint8 array."""
    n, k = q.shape
    block = (group if group else padded_length(k)) * columns * bits // 8
    for i in range(n):
        base = i // columns * stride
        lane = i % columns
        for j in range(k):
            where, high = word_byte(j, lane, columns, k_per_word, bits, group, block)
            value = np.uint8(q[i, j])
            if bits == 4:
                nibble = np.uint8(value & 15)
                panels[base + where] |= np.uint8(nibble << 4) if high else nibble
            else:
                panels[base + where] = value
        if group:
            for g in range(scale.shape[1]):
                place = base + (g + 1) * block + g * columns * 4 + lane * 4
                step = np.float32(scale[i, g] / np.float32(16)) if bits == 4 else scale[i, g]
                panels[place : place + 4].view(np.float32)[0] = step


@kernel
def unpack_panels(panels, columns, k_per_word, bits, group, stride, q):
    """The inverse of `pack_panels`: fill q [N, K] int8."""
    n, k = q.shape
    block = (group if group else padded_length(k)) * columns * bits // 8
    for i in range(n):
        base = i // columns * stride
        for j in range(k):
            where, high = word_byte(j, i % columns, columns, k_per_word, bits, group, block)
            byte = panels[base + where]
            if bits == 4:
                byte = np.uint8(byte & 0xF0) if high else np.uint8(byte << 4)
                q[i, j] = np.int8(byte) >> 4
            else:
                q[i, j] = np.int8(byte)


@kernel
def padded_length(k):
    """`padded_k` without groups, for jitted callers."""
    return max(1, (k + K_ALIGN - 1) // K_ALIGN) * K_ALIGN


@kernel
def word_byte(k, lane, columns, k_per_word, bits, group, block):
    """Where weight k of a lane lies in its panel, and whether in the high nibble."""
    base = 0
    if group:
        g = k // group
        base = g * (block + columns * 4)
        k -= g * group
    word = k // k_per_word
    high = False
    if bits == 4:
        high = word % 2 == 1
        word //= 2
    return base + (word * columns + lane) * k_per_word + k % k_per_word, high


@kernel
def column_words(q, scale, bias, bits, group, words):
    """What the epilogue needs of each channel: words [panels, 3, NR] int32 (see emit.tile.Output), zeroed before."""
    n, k = q.shape
    columns = words.shape[2]
    floats = words.view(np.float32)
    times = 16 if bits == 4 else 1
    for i in range(n):
        p, lane = i // columns, i % columns
        if group:
            weighted = np.float32(0)
            for g in range(scale.shape[1]):
                total = 0
                for j in range(g * group, min((g + 1) * group, k)):
                    total += q[i, j]
                weighted += np.float32(np.float32(times * total) * np.float32(scale[i, g] / np.float32(times)))
            floats[p, 0, lane] = weighted
        else:
            total = 0
            for j in range(k):
                total += q[i, j]
            words[p, 0, lane] = -times * total
            floats[p, 1, lane] = np.float32(scale[i, 0] / np.float32(times))
        floats[p, 2, lane] = bias[i]
