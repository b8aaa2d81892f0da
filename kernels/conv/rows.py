"""Patches in memory, one row for each pixel of a result: for images of few pixels, whose convolution is a product.

    x, any strides            rows [images · OH · OW][K], zeros outside the image
    ┌ W ───┐                  ┌───────────────────────────┐
  C │  H   │    patches       │ pixel 0: (c, ky, kx) or   │
    └──────┘    ─────────▶    │          (ky, kx, c)      │   channels last: one stretch of x for every ky, where x
                              │ pixel 1                   │   has its channels side by side, too
                              └───────────────────────────┘

The tile of worker.py has pixels of one image as columns. With fewer of them than a vector has lanes most of it would be
empty; in a product of patches outputs are the columns, and the rows are pixels of all images:

    float32    patches_step, then a product                       k = (c, ky, kx), the order of sconv's sums
    8 bits     rows_step: patches, then linear's worker           any order: integers are exact

Rows of an image have the scale and the zero point of that image, as worker.py's have. A zero outside of the image
becomes the zero point exactly. So the integers are the same, and linear's epilogue is the same formula: the bits are.
"""

from __future__ import annotations

from ..base.context import new_context
from ..base.jit import kernel
from ..base.memory import clear, copy_bytes, load_f32, offset, stack_bytes, store_f32, store_i32
from ..base.record import Pointer, Record
from ..base.status import FINE, NO_MEMORY
from ..base.strided import copy_strided
from ..linear.call import describe, micros_of, start
from ..linear.context import LinearContext, Weight
from ..quantize.emit import BOUNDS_STRIDE
from ..quantize.intrinsics import rows_range
from ..quantize.qparams import BOUNDS_BYTES, BYTE, row_parameters
from ..threads.partition import least_micros
from ..threads.pool import worthwhile
from .patches import inside


class Patches(Record):
    """Rows of patches [images · out_height · out_width][channels · k_high · k_wide] of float32 x, strides in bytes."""

    x: Pointer
    image: int
    channel: int
    down: int
    across: int
    images: int
    channels: int
    height: int
    width: int
    out_height: int
    out_width: int
    k_high: int
    k_wide: int
    step_y: int
    step_x: int
    top: int
    left: int
    dilate_y: int
    dilate_x: int
    last: int  # whether channels come last in a row
    rows: Pointer


class RowsStep(Patches):
    """float32 out [images, out_height, out_width, outputs]. The values of an image lie side by side, in any order."""

    scales: Pointer  # room for float32 and int32 of every row
    zeros: Pointer
    weight: Pointer  # linear's descriptor
    out: Pointer
    post_ops: Pointer  # or NULL


@kernel
def fill_row(p, x, y, column, row):
    """The patch whose first tap is at (y, column) of an image."""
    channels, k_high, k_wide = p.channels, p.k_high, p.k_wide
    channel, across, dilate_x = p.channel, p.across, p.dilate_x
    taps = k_high * k_wide
    low, high = inside(-column, p.width, dilate_x, 0, k_wide)
    tap, value = (4 * channels, 4) if p.last else (4, 4 * taps)  # from one to the next in the row
    together = channel == 4 and across * dilate_x == 4 * channels and tap == 4 * channels
    for ky in range(k_high):
        iy = y + ky * p.dilate_y
        source = offset(x, iy * p.down + column * across)
        target = offset(row, ky * k_wide * tap)
        if iy < 0 or iy >= p.height or low >= high:
            for kx in range(k_wide):
                clear_strided(offset(target, kx * tap), value, channels)
        elif together or (channels == 1 and across * dilate_x == 4):
            clear(target, low * 4 * channels)
            copy_bytes(
                offset(target, low * 4 * channels), offset(source, low * 4 * channels), (high - low) * 4 * channels
            )
            clear(offset(target, high * 4 * channels), (k_wide - high) * 4 * channels)
        else:
            for kx in range(k_wide):
                if low <= kx and kx < high:
                    pixel = offset(source, kx * dilate_x * across)
                    copy_strided(offset(target, kx * tap), value, pixel, channel, 4, channels)
                else:
                    clear_strided(offset(target, kx * tap), value, channels)


@kernel
def clear_strided(target, apart, count):
    for i in range(count):
        store_i32(target, i * (apart // 4), 0)


@kernel
def fill_rows(p):
    """All patches."""
    k = p.channels * p.k_high * p.k_wide
    row, x = p.rows, p.x
    for _ in range(p.images):
        for oy in range(p.out_height):
            for ox in range(p.out_width):
                fill_row(p, x, oy * p.step_y - p.top, ox * p.step_x - p.left, row)
                row = offset(row, 4 * k)
        x = offset(x, p.image)


@kernel
def patches_step(record, threads):
    fill_rows(Patches(record))
    return FINE


@kernel
def fit_images(s):
    """The scale and the zero point of every row."""
    values, pixels = s.channels * s.height * s.width, s.out_height * s.out_width
    bounds = stack_bytes(BOUNDS_BYTES)
    for image in range(s.images):
        rows_range(1, offset(s.x, image * s.image), 0, values, bounds)
        lo, hi, flag = load_f32(bounds, 0), load_f32(bounds, BOUNDS_STRIDE), load_f32(bounds, 2 * BOUNDS_STRIDE)
        scale, zero = row_parameters(lo, hi, flag, BYTE)
        for row in range(image * pixels, (image + 1) * pixels):
            store_f32(s.scales, row, scale)
            store_i32(s.zeros, row, zero)


@kernel
def rows_step(record, threads):
    s = RowsStep(record)
    weight = Weight(s.weight)
    m, n, k = s.images * s.out_height * s.out_width, weight.n, weight.k
    if m == 0:
        return FINE
    fit_images(s)
    fill_rows(s)
    threads = worthwhile(weight.pool, threads, micros_of(m, weight), least_micros(m, weight.mr))
    context = new_context(LinearContext, threads)
    describe(context, s.rows, m, 4 * k, s.out, 4 * n, s.out, 0, weight, s.post_ops)
    context.row_scales = s.scales
    context.row_zeros = s.zeros
    return FINE if start(context, m, weight.panels, threads) else NO_MEMORY
