"""The step of a convolution in float32: choose threads and tasks, run (worker.py, depthwise.py, winograd.py)."""

from __future__ import annotations

from ..base.context import Context, new_context
from ..base.jit import kernel
from ..base.status import FINE, NO_MEMORY
from ..conv.call import TASKS, cut, output_size
from ..threads.pool import run, worthwhile
from .context import DEPTHWISE, FloatConv, FloatConvContext
from .reference_winograd import LARGE, SMALL

#: Multiply-adds (of the plain way's) that one thread does in a microsecond, about, by each way; and the least
#: microseconds to give a thread.
MACS_PER_US = 60_000.0, 15_000.0, 100_000.0, 150_000.0
WORTH_US = 3.0
#: Of the ways: the side of a tile, and its points.
SIZES, SQUARES = (1, 1, SMALL.size, LARGE.size), (1, 1, SMALL.square, LARGE.square)
#: Values of the result of a depthwise task, at least.
TASK = 1 << 12


@kernel
def convolution_step(record, threads):
    """out from x, as the record says (context.py); at most so many threads, 0 chooses. 0, or 1: too little memory."""
    d = FloatConv(record)
    images, height, width, outputs, groups = d.images, d.height, d.width, d.outputs, d.groups
    out_height = output_size(height, d.top, d.bottom, d.k_high, d.dilate_y, d.step_y)
    out_width = output_size(width, d.left, d.right, d.k_wide, d.dilate_x, d.step_x)
    pixels, k = out_height * out_width, d.channels // groups * d.k_high * d.k_wide
    if images * outputs * pixels == 0:
        return FINE
    pool, nr, way = d.pool, d.nr, d.way
    winograd = SIZES[way] > 1
    threads = worthwhile(pool, threads, images * outputs * pixels * k / MACS_PER_US[way], WORTH_US)
    if way == DEPTHWISE:
        units, items, parts = out_height, images * outputs, 1
        chunks = min(out_height, max(1, pixels // TASK))
        if items * chunks < TASKS * threads:
            chunks = min(out_height, (TASKS * threads + items - 1) // items)
    else:
        if winograd:
            size = SIZES[way]
            tiles = (out_height + size - 1) // size * ((out_width + size - 1) // size)
            units, items, k = (images * tiles + nr - 1) // nr, 1, SQUARES[way] * d.channels
        else:
            units, items = (pixels + nr - 1) // nr, images * groups
        most = max(1, d.l2_bytes // 2 // (4 * k * nr))
        row_panels = (outputs // groups + d.mr - 1) // d.mr
        chunks, parts = cut(items, units, most, row_panels, threads)
        tasks = TASKS * threads
        if winograd and parts > row_panels // 2 and units >= tasks and 4 * k * outputs <= d.l2_bytes // 2:
            chunks, parts = tasks, 1  # to lay tiles out twice would cost more than to read such weights twice
    tasks = items * chunks * parts
    threads = min(threads, tasks)
    context = new_context(FloatConvContext, threads)
    context.worker = d.worker
    context.pool = pool
    context.descriptor = d
    context.x = d.x
    context.out = d.out
    context.residual = d.residual
    context.post_ops = d.post_ops
    context.height = height
    context.width = width
    context.out_height = out_height
    context.out_width = out_width
    context.chunks = chunks
    context.parts = parts
    context.largest = (units + chunks - 1) // chunks
    context.tasks = tasks
    return FINE if run(Context(context), threads) else NO_MEMORY


@kernel
def convolution_entry(record, threads):
    """`convolution_step` for Python."""
    return convolution_step(record.data, threads)
