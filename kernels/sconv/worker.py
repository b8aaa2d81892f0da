"""Convolution in float32, NCHW in and out: a product of channels and patches, as conv/worker.py draws it.

    y[o, oy, ox] = bias[o], then for every k = (c, ky, kx) in order   fma(w[o, k], x[c, iy, ix], y[o, oy, ox])
                   iy = oy·step_y + ky·dilate_y - top, ix in the same way; outside the image x is 0

The order of sums is fixed, so the bits do not depend on tiles, threads or the instruction set.

    task     some pixels of an image (whole panels) × some panels of channels of a group
    worker   for each of my tasks: lay out the patches, unless the task before had the same; for each row panel of
             weights and STRIP panels of patches a tile, then the post-ops while that is in L1
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache

from ..base.jit import kernel
from ..base.memory import ALIGN, aligned, call_post_ops, is_null, offset
from ..isa.float32 import Float32
from ..threads.partition import share
from ..threads.scratch import borrow, give_back
from ..threads.tasks import tasks_of
from .context import FloatConv, FloatConvContext
from .emit import convolution_strip
from .patches import patch_packer, planes_bytes

#: Panels of patches that one strip of tiles goes through, and values of k after which the sums wait in out, so that the
#: weights of a row panel stay in L1 for the strip.
STRIP, K_BLOCK = 16, 512


@cache
def convolution_worker(isa: Float32) -> Callable:
    """The worker of one instruction set."""
    strip = convolution_strip(isa)
    lay_out = patch_packer(isa)
    nr, lanes, tallest = isa.columns, isa.lanes, isa.max_rows

    @kernel(variant=isa.name)
    def convolution_worker(context, index):
        context = FloatConvContext(context)
        d = FloatConv(context.descriptor)
        groups = d.groups
        channels, outputs = d.channels // groups, d.outputs // groups
        k = channels * d.k_high * d.k_wide
        panel_stride, row_bytes = 4 * k * nr, 4 * k
        area = context.height * context.width
        pixels = context.out_height * context.out_width
        units = (pixels + nr - 1) // nr
        chunks, parts = context.chunks, context.parts
        post_ops, residual = context.post_ops, context.residual
        row_panels = (outputs + tallest - 1) // tallest
        # One piece of memory: panels, offsets of streams, planes.
        sizes = context.largest * panel_stride, 8 * k
        slots = d.slots
        slot, allocated = borrow(slots, sizes[0] + sizes[1] + planes_bytes(context, nr) + ALIGN)
        if is_null(allocated):
            give_back(slots, slot, allocated)
            return
        panels = aligned(allocated)
        offsets = offset(panels, sizes[0])
        planes = offset(offsets, sizes[1])
        held = -1
        for task in tasks_of(context, index):
            place, part = task // parts, task % parts
            item, chunk = place // chunks, place % chunks
            group = item % groups
            from_unit, count = share(chunk, chunks, units)
            first = from_unit * nr
            count = min(pixels - first, count * nr)
            if place != held:
                source = offset(context.x, 4 * item * channels * area)
                lay_out(context, source, first, count, channels, panels, panel_stride, planes, offsets)
                held = place
            weights = offset(d.weights, group * outputs * row_bytes)
            moved = 4 * (item * outputs * pixels + first)
            begin, some = share(part, parts, row_panels)
            for p in range(begin, begin + some):
                row, height = share(p, row_panels, outputs)
                bias = offset(d.bias, 4 * (group * outputs + row))
                for panel in range(0, (count + nr - 1) // nr, STRIP):
                    here = min(STRIP * nr, count - panel * nr)
                    wide = (here + nr - lanes - 1) // nr
                    corner = moved + 4 * (row * pixels + panel * nr)
                    target = offset(context.out, corner)
                    start, start_stride, along = bias, 0, 0
                    for begun in range(0, k, K_BLOCK):
                        a, words = offset(weights, row * row_bytes + 4 * begun * height), min(K_BLOCK, k - begun)
                        b = offset(panels, panel * panel_stride + 4 * begun * nr)
                        if wide > 0:
                            strip(
                                height, a, b, 4 * nr, words, start, start_stride, target, 4 * pixels, wide,
                                panel_stride, min(nr, here - (wide - 1) * nr),
                            )  # fmt: skip
                        if here > wide * nr:  # a vector of the last panel
                            strip(
                                height + tallest, a, offset(b, wide * panel_stride), 4 * nr, words,
                                offset(start, wide * along), start_stride, offset(target, 4 * nr * wide), 4 * pixels,
                                1, 0, here - wide * nr,
                            )  # fmt: skip
                        start, start_stride, along = target, 4 * pixels, 4 * nr
                    if not is_null(post_ops):
                        addend = residual if is_null(residual) else offset(residual, corner)
                        call_post_ops(post_ops, target, 4 * pixels, addend, 4 * pixels, height, here)
        give_back(slots, slot, allocated)

    return convolution_worker
