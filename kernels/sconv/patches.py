"""Patches of a convolution in float32: as conv/patches.py, with values of 4 bytes, and nothing read outside the image.

    image, some channels         planes, in L1                         panels, in L2
    ┌ W ───────┐ move            ┌ OW ───┐  one for each kx and        [K][NR] each, NR pixels
    │          │ ──────▶         │       │  row phase, no gaps   pack  ┌─────┬───
  H │          │                 │       │ ────────────────────▶       │ k   │ …
    └──────────┘                 └───────┘                             └─────┴───
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache

from ..base.jit import kernel
from ..base.memory import clear, load_f32, offset, store_f32, store_int
from ..conv.context import ConvGeometry
from ..conv.patches import PLANES, inside, is_direct
from ..isa.float32 import Float32
from .emit import LANES, STEPS, move_rows, pack_floats

#: The least step between values for which no code is emitted.
LONG_STEP = STEPS[-1] + 1


@kernel
def move(step, source, source_stride, target, target_stride, rows, low, high, count):
    """`move_rows` for any step; rows may be 0."""
    if rows <= 0:
        return
    if step < LONG_STEP:
        move_rows(step, source, source_stride, target, target_stride, rows, low, high, count)
        return
    for r in range(rows):
        from_row, to_row = offset(source, r * source_stride), offset(target, r * target_stride)
        clear(to_row, 4 * count)
        for i in range(low, high):
            store_f32(to_row, i, load_f32(from_row, i * step))


@kernel
def planes_bytes(context, nr):
    """Bytes that the planes of a task take at most, and what is read and written beyond them."""
    if is_direct(context):
        return 0
    d = ConvGeometry(context.descriptor)
    channels, step_y = d.channels // d.groups, d.step_y
    reach, out_width = (d.k_high - 1) * d.dilate_y, context.out_width
    pixels = context.largest * nr
    lines = min(context.out_height, pixels // out_width + 2)
    wide = out_width if lines > 1 else min(out_width, pixels)
    channel = 4 * d.k_wide * min(step_y, reach + 1) * (lines + reach // step_y) * wide
    return min(channels, 1 + PLANES // max(1, channel)) * channel + 4 * (nr + LANES)


@kernel
def find_streams(d, channels, height, width, phases, area, wide, direct, offsets):
    """Where the stream of every k of `channels` channels begins, in bytes."""
    k_high, k_wide = d.k_high, d.k_wide
    step_y, dilate_y = d.step_y, d.dilate_y
    place = 0
    for channel in range(channels):
        for ky in range(k_high):
            phase, down = ky * dilate_y % step_y, ky * dilate_y // step_y
            for kx in range(k_wide):
                where = ((kx * phases + phase) * channels + channel) * area + down * wide
                store_int(offsets, place, 4 * ((channel * height + ky * dilate_y) * width if direct else where))
                place += 1


@cache
def patch_packer(isa: Float32) -> Callable:
    """``lay_out(context, image, first, count, channels, panels, panel_stride, planes, offsets)``."""
    pack = pack_floats(isa)
    nr = isa.columns

    @kernel(variant=isa.name)
    def lay_out(context, image, first, count, channels, panels, panel_stride, planes, offsets):
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
        area = tall * wide
        together = channels if direct else min(channels, max(1, PLANES // (4 * k_wide * phases * area)))
        for c in range(0, channels, together):
            some = min(together, channels - c)
            source = offset(image, 4 * c * height * width)
            if c == 0 or some < together:
                find_streams(d, some, height, width, phases, area, wide, direct, offsets)
            base = offset(source, 4 * first)
            if not direct:
                target, base = planes, offset(planes, 4 * (first - y * out_width - x))
                for kx in range(k_wide):
                    low, high = inside(left - kx * dilate_x, width, step_x, x, wide)
                    column = x * step_x + kx * dilate_x - left
                    for phase in range(phases):
                        above, below = inside(top - phase, height, step_y, y, tall)
                        row = (y + above) * step_y + phase - top
                        for channel in range(some):
                            clear(target, 4 * above * wide)
                            move(
                                step_x, offset(source, 4 * ((channel * height + row) * width + column)),
                                4 * step_y * width, offset(target, 4 * above * wide), 4 * wide, below - above,
                                low, high, wide,
                            )  # fmt: skip
                            clear(offset(target, 4 * below * wide), 4 * (tall - below) * wide)
                            target = offset(target, 4 * area)
            k = some * k_high * k_wide
            for pixel in range(0, count, nr):
                panel = offset(panels, pixel // nr * panel_stride + c * k_high * k_wide * 4 * nr)
                pack(offset(base, 4 * pixel), offsets, k, panel, count - pixel if direct else nr)

    return lay_out
