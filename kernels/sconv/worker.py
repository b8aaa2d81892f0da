"""Convolution in float32, NCHW in and out: a product of channels and patches, as conv/worker.py draws it.

    y[o, oy, ox] = bias[o], then for every k = (c, ky, kx) in order   fma(w[o, k], x[c, iy, ix], y[o, oy, ox])
                   iy = oy·step_y + ky·dilate_y - top, ix in the same way; outside the image x is 0

The order of sums is fixed, so the bits do not depend on tiles, threads or the instruction set.

    task     some pixels of an image (whole panels) × some panels of channels of a group
    worker   for each of my tasks: lay out the patches, unless the task before had the same or a kernel of one pixel
             reads them from the image; for each row panel of weights and STRIP panels of patches a tile, then the
             post-ops while that is in L1
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache

from ..base.jit import kernel
from ..base.memory import ALIGN, aligned, call_post_ops, is_null, offset
from ..conv.patches import is_direct
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
#: Bytes of a channel up to which a kernel of one pixel reads images where they are, whole panels of them, unless the
#: bytes are a multiple of ALIAS: then lines of all channels share few places of the first cache.
IN_PLACE, ALIAS = 12 << 10, 512


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
        in_place = is_direct(context) and k == channels and 4 * area <= IN_PLACE and 4 * area % ALIAS > 0
        held = -1
        for task in tasks_of(context, index):
            place, part = task // parts, task % parts
            item, chunk = place // chunks, place % chunks
            group = item % groups
            from_unit, count = share(chunk, chunks, units)
            first = from_unit * nr
            count = min(pixels - first, count * nr)
            source = offset(context.x, 4 * item * channels * area)
            # Panels that are read in place, behind which one is packed if it is not whole.
            lying = count // nr if in_place else 0
            if place != held and lying * nr < count:
                lay_out(
                    context, source, first + lying * nr, count - lying * nr, channels, panels, panel_stride, planes,
                    offsets,
                )  # fmt: skip
            held = place
            weights = offset(d.weights, group * outputs * row_bytes)
            moved = 4 * (item * outputs * pixels + first)
            begin, some = share(part, parts, row_panels)
            for p in range(begin, begin + some):
                row, height = share(p, row_panels, outputs)
                bias = offset(d.bias, 4 * (group * outputs + row))
                panel = 0
                while panel * nr < count:
                    here = min(STRIP * nr, count - panel * nr)
                    left, word_stride, stride = offset(panels, (panel - lying) * panel_stride), 4 * nr, panel_stride
                    if panel < lying:
                        here = min(here, (lying - panel) * nr)
                        left, word_stride, stride = offset(source, 4 * (first + panel * nr)), 4 * area, 4 * nr
                    wide = (here + nr - lanes - 1) // nr
                    corner = moved + 4 * (row * pixels + panel * nr)
                    target = offset(context.out, corner)
                    start, start_stride, along = bias, 0, 0
                    for begun in range(0, k, K_BLOCK):
                        a, words = offset(weights, row * row_bytes + 4 * begun * height), min(K_BLOCK, k - begun)
                        b = offset(left, word_stride * begun)
                        if wide > 0:
                            strip(
                                height, a, b, word_stride, words, start, start_stride, target, 4 * pixels, wide,
                                stride, min(nr, here - (wide - 1) * nr),
                            )  # fmt: skip
                        if here > wide * nr:  # a vector of the last panel
                            strip(
                                height + tallest, a, offset(b, wide * stride), word_stride, words,
                                offset(start, wide * along), start_stride, offset(target, 4 * nr * wide), 4 * pixels,
                                1, 0, here - wide * nr,
                            )  # fmt: skip
                        start, start_stride, along = target, 4 * pixels, 4 * nr
                    if not is_null(post_ops):
                        addend = residual if is_null(residual) else offset(residual, corner)
                        call_post_ops(post_ops, target, 4 * pixels, addend, 4 * pixels, height, here)
                    panel += (here + nr - 1) // nr
        give_back(slots, slot, allocated)

    return convolution_worker
