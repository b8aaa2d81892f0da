"""Convolution of images that are quantized at run time, one scale per image: exact 8-bit integers, NCHW in and out.

    y[o, oy, ox] = float32(Σ (xq[c, iy, ix] - zero_point) · q[o, c, ky, kx]) · (scale_w[o] · scale_x) + bias[o]
                   iy = oy·step_y + ky·dilate_y - top, ix in the same way; outside the image a term is 0

The products of output channels and output pixels are a matrix product with channels as rows (conv/emit.py), so
its result has the order of the output in memory. The other side, the patches of all pixels [K][pixels], is never in
memory as a whole: a task lays out the patches of its own pixels, as panels that stay in L2 for all its channels.

    image, uint8         planes, for some channels in L1               panels, some pixels in L2
    ┌ W ───────┐         ┌ OW ───┐   one for each kx and row phase     [words][NR][KR] each, NR pixels
    │          │ shift   │ x = 0 │   (iy mod step_y): rows of the      ┌───────────┬─────
  H │          │ ──────▶ │       │   image from ix(kx) on, every  pack │ k 0…3     │ …
    │          │         │       │   step_x-th byte, and the zero ───▶ │ k 4…7     │ …
    └──────────┘         └───────┘   point outside it                  └───────────┴─────

Rows of a plane follow each other without a gap, so for every k the bytes of consecutive pixels are consecutive, also
across the rows of the result: no pixel is computed needlessly except those that fill up the last panel. A kernel of one
column with step 1 and no padding reads the image itself.

    task     some pixels of an image (whole units of 64) × some panels of channels of a group
    worker   for each of my tasks: lay out the patches, unless the task before had the same; for each row panel of
             weights and STRIP panels of patches a tile with epilogue, then the activation while that is in L1

Bounds: |Σ xq·q| ≤ 255·127·K < 2^31 for K ≤ MAX_K. Vectors are read up to PIXELS·step bytes beyond a row, which the
space around the quantized images allows, and stored up to 64 bytes beyond a row of a plane, which is written next.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache

import numpy as np
from numba import carray

from ..base.jit import kernel
from ..base.memory import (
    ALIGN,
    aligned,
    call_post_ops,
    is_null,
    load_f32,
    load_i32,
    load_u8,
    offset,
    stack_bytes,
    store_f32,
    store_i32,
)
from ..gemm.pack import padded_length
from ..isa.base import InstructionSet
from ..threads.partition import share
from ..threads.scratch import borrow, give_back
from ..threads.tasks import tasks_of
from .context import ConvContext, ConvDescriptor
from .emit import PIXELS, convolution_strip
from .patches import patch_packer, planes_bytes

#: Panels of patches that one strip of tiles goes through.
STRIP = 16


@cache
def portable_strip(isa: InstructionSet) -> Callable:
    """The tile in plain loops: the arguments of `convolution_strip`."""
    nr = isa.columns

    @kernel(variant=isa.name)
    def portable_strip(
        rows, a, b, words, scale, zero_point, columns, out, out_stride, panels, panel_stride, last, ahead, near
    ):  # fmt: skip
        acc = carray(stack_bytes(4 * nr), (nr,), np.int32)
        for p in range(panels):
            valid = last if p == panels - 1 else nr
            for r in range(rows):
                acc[:] = load_i32(zero_point, r)
                for word in range(words):
                    q = carray(offset(a, 4 * (word * rows + r)), (4,), np.int8)
                    q0, q1, q2, q3 = np.int32(q[0]), np.int32(q[1]), np.int32(q[2]), np.int32(q[3])
                    x = carray(offset(b, p * panel_stride + word * 4 * nr), (4 * nr,), np.uint8)
                    for c in range(nr):
                        acc[c] += q0 * x[4 * c] + q1 * x[4 * c + 1] + q2 * x[4 * c + 2] + q3 * x[4 * c + 3]
                factor, bias = load_f32(zero_point, rows + r), load_f32(zero_point, 2 * rows + r)
                y = carray(offset(out, r * out_stride + 4 * p * nr), (valid,), np.float32)
                for c in range(valid):
                    y[c] = np.float32(np.float32(acc[c]) * factor) + bias

    return portable_strip


@cache
def convolution_worker(isa: InstructionSet) -> Callable:
    """The worker of one instruction set."""
    strip = convolution_strip(isa) if isa.emitted else portable_strip(isa)
    lay_out = patch_packer(isa)
    nr, kr, tallest = isa.columns, isa.k_per_word, isa.max_rows
    unit = PIXELS // nr

    @kernel(variant=isa.name)
    def row_words(d, group, outputs, scale, zero, words):
        """[3][R] of every row panel of a group, for an image's scale and zero point."""
        source, every = d.rows, d.outputs
        row_panels = (outputs + tallest - 1) // tallest
        for p in range(row_panels):
            first, height = share(p, row_panels, outputs)
            place = offset(words, 12 * first)
            for r in range(height):
                o = group * outputs + first + r
                store_i32(place, r, np.int32(-zero * load_i32(source, o)))
                store_f32(place, height + r, np.float32(load_f32(source, every + o) * scale))
                store_f32(place, 2 * height + r, load_f32(source, 2 * every + o))

    @kernel(variant=isa.name)
    def convolution_worker(context, index):
        context = ConvContext(context)
        d = ConvDescriptor(context.descriptor)
        groups = d.groups
        channels, outputs = d.channels // groups, d.outputs // groups
        taps, words = d.k_high * d.k_wide, d.words
        padded = padded_length(channels * taps)
        panel_stride, row_bytes = padded * nr, padded // kr * 4
        area = context.height * context.width
        pixels = context.out_height * context.out_width
        units = (pixels + PIXELS - 1) // PIXELS
        chunks, parts = context.chunks, context.parts
        post_ops = context.post_ops
        row_panels = (outputs + tallest - 1) // tallest
        # One piece of memory: panels, row words, offsets of streams, planes.
        sizes = context.largest * unit * panel_stride, (12 * outputs + 63) // 64 * 64, 8 * (padded + 8)
        slots = d.slots
        slot, allocated = borrow(slots, sizes[0] + sizes[1] + sizes[2] + planes_bytes(context) + ALIGN)
        if is_null(allocated):
            give_back(slots, slot, allocated)
            return
        panels = aligned(allocated)
        rows = offset(panels, sizes[0])
        offsets = offset(rows, sizes[1])
        planes = offset(offsets, sizes[2])
        held, fitted = -1, -1
        for task in tasks_of(context, index):
            place, part = task // parts, task % parts
            item, chunk = place // chunks, place % chunks
            image, group = item // groups, item % groups
            from_unit, count = share(chunk, chunks, units)
            first = from_unit * PIXELS
            count = min(pixels - first, count * PIXELS)
            scale = load_f32(context.scales, image)
            zero = load_u8(context.zeros, image)
            if item != fitted:
                row_words(d, group, outputs, scale, np.int64(zero), rows)
                fitted = item
            if place != held:
                source = offset(context.x, item * channels * area)
                lay_out(context, source, zero, first, count, channels, panels, panel_stride, planes, offsets)
                held = place
            weights = offset(d.weights, group * outputs * row_bytes)
            out = offset(context.out, 4 * (item * outputs * pixels + first))
            begin, some = share(part, parts, row_panels)
            for p in range(begin, begin + some):
                row, height = share(p, row_panels, outputs)
                for panel in range(0, (count + nr - 1) // nr, STRIP):
                    here = min(STRIP * nr, count - panel * nr)
                    wide = (here + nr - 1) // nr
                    corner = offset(out, 4 * (row * pixels + panel * nr))
                    strip(
                        height, offset(weights, row * row_bytes), offset(panels, panel * panel_stride), words, rows,
                        offset(rows, 12 * row), rows, corner, 4 * pixels, wide, panel_stride, here - (wide - 1) * nr,
                        rows, 0,
                    )  # fmt: skip
                    if not is_null(post_ops):
                        call_post_ops(post_ops, corner, 4 * pixels, corner, 0, height, here)
        give_back(slots, slot, allocated)

    return convolution_worker
