"""Packed weights: small integers and their scales to and from panels.

A panel holds NR output channels (rows of the weight), the words of k one after another (see gemm/panel.py):

    8 bit        [words][NR][KR]             byte = q; if a set has slabs of S columns, [NR / S][words][S][KR]
    4 bit        [words / 2][NR][KR]         low nibble = q of the even word, high nibble = of the odd word
    grouped      after each group's words, the NR scales of the group in two bytes each (bfloat16), first and second
                 half of the columns in turn; of 4-bit symmetric weights scale / 16, because those enter the product
                 as 16·q. In four bytes, column by column, where scales are float32
    zero points  nibbles hold q + zero point (0 … 15); behind all groups, NR bytes of zero points for each

Scales of groups must fit: linear/weights.py makes them so. Channels beyond N are zero, and so is q for k beyond K.
A grouped panel starts at a multiple of 64 bytes; another panel at the alignment of a vector load.
"""

from __future__ import annotations

import numpy as np

from ..base.exact import LARGEST
from ..base.jit import kernel
from ..isa.base import K_ALIGN, K_STEP
from ..isa.intrinsics import bits_float, float_bits, fma

#: Largest K whose exact sum fits int32: 255 · 128 · 65,793 < 2^31.
MAX_K = 65_793
#: The steps in which a longer K is summed: whole k-words and unrolled steps of every instruction set.
LONG_STEP = MAX_K // K_ALIGN * K_ALIGN


def padded_k(k: int, group: int, align: int = K_ALIGN) -> int:
    """K rounded up to whole steps of `align`, or whole groups; at least one."""
    unit = group or align
    return max(1, -(-k // unit)) * unit


def multiplied_k(k: int, group: int) -> int:
    """How far along K a tile goes: to K_STEP, or whole groups."""
    unit = group or K_STEP
    return max(1, -(-k // unit)) * unit


def panel_bytes(
    k: int, columns: int, bits: int, group: int, zero_points: bool = False, align: int = K_ALIGN, scale_bytes: int = 2
) -> int:
    """Bytes of one panel, its inline scales and zero points included."""
    padded = padded_k(k, group, align)
    integers = padded * columns * bits // 8
    if not group:
        return integers
    scales = padded // group * columns * (scale_bytes + bool(zero_points))
    return -(-(integers + scales) // 64) * 64


def pack_words(q: np.ndarray, columns: int, slab: int, k_per_word: int, stride: int, panels: np.ndarray) -> None:
    """`pack_panels` of 8 bits without groups: whole words are moved, by numpy."""
    (n, k), word = q.shape, np.dtype(f"i{k_per_word}")
    words = -(-k // k_per_word)
    if k % k_per_word or not q.flags.c_contiguous:
        whole = np.zeros((n, words * k_per_word), np.int8)
        whole[:, :k] = q
        q = whole
    source = q.view(word)
    target = panels.view(word).reshape(-1, columns // slab, stride // columns // k_per_word, slab)
    for first in range(0, n, slab):
        panel, part = divmod(first, columns)
        rows = source[first : first + slab]
        target[panel, part // slab, :words, : len(rows)] = rows.T


@kernel
def pack_panels(q, scale, zero, columns, slab, k_per_word, bits, group, zero_points, scale_bytes, stride, panels):
    """Write q [N, K] int8, and when grouped scale [N, groups] float32, into panels, a zeroed uint8 array.

    zero [N, groups] uint8: what nibbles add to q; not read without `zero_points`.
    """
    n, k = q.shape
    length, block, step = block_form(stride, columns, bits, group, scale_bytes)
    blocks = (k + length - 1) // length
    for i in range(n):
        base, lane = i // columns * stride, i % columns
        for b in range(blocks):
            shift = zero[i, b] if zero_points else 0
            for word in range(length // k_per_word):
                place, high = word_place(word, lane, slab, k_per_word, bits, length)
                first = b * length + word * k_per_word
                for j in range(first, first + k_per_word):
                    value = np.uint8(q[i, j] + shift) if j < k else np.uint8(shift)
                    where = base + b * step + place + j - first
                    if bits == 4:
                        panels[where] |= np.uint8((value & 15) << (4 if high else 0))
                    else:
                        panels[where] = value
        if group:
            first = base + block + scale_place(lane, columns, scale_bytes)
            pack_scales(scale[i], 16 if bits == 4 and not zero_points else 1, scale_bytes, panels, first, step)
        if zero_points:
            for b in range(zero.shape[1]):
                panels[base + zero.shape[1] * step + b * columns + lane] = zero[i, b]


@kernel
def pack_scales(scale, times, scale_bytes, panels, first, step):
    """The bytes of a group, `step` apart: of float32(scale / times) the upper half, or all."""
    for g in range(len(scale)):
        bits = float_bits(np.float32(scale[g] / np.float32(times)))
        for i in range(scale_bytes):
            panels[first + g * step + i] = np.uint8(bits >> (8 * (4 - scale_bytes + i)))


@kernel
def unpack_panels(panels, columns, slab, k_per_word, bits, group, zero_points, scale_bytes, stride, q, scale, zero):
    """The inverse of `pack_panels`: fill q [N, K] int8, scale and zero [N, groups] where the panels hold them."""
    n, k = q.shape
    length, block, step = block_form(stride, columns, bits, group, scale_bytes)
    groups = scale.shape[1]
    for i in range(n):
        base, lane = i // columns * stride, i % columns
        for g in range(groups if group else 0):
            place, word = base + g * step + block + scale_place(lane, columns, scale_bytes), np.uint32(0)
            for part in range(scale_bytes):
                word |= np.uint32(panels[place + part]) << np.uint32(8 * (4 - scale_bytes + part))
            scale[i, g] = bits_float(np.uint32(word)) * np.float32(16 if bits == 4 and not zero_points else 1)
            if zero_points:
                zero[i, g] = panels[base + groups * step + g * columns + lane]
        for j in range(k):
            b = j // length
            word = (j - b * length) // k_per_word
            place, high = word_place(word, lane, slab, k_per_word, bits, length)
            byte = panels[base + b * step + place + (j - b * length) % k_per_word]
            if zero_points:
                q[i, j] = np.int8((byte >> 4 if high else byte & 15) - zero[i, b])
            elif bits == 4:
                q[i, j] = np.int8(np.uint8(byte if high else byte << 4)) >> 4
            else:
                q[i, j] = np.int8(byte)


@kernel
def whole(k, align):
    """`padded_k` without groups, for jitted callers."""
    return max(1, (k + align - 1) // align) * align


@kernel
def padded_length(k):
    return whole(k, K_ALIGN)


@kernel
def block_form(stride, columns, bits, group, scale_bytes):
    """Of the parts between inline scales: k, bytes of words, and bytes from one to the next."""
    length = group if group else stride * 8 // (columns * bits)
    block = length * columns * bits // 8
    return length, block, (block + scale_bytes * columns if group else block)


@kernel
def scale_place(lane, columns, scale_bytes):
    """Where a lane's scale lies among those of its group."""
    if scale_bytes == 4:
        return 4 * lane
    half = columns // 2
    return 4 * (lane % half) + 2 * (lane // half)


@kernel
def word_place(word, lane, slab, k_per_word, bits, length):
    """Where a lane's bytes of a k-word lie in a part of `length` k, and whether in the high nibbles."""
    first, lane = lane // slab * slab * length * bits // 8, lane % slab
    if bits == 4:
        return first + (word // 2 * slab + lane) * k_per_word, word % 2 == 1
    return first + (word * slab + lane) * k_per_word, False


@kernel
def column_words(q, scale, bias, bits, group, words):
    """What the epilogue needs of each channel: words [panels, 3, NR] int32 (see tile.Output), zeroed before."""
    n, k = q.shape
    columns = words.shape[2]
    times = 16 if bits == 4 else 1
    for i in range(n):
        p, lane = i // columns, i % columns
        if group:
            weighted = np.float32(0)
            for g in range(scale.shape[1]):
                total = 0
                for j in range(g * group, min((g + 1) * group, k)):
                    total += q[i, j]
                weighted = min(max(fma(np.float32(total), scale[i, g], weighted), -LARGEST), LARGEST)
            words[p, 0, lane] = float_bits(weighted)
        else:
            total = 0
            for j in range(k):
                total += q[i, j]
            words[p, 0, lane] = -times * total
            words[p, 1, lane] = float_bits(np.float32(scale[i, 0] / np.float32(times)))
        words[p, 2, lane] = float_bits(bias[i])
