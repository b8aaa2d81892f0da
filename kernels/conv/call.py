"""From an array of images to a running convolution (see worker.py): quantize, choose threads and tasks, run."""

from __future__ import annotations

from ..base import context as at
from ..base.jit import kernel
from ..base.memory import insist, is_null, load_int, load_ptr, offset, stack_zeros, store_int, store_ptr
from ..gemm.pack import padded_length
from ..quantize.call import VALUES_PER_US, quantize_into
from ..threads.partition import MACS_PER_US
from ..threads.pool import LINE, run, worthwhile
from ..threads.scratch import borrow, give_back
from .context import (
    BOTTOM,
    CHANNELS,
    CHUNKS,
    CONTEXT_WORDS,
    DESCRIPTOR,
    DILATE_X,
    DILATE_Y,
    GROUPS,
    HEIGHT,
    K_HIGH,
    K_WIDE,
    L2_BYTES,
    LARGEST,
    LAST_CACHE,
    LEFT,
    MR,
    NR,
    OUT_HEIGHT,
    OUT_WIDTH,
    OUTPUTS,
    PARTS,
    QUANTIZE,
    RIGHT,
    SCALES,
    SLOTS,
    STEP_X,
    STEP_Y,
    TOP,
    WIDTH,
)
from .emit import PIXELS

#: The least microseconds to give a thread: quantizing, packing patches and products are calls and tasks of their own.
WORTH_US = 3.0
#: Tasks for each thread, at least, and units of pixels that a task keeps where pixels are cut for their sake.
TASKS, UNITS = 2, 4


@kernel
def output_size(size, before, after, taps, dilate, step):
    """Pixels of the result along one side."""
    return (size + before + after - dilate * (taps - 1) - 1) // step + 1


@kernel
def estimate(images, outputs, pixels, k, values):
    """Microseconds that one thread needs, about: the dots, and quantizing; K is never below what a tile starts with."""
    return images * (outputs * pixels * (k + 32) / MACS_PER_US + values / VALUES_PER_US)


@kernel
def cut(images, units, most, row_panels, threads):
    """(chunks, parts): into how many tasks the pixels of an image, and the row panels of a group, are cut.

    Pixels first, since patches are laid out once per chunk; few pixels are laid out by every thread.
    """
    chunks, wanted = (units + most - 1) // most, TASKS * threads if threads > 1 else 1
    if images * chunks < wanted:
        chunks = max(chunks, min(units // UNITS, (wanted + images - 1) // images))
    parts = 1
    if images * chunks < wanted:
        parts = min(row_panels, (wanted + images * chunks - 1) // (images * chunks))
    return chunks, parts


@kernel
def convolve_into(x, images, height, width, out, descriptor, post_ops, threads):
    """float32 out [images, outputs, …] from x [images, channels, height, width], both contiguous; 0 threads chooses."""
    d = descriptor
    channels, outputs, groups = load_int(d, CHANNELS), load_int(d, OUTPUTS), load_int(d, GROUPS)
    top, bottom, left, right = load_int(d, TOP), load_int(d, BOTTOM), load_int(d, LEFT), load_int(d, RIGHT)
    k_high, k_wide = load_int(d, K_HIGH), load_int(d, K_WIDE)
    out_height = output_size(height, top, bottom, k_high, load_int(d, DILATE_Y), load_int(d, STEP_Y))
    out_width = output_size(width, left, right, k_wide, load_int(d, DILATE_X), load_int(d, STEP_X))
    pixels, values, k = out_height * out_width, channels * height * width, channels // groups * k_high * k_wide
    if images == 0:
        return
    pool, nr, tallest = load_ptr(d, at.POOL), load_int(d, NR), load_int(d, MR)
    threads = worthwhile(pool, threads, estimate(images, outputs, pixels, k, values), WORTH_US)
    units, per_unit = (pixels + PIXELS - 1) // PIXELS, PIXELS // nr
    most = max(1, load_int(d, L2_BYTES) // 2 // (per_unit * nr * padded_length(k)))
    row_panels = (outputs // groups + tallest - 1) // tallest
    chunks, parts = cut(images * groups, units, most, row_panels, threads)
    tasks = images * groups * chunks * parts

    # What vectors read around a row may lie before the first image and behind the last.
    slack = left + right + PIXELS * (load_int(d, STEP_X) + 2)
    slots = load_ptr(d, SLOTS)
    slot, buffer = borrow(slots, 5 * images + images * values + 2 * slack)
    if is_null(buffer):
        give_back(slots, slot, buffer)
        insist(False)
    scales, zeros = buffer, offset(buffer, 4 * images)
    quantized = offset(buffer, 5 * images + slack)
    fine = quantize_into(
        x, 4 * values, images, values, quantized, values, scales, zeros, 0, 0,
        load_int(d, QUANTIZE), load_int(d, at.POOL), load_int(d, LAST_CACHE), threads,
    )  # fmt: skip

    threads = min(threads, tasks)
    context = stack_zeros(8 * (CONTEXT_WORDS + LINE * threads))
    store_ptr(context, at.WORKER, load_ptr(d, at.WORKER))
    store_ptr(context, at.POOL, pool)
    store_ptr(context, DESCRIPTOR, d)
    store_ptr(context, at.X, quantized)
    store_ptr(context, at.X_ZERO, zeros)
    store_ptr(context, SCALES, scales)
    store_ptr(context, at.OUT, out)
    store_int(context, at.POST_OPS, post_ops)
    store_int(context, HEIGHT, height)
    store_int(context, WIDTH, width)
    store_int(context, OUT_HEIGHT, out_height)
    store_int(context, OUT_WIDTH, out_width)
    store_int(context, CHUNKS, chunks)
    store_int(context, PARTS, parts)
    store_int(context, LARGEST, (units + chunks - 1) // chunks)
    store_int(context, at.ROW_TASKS, tasks)
    store_int(context, at.THREADS, threads)
    store_ptr(context, at.COUNTERS, offset(context, 8 * CONTEXT_WORDS))
    fine = fine and run(context, threads, tasks)
    give_back(slots, slot, buffer)
    insist(fine)


@kernel
def convolution_entry(x, out, descriptor, images, height, width, post_ops, threads):
    """`convolve_into` on addresses of arrays."""
    convolve_into(x.data, images, height, width, out.data, descriptor.data, post_ops, threads)
