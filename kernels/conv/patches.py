"""Patches of a convolution: from some channels of a quantized image to panels of some pixels (drawn in worker.py).

    shift    for each column kx of the kernel and each row phase, rows of the image become rows of a plane:
             plane[r, i] = image[(y + r)·step_y + phase - top, (x + i)·step_x + kx·dilate_x - left], zero point outside
    pack     patch k = (c, ky, kx) of pixel p is the byte p places after where stream k begins: in the plane of c, kx
             and the phase of ky·dilate_y, `ky·dilate_y // step_y` rows down

Planes of a few channels at a time go through L1. A kernel of one column with step 1 and no padding needs no planes:
the image already has that layout.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache

import numpy as np

from ..base.jit import kernel
from ..base.memory import load_u8, offset, store_int, store_u8
from ..isa.base import InstructionSet
from .context import ConvGeometry
from .emit import PIXELS, SHIFTS, pack_patches, shift_rows

#: Bytes of planes that are laid out at once: they stay in L1 until they are packed.
PLANES = 1 << 14


@kernel
def is_direct(context):
    """Whether the image itself serves as planes."""
    d = ConvGeometry(context.descriptor)
    steps = d.k_wide * d.step_x * d.step_y
    around = d.top + d.bottom + d.left + d.right
    return steps == 1 and around == 0


@kernel
def channels_together(channel_bytes):
    """Channels whose planes are laid out at once: a multiple of 4, whole words of k."""
    return max(4, PLANES // max(1, channel_bytes) // 4 * 4)


@kernel
def planes_bytes(context):
    """Bytes that the planes of a task take at most, and what is read and written beyond them."""
    if is_direct(context):
        return 0
    d = ConvGeometry(context.descriptor)
    channels, step_y = d.channels // d.groups, d.step_y
    reach, out_width = (d.k_high - 1) * d.dilate_y, context.out_width
    pixels = context.largest * PIXELS
    lines = min(context.out_height, pixels // out_width + 2)
    wide = out_width if lines > 1 else min(out_width, pixels)
    channel = d.k_wide * min(step_y, reach + 1) * (lines + reach // step_y) * wide
    return min(channels, 4 + PLANES // max(1, channel)) * channel + 4 * PIXELS


@kernel
def within(value, most):
    """`value` clipped to 0 … most."""
    return min(max(value, 0), most)


@kernel
def inside(before, size, step, first, count):
    """Of positions (first + i)·step - before, 0 ≤ i < count: from and up to which i they are 0 … size-1."""
    begin, end = (before + step - 1) // step, (size + before + step - 1) // step
    return within(begin - first, count), within(end - first, count)


@kernel
def fill(target, count, value):
    for i in range(count):
        store_u8(target, i, value)


@kernel
def shift_for(step, width):
    """Which of SHIFTS suits rows of that width: the least block that holds one, or the largest; -1 where none does."""
    which = -1
    for i in range(len(SHIFTS)):
        if SHIFTS[i][1] == step and (which < 0 or SHIFTS[which][0] < width):
            which = i
    return which


@kernel
def shift_plane(which, source, source_stride, step, target, width, rows, low, high, zero):
    """Rows of a plane, side by side: source[r, step·i] for low ≤ i < high, else `zero`.

    The last block of a row reaches into the next row, so all rows' last blocks are written first.
    """
    if rows <= 0:
        return
    if which < 0:
        for r in range(rows):
            for i in range(width):
                value = zero
                if low <= i and i < high:
                    value = load_u8(source, r * source_stride + i * step)
                store_u8(target, r * width + i, value)
        return
    block = SHIFTS[which][0]
    for first in range((width - 1) // block * block, -1, -block):
        shift_rows(
            which, offset(source, first * step), source_stride, offset(target, first), width, rows,
            within(low - first, block), within(high - first, block), np.int64(zero),
        )  # fmt: skip


@cache
def patch_packer(isa: InstructionSet) -> Callable:
    """``lay_out(context, image, zero, first, count, channels, panels, panel_stride, planes, offsets)``."""
    pack = pack_patches(isa)
    nr, kr = isa.columns, isa.k_per_word

    @kernel(variant=isa.name)
    def find_streams(d, channels, height, width, phases, area, wide, direct, offsets):
        """Where the stream of every k of `channels` channels begins; 0 for the rest of the last word."""
        k_high, k_wide = d.k_high, d.k_wide
        step_y, dilate_y = d.step_y, d.dilate_y
        place = 0
        for channel in range(channels):
            for ky in range(k_high):
                phase, down = ky * dilate_y % step_y, ky * dilate_y // step_y
                for kx in range(k_wide):
                    where = ((kx * phases + phase) * channels + channel) * area + down * wide
                    store_int(offsets, place, (channel * height + ky * dilate_y) * width if direct else where)
                    place += 1
        for beyond in range(kr - 1):
            store_int(offsets, place + beyond, 0)

    @kernel(variant=isa.name)
    def lay_out(context, image, zero, first, count, channels, panels, panel_stride, planes, offsets):
        """Patches of `count` pixels from the `first` on, of `channels` channels from `image` on, into panels."""
        d = ConvGeometry(context.descriptor)
        k_high, k_wide, dilate_x = d.k_high, d.k_wide, d.dilate_x
        step_y, step_x, top, left = d.step_y, d.step_x, d.top, d.left
        height, width, out_width = context.height, context.width, context.out_width
        reach, direct = (k_high - 1) * d.dilate_y, is_direct(context)
        y, last = first // out_width, (first + count - 1) // out_width
        x, wide = 0, out_width
        if y == last:  # of a single row, only what is needed
            x, wide = first - y * out_width, count
        phases, tall = min(step_y, reach + 1), last - y + 1 + reach // step_y
        area, which = tall * wide, shift_for(step_x, wide)
        together = channels if direct else min(channels, channels_together(k_wide * phases * area))
        for c in range(0, channels, together):
            some = min(together, channels - c)
            source = offset(image, c * height * width)
            if c == 0 or some < together:
                find_streams(d, some, height, width, phases, area, wide, direct, offsets)
            base = offset(source, first)
            if not direct:
                target, base = planes, offset(planes, first - y * out_width - x)
                for kx in range(k_wide):
                    low, high = inside(left - kx * dilate_x, width, step_x, x, wide)
                    column = x * step_x + kx * dilate_x - left
                    for phase in range(phases):
                        above, below = inside(top - phase, height, step_y, y, tall)
                        row = (y + above) * step_y + phase - top
                        for channel in range(some):
                            fill(target, above * wide, zero)
                            shift_plane(
                                which, offset(source, (channel * height + row) * width + column), step_y * width,
                                step_x, offset(target, above * wide), wide, below - above, low, high, zero,
                            )  # fmt: skip
                            fill(offset(target, below * wide), (tall - below) * wide, zero)
                            target = offset(target, area)
            words, word = (some * k_high * k_wide + kr - 1) // kr, c * k_high * k_wide // kr
            for pixel in range(0, count, PIXELS):
                panel = offset(panels, pixel // nr * panel_stride + word * nr * kr)
                pack(offset(base, pixel), offsets, words, panel, panel_stride)

    return lay_out
