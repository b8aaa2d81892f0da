"""Pooling of float32 images, plane by plane (an image's channel): maximum and average, with a window or of all.

    y[oy, ox] = combine over ky of (combine over kx of x[oy·step_y + ky·dilate_y - top, ox·step_x + kx·dilate_x - left])

Both combinations go one after another, so a window of 13×13 takes 26 steps for a value, not 169. What lies outside of
the image takes no part. emit.py says what combine is; its order is fixed, so bits depend on nothing else.

    task     some rows of a plane's result; of global pooling, some planes
    worker   for each of my tasks: rows of the image combined along x, as many as stay in L1; then these along y
"""

from __future__ import annotations

import numpy as np

from ..activations.reference import ZERO
from ..base.jit import kernel
from ..base.memory import ALIGN, aligned, is_null, load_f32, offset, store_f32
from ..conv.patches import inside
from ..rowwise.reference import MINUS_INF
from ..threads.partition import share
from ..threads.scratch import borrow, give_back
from ..threads.tasks import tasks_of
from .context import GlobalPooling, Pooling, PoolingContext
from .emit import STEPS, pool_along, pool_down, pool_whole

#: Bytes of rows that are combined along x at once, and how many steps there are code for.
ROWS, SIZES = 1 << 14, len(STEPS)
#: The least step along x for which there is none.
LONG_STEP = STEPS[-1] + 1


@kernel
def along(p, row, target):
    """A row combined along x."""
    average, step, dilate, left, width = p.average, p.step_x, p.dilate_x, p.left, p.width
    if step < LONG_STEP:
        pool_along(average * SIZES + step - 1, row, width, p.k_wide, dilate, left, target, p.out_width)
        return
    for x in range(p.out_width):
        total = ZERO if average else MINUS_INF
        for kx in range(p.k_wide):
            place = x * step + kx * dilate - left
            if 0 <= place and place < width:
                value = load_f32(row, place)
                if average:
                    total += value
                elif value > total or value != value:
                    total = value
        store_f32(target, x, total)


@kernel
def taps_counted(i, size, taps, step, dilate, before, after, padding):
    """Taps of window i inside the image, or inside the image and its padding."""
    first = i * step - before
    low, high = (-before, size + after) if padding else (0, size)
    count = 0
    for tap in range(taps):
        place = first + tap * dilate
        if low <= place and place < high:
            count += 1
    return count


@kernel
def pooling_worker(context, index):
    context = PoolingContext(context)
    p = Pooling(context.record)
    height, width, out_height, out_width = p.height, p.width, p.out_height, p.out_width
    k_high, step_y, dilate_y, top, average = p.k_high, p.step_y, p.dilate_y, p.top, p.average
    padding, reach, chunks = p.count_padding, (p.k_high - 1) * p.dilate_y, context.chunks
    stride = (4 * out_width + ALIGN - 1) // ALIGN * ALIGN
    most = min(out_height, max(4, (ROWS // stride - reach - 1) // step_y + 1))
    slots = p.slots
    slot, allocated = borrow(slots, stride * (min(height, (most - 1) * step_y + reach + 1) + 1) + ALIGN)
    if is_null(allocated):
        give_back(slots, slot, allocated)
        return
    across = aligned(allocated)
    combined = offset(across, stride)
    if average:
        for x in range(out_width):
            count = taps_counted(x, width, p.k_wide, p.step_x, p.dilate_x, p.left, p.right, padding)
            store_f32(across, x, np.float32(count))
    for task in tasks_of(context, index):
        plane, chunk = task // chunks, task % chunks
        source = offset(p.x, 4 * plane * height * width)
        begin, rows = share(chunk, chunks, out_height)
        for y in range(begin, begin + rows, most):
            some = min(most, begin + rows - y)
            first = max(0, y * step_y - top)
            last = min(height, (y + some - 1) * step_y - top + reach + 1)
            for row in range(first, last):
                along(p, offset(source, 4 * row * width), offset(combined, (row - first) * stride))
            for r in range(y, y + some):
                low, high = inside(top - r * step_y, height, dilate_y, 0, k_high)
                down = 0
                if average:
                    down = taps_counted(r, height, k_high, step_y, dilate_y, top, p.bottom, padding)
                where = r * step_y - top + low * dilate_y - first
                pool_down(
                    average, offset(combined, where * stride), dilate_y * stride, high - low, across, np.float32(down),
                    offset(p.out, 4 * (plane * out_height + r) * out_width), out_width,
                )  # fmt: skip
    give_back(slots, slot, allocated)


@kernel
def global_pooling_worker(context, index):
    context = PoolingContext(context)
    p = GlobalPooling(context.record)
    average, values = p.average, p.values
    for task in tasks_of(context, index):
        first, count = share(task, context.tasks, p.planes)
        for plane in range(first, first + count):
            pool_whole(average, offset(p.x, 4 * plane * values), values, offset(p.out, 4 * plane))


#: The workers by operation.
WORKERS = {"pooling": pooling_worker, "global_pooling": global_pooling_worker}
