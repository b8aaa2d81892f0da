"""From an array of images to a running convolution (see worker.py): quantize, choose threads and tasks, run."""

from __future__ import annotations

from ..base.context import Context, new_context
from ..base.jit import kernel
from ..base.memory import insist, is_null, offset
from ..gemm.pack import padded_length
from ..quantize.call import VALUES_PER_US, quantize_into
from ..threads.partition import MACS_PER_US
from ..threads.pool import run, worthwhile
from ..threads.scratch import borrow, give_back
from .context import ConvContext, ConvDescriptor
from .emit import PIXELS

#: The least microseconds to give a thread: quantizing, packing patches and products are calls and tasks of their own.
WORTH_US = 3.0
#: Tasks for each thread, at least, and units of pixels that a task keeps where pixels are cut for their sake.
TASKS, UNITS = 2, 3


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
    """`convolve_at`, which raises where there is too little memory."""
    insist(convolve_at(x, images, height, width, out, descriptor, post_ops, threads))


@kernel
def convolve_at(x, images, height, width, out, descriptor, post_ops, threads):
    """float32 out [images, outputs, …] from x [images, channels, height, width], both contiguous; 0 threads chooses.

    Whether there was enough memory.
    """
    d = ConvDescriptor(descriptor)
    channels, outputs, groups = d.channels, d.outputs, d.groups
    top, bottom, left, right = d.top, d.bottom, d.left, d.right
    k_high, k_wide = d.k_high, d.k_wide
    out_height = output_size(height, top, bottom, k_high, d.dilate_y, d.step_y)
    out_width = output_size(width, left, right, k_wide, d.dilate_x, d.step_x)
    pixels, values, k = out_height * out_width, channels * height * width, channels // groups * k_high * k_wide
    if images == 0:
        return True
    pool, nr, tallest = d.pool, d.nr, d.mr
    threads = worthwhile(pool, threads, estimate(images, outputs, pixels, k, values), WORTH_US)
    units, per_unit = (pixels + PIXELS - 1) // PIXELS, PIXELS // nr
    most = max(1, d.l2_bytes // 2 // (per_unit * nr * padded_length(k)))
    row_panels = (outputs // groups + tallest - 1) // tallest
    chunks, parts = cut(images * groups, units, most, row_panels, threads)
    tasks = images * groups * chunks * parts

    # What vectors read around a row may lie before the first image and behind the last.
    slack = left + right + PIXELS * (d.step_x + 2)
    slots = d.slots
    slot, buffer = borrow(slots, 5 * images + images * values + 2 * slack)
    if is_null(buffer):
        give_back(slots, slot, buffer)
        return False
    scales, zeros = buffer, offset(buffer, 4 * images)
    quantized = offset(buffer, 5 * images + slack)
    fine = quantize_into(
        x, 4 * values, images, values, quantized, values, scales, zeros, 0, 0,
        d.quantize, d.pool, d.last_cache, threads,
    )  # fmt: skip

    threads = min(threads, tasks)
    context = new_context(ConvContext, threads)
    context.worker = d.worker
    context.pool = pool
    context.descriptor = d
    context.x = quantized
    context.zeros = zeros
    context.scales = scales
    context.out = out
    context.post_ops = post_ops
    context.height = height
    context.width = width
    context.out_height = out_height
    context.out_width = out_width
    context.chunks = chunks
    context.parts = parts
    context.largest = (units + chunks - 1) // chunks
    context.tasks = tasks
    fine = fine and run(Context(context), threads)
    give_back(slots, slot, buffer)
    return fine


@kernel
def convolution_entry(x, out, descriptor, images, height, width, post_ops, threads):
    """`convolve_into` on addresses of arrays."""
    convolve_into(x.data, images, height, width, out.data, descriptor.data, post_ops.data, threads)
