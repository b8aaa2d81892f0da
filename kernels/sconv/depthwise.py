"""Depthwise convolution in float32: every channel by itself, vectors of neighbouring pixels, nothing packed.

    y[o, oy, ox] = bias[o], then for every tap (ky, kx) in order   fma(w[o, ky, kx], x[o // each, iy, ix], y[o, oy, ox])

Some rows of the image are copied into planes, with zeros where they go beyond it, one plane for each column phase
(ix + left mod step_x). So every tap of neighbouring outputs is read from consecutive values, at

    plane[(kx·dilate_x) mod step_x][oy·step_y + ky·dilate_y][ox + (kx·dilate_x) div step_x]

    task     some rows of a channel's result
    worker   for each of my tasks: planes of as many rows as fit in L1; then blocks of TOGETHER rows
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache

from ..base.jit import kernel
from ..base.memory import ALIGN, aligned, call_post_ops, clear, is_null, load_f32, offset, store_int
from ..conv.patches import inside
from ..isa.float32 import Float32
from ..threads.partition import share
from ..threads.scratch import borrow, give_back
from ..threads.tasks import tasks_of
from .context import FloatConv, FloatConvContext
from .emit import LANES
from .emit_depthwise import DEPTHWISE, TOGETHER, depthwise_rows, taps_row
from .patches import move

#: Bytes of planes that are laid out at once: they stay in L1 while they are read.
PLANES = 1 << 14
SIZES, MOST = len(TOGETHER), TOGETHER[0]


@kernel
def block_of(d):
    """The number in DEPTHWISE of this kernel; -1 where it has no block of its own."""
    if d.dilate_y == 1 and d.dilate_x == 1:
        for i in range(len(DEPTHWISE)):
            high, wide, down, across = DEPTHWISE[i]
            if high == d.k_high and wide == d.k_wide and down == d.step_y and across == d.step_x:
                return i
    return -1


@kernel
def rows_together(rows):
    """The index in TOGETHER of the largest block that `rows` hold."""
    for i in range(SIZES - 1):
        if TOGETHER[i] <= rows:
            return i
    return SIZES - 1


@kernel
def plane_sizes(d, out_width):
    """(phases, values of a row, bytes of a row of all phases)."""
    reach = (d.k_wide - 1) * d.dilate_x
    phases, values = min(d.step_x, reach + 1), out_width + reach // d.step_x
    return phases, values, 4 * phases * ((values + LANES - 1) // LANES * LANES)


@kernel
def rows_at_once(d, out_height, row_bytes):
    """Rows of the result whose planes fit; whole blocks where there are any."""
    reach = (d.k_high - 1) * d.dilate_y
    rows = (PLANES // row_bytes - reach - 1) // d.step_y + 1
    return min(out_height, max(MOST, rows // MOST * MOST))


@cache
def depthwise_worker(isa: Float32) -> Callable:
    """The worker of one instruction set; `parts` of the context is 1, and its units are rows."""
    some_rows, any_row = depthwise_rows(isa), taps_row(isa)

    @kernel(variant=isa.name)
    def depthwise_worker(context, index):
        context = FloatConvContext(context)
        d = FloatConv(context.descriptor)
        k_high, k_wide, step_y, step_x = d.k_high, d.k_wide, d.step_y, d.step_x
        dilate_y, dilate_x, top, left = d.dilate_y, d.dilate_x, d.top, d.left
        taps, each = k_high * k_wide, d.outputs // d.channels
        height, width = context.height, context.width
        out_height, out_width, chunks = context.out_height, context.out_width, context.chunks
        post_ops, residual = context.post_ops, context.residual
        reach, which = (k_high - 1) * dilate_y, block_of(d)
        phases, values, row_bytes = plane_sizes(d, out_width)
        most = min(context.largest, rows_at_once(d, out_height, row_bytes))
        stride = row_bytes // phases
        planes_bytes = row_bytes * ((most - 1) * step_y + reach + 1)
        slots = d.slots
        # What vectors read and write beyond the last row.
        beyond = 4 * (2 * LANES + values - out_width)
        slot, allocated = borrow(slots, planes_bytes + beyond + 8 * taps + 2 * ALIGN)
        if is_null(allocated):
            give_back(slots, slot, allocated)
            return
        offsets = aligned(allocated)
        planes = aligned(offset(offsets, 8 * taps))
        for task in tasks_of(context, index):
            item, chunk = task // chunks, task % chunks
            image, output = item // d.outputs, item % d.outputs
            source = offset(context.x, 4 * (image * d.channels + output // each) * height * width)
            weights, bias = offset(d.weights, 4 * output * taps), load_f32(d.bias, output)
            begin, rows = share(chunk, chunks, out_height)
            for y in range(begin, begin + rows, most):
                some = min(most, begin + rows - y)
                tall = (some - 1) * step_y + reach + 1
                above, below = inside(top, height, 1, y * step_y, tall)
                for phase in range(phases):
                    plane = offset(planes, phase * tall * stride)
                    low, high = inside(left - phase, width, step_x, 0, values)
                    clear(plane, above * stride)
                    first = (y * step_y + above - top) * width + phase - left
                    move(
                        step_x, offset(source, 4 * first), 4 * width, offset(plane, above * stride), stride,
                        below - above, low, high, values,
                    )  # fmt: skip
                    clear(offset(plane, below * stride), (tall - below) * stride)
                corner = 4 * (item * out_height + y) * out_width
                target = offset(context.out, corner)
                if which >= 0:
                    r = 0
                    while r < some:
                        together = rows_together(some - r)
                        some_rows(
                            which * SIZES + together, offset(planes, r * step_y * stride), stride, tall * stride,
                            weights, bias, offset(target, 4 * r * out_width), 4 * out_width, out_width,
                        )  # fmt: skip
                        r += TOGETHER[together]
                else:
                    for ky in range(k_high):
                        for kx in range(k_wide):
                            phase, right = kx * dilate_x % step_x, kx * dilate_x // step_x
                            place = (phase * tall + ky * dilate_y) * stride + 4 * right
                            store_int(offsets, ky * k_wide + kx, place)
                    for r in range(some):
                        any_row(
                            offset(planes, r * step_y * stride), offsets, taps, weights, bias,
                            offset(target, 4 * r * out_width), out_width,
                        )  # fmt: skip
                if not is_null(post_ops):
                    addend = residual if is_null(residual) else offset(residual, corner)
                    call_post_ops(post_ops, target, 0, addend, 0, 1, some * out_width)
        give_back(slots, slot, allocated)

    return depthwise_worker
