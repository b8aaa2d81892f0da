"""Convolution of 3×3 in float32 by Winograd's F(2×2, 3×3): 16 multiplications where the plain way needs 36.

    y = Aᵀ [Σ_c U_c ⊙ (Bᵀ d_c B)] A        U_c = G g_c Gᵀ, made once

    d   4×4 values of the image around a tile of 2×2 results         ┌ 1  0 -1  0 ┐    ┌  1   0   0 ┐    ┌ 1  0 ┐
    g   the kernel of an input channel, 3×3                     Bᵀ = │ 0  1  1  0 │ G =│  ½   ½   ½ │ A =│ 1  1 │
    Σ   16 points, a product of matrices each:                       │ 0 -1  1  0 │    │  ½  -½   ½ │    │ 1 -1 │
        channels of the result × tiles                               └ 0  1  0 -1 ┘    └  0   0   1 ┘    └ 0 -1 ┘

    image ──move──▶ planes, in L1 ──into──▶ panels, in L2 ──tile, 16 times──▶ sums, in L1 ──out of──▶ out
                    (as depthwise.py)       [16][C][NR] each                  [16][R][NR]

Every sum is one chain of fma over c in order; the bias is what the sum at the second point of both axes begins with: A
takes that into all four results. Additions have the order of reference.py. Tiles are columns, whose image does not
matter to a panel: so the bits depend neither on tasks, threads, instruction set nor on other images.

    task     some panels of tiles, of any images × some panels of channels of the result
    worker   for each of my tasks: lay out the panels, unless the task before had the same; for each row panel of
             weights and panel of tiles 16 products, then their results; then the post-ops

With u = 2^-24, γ_n = n·u / (1 - n·u), and matrices of absolute values:
|y - exact| ≤ γ_{C+7} · |A|ᵀ [Σ_c (|G| |g_c| |G|ᵀ) ⊙ (|B|ᵀ |d_c| |B|)] |A| + γ_{C+4} · |bias|, as long as nothing
overflows or underflows. Where all values are of one size this is 64·(C + 7) / (81·C) times the bound of the plain way,
whose chains are nine times as long.
NaN and infinities reach the results whose patches they are in, and no others; an infinity as an infinity or NaN.

Source: Lavin and Gray, Fast Algorithms for Convolutional Neural Networks (2015).
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache

from ..base.jit import kernel
from ..base.memory import ALIGN, aligned, call_post_ops, clear, is_null, offset
from ..conv.patches import inside
from ..isa.float32 import Float32
from ..threads.partition import share
from ..threads.scratch import borrow, give_back
from ..threads.tasks import tasks_of
from .context import FloatConv, FloatConvContext
from .emit import LANES, convolution_strip
from .emit_winograd import image_into_points, result_of_points
from .patches import move
from .reference import BIASED, POINTS, TILE

#: Bytes of planes that are laid out at once, at least those of one channel: they stay in L1 while they are read, beside
#: what is written (8 KB was the best of 2 to 32 KB).
PLANES = 1 << 13
SQUARE = POINTS * POINTS


@kernel
def tiles_of(context):
    """(tiles of an image, those of a row of them)."""
    across = (context.out_width + TILE - 1) // TILE
    return (context.out_height + TILE - 1) // TILE * across, across


@kernel
def plane_row(across):
    """Bytes of a row of a plane: of one column phase."""
    return 4 * ((across + LANES) // LANES * LANES)


@kernel
def point_bytes(channels, nr):
    """Bytes of a panel of one point: a row more than it has, as 16 places a multiple of 4 KB apart fall out of L1."""
    return 4 * (channels + 1) * nr


@cache
def winograd_worker(isa: Float32) -> Callable:
    """The worker of one instruction set. Its units are panels of tiles of all images together."""
    strip, into, out_of = convolution_strip(isa), image_into_points(isa), result_of_points(isa)
    nr, lanes, tallest = isa.columns, isa.lanes, isa.max_rows

    @kernel(variant=isa.name)
    def lay_out(context, first, count, panels, planes):
        """`count` tiles from the `first` on, into panels."""
        d = FloatConv(context.descriptor)
        channels, top, left = d.channels, d.top, d.left
        height, width = context.height, context.width
        each, across = tiles_of(context)
        point_stride, stride = point_bytes(channels, nr), plane_row(across)
        if count % nr:  # what a tile reads is no rest of other calls
            clear(offset(panels, count // nr * SQUARE * point_stride), SQUARE * point_stride)
        place = 0
        while place < count:
            image, begin = (first + place) // each, (first + place) % each
            some = min(each - begin, count - place)
            y = TILE * (begin // across)
            tall = TILE * ((begin + some - 1) // across) - y + POINTS
            above, below = inside(top, height, 1, y, tall)
            channel_stride = TILE * tall * stride
            together = max(1, PLANES // channel_stride)
            for c in range(0, channels, together):
                here = min(together, channels - c)
                plane = planes
                for channel in range(here):
                    source = offset(context.x, 4 * (image * channels + c + channel) * height * width)
                    for phase in range(TILE):
                        low, high = inside(left - phase, width, TILE, 0, across + 1)
                        clear(plane, above * stride)
                        move(
                            TILE, offset(source, 4 * ((y + above - top) * width + phase - left)), 4 * width,
                            offset(plane, above * stride), stride, below - above, low, high, across + 1,
                        )  # fmt: skip
                        clear(offset(plane, below * stride), (tall - below) * stride)
                        plane = offset(plane, tall * stride)
                done = 0
                while done < some:
                    row, column = (begin + done) // across, (begin + done) % across
                    panel, lane = (place + done) // nr, (place + done) % nr
                    tiles = min(across - column, some - done, nr - lane)
                    into(
                        offset(planes, (TILE * row - y) * stride + 4 * column), channel_stride, stride, tall * stride,
                        offset(panels, panel * SQUARE * point_stride + 4 * (c * nr + lane)), point_stride, here, tiles,
                    )  # fmt: skip
                    done += tiles
            place += some

    @kernel(variant=isa.name)
    def finish(context, first, count, row, height):
        """The post-ops of these tiles, of `height` channels from `row` on: whole lines in one call, for long loops."""
        outputs, out_height, out_width = FloatConv(context.descriptor).outputs, context.out_height, context.out_width
        pixels, done = out_height * out_width, 0
        post_ops, residual = context.post_ops, context.residual
        each, across = tiles_of(context)
        while done < count:
            image, begin = (first + done) // each, (first + done) % each
            y, x = TILE * (begin // across), TILE * (begin % across)
            tiles = min(across - x // TILE, count - done)
            lines, columns = min(TILE, out_height - y), min(TILE * tiles, out_width - x)
            if tiles == across:
                tiles = min(each - begin, count - done) // across * across
                lines, columns = 1, min(TILE * (tiles // across), out_height - y) * out_width
            for line in range(lines):
                corner = 4 * ((image * outputs + row) * pixels + (y + line) * out_width + x)
                addend = residual if is_null(residual) else offset(residual, corner)
                target = offset(context.out, corner)
                call_post_ops(post_ops, target, 4 * pixels, addend, 4 * pixels, height, columns)
            done += tiles

    @kernel(variant=isa.name)
    def winograd_worker(context, index):
        context = FloatConvContext(context)
        d = FloatConv(context.descriptor)
        channels, outputs = d.channels, d.outputs
        out_height, out_width = context.out_height, context.out_width
        pixels, parts = out_height * out_width, context.parts
        each, across = tiles_of(context)
        total = d.images * each
        units = (total + nr - 1) // nr
        post_ops = context.post_ops
        point_stride, row_panels = point_bytes(channels, nr), (outputs + tallest - 1) // tallest
        # One piece of memory: panels, the sums and a vector beyond them, a bias of 0, planes.
        panels_bytes, sums_bytes = context.largest * SQUARE * point_stride, 4 * (SQUARE * tallest * nr + LANES)
        lines = TILE * min(each // across, context.largest * nr // across + 2) + POINTS
        channel_bytes = TILE * lines * plane_row(across)
        planes_bytes = channel_bytes * min(channels, 1 + PLANES // channel_bytes) + 4 * 3 * LANES
        slots = d.slots
        slot, allocated = borrow(slots, panels_bytes + sums_bytes + 4 * tallest + planes_bytes + 4 * ALIGN)
        if is_null(allocated):
            give_back(slots, slot, allocated)
            return
        panels = aligned(allocated)
        sums = offset(panels, panels_bytes)
        zeros = offset(sums, sums_bytes)
        clear(zeros, 4 * tallest)
        planes = aligned(offset(zeros, 4 * tallest))
        held = -1
        for task in tasks_of(context, index):
            place, part = task // parts, task % parts
            from_unit, count = share(place, context.chunks, units)
            first = from_unit * nr
            count = min(total - first, count * nr)
            if place != held:
                lay_out(context, first, count, panels, planes)
                held = place
            begin, some = share(part, parts, row_panels)
            for p in range(begin, begin + some):
                row, height = share(p, row_panels, outputs)
                weights, bias = offset(d.weights, 4 * SQUARE * channels * row), offset(d.bias, 4 * row)
                for panel in range((count + nr - 1) // nr):
                    here, done = min(nr, count - panel * nr), 0
                    narrow = here <= lanes
                    for point in range(SQUARE):
                        strip(
                            height + tallest if narrow else height, offset(weights, 4 * point * channels * height),
                            offset(panels, (panel * SQUARE + point) * point_stride), 4 * nr, channels,
                            bias if point == BIASED else zeros, 0,
                            offset(sums, 4 * point * height * nr), 4 * nr, 1, 0, lanes if narrow else nr,
                        )  # fmt: skip
                    while done < here:
                        tile = first + panel * nr + done
                        image, y, x = tile // each, TILE * (tile % each // across), TILE * (tile % each % across)
                        tiles = min(across - x // TILE, here - done)
                        columns, deep = min(TILE * tiles, out_width - x), min(TILE, out_height - y)
                        corner = 4 * ((image * outputs + row) * pixels + y * out_width + x)
                        out_of(
                            offset(sums, 4 * done), 4 * height * nr, height, offset(context.out, corner), 4 * pixels,
                            4 * out_width, columns, deep,
                        )  # fmt: skip
                        done += tiles
                if not is_null(post_ops):
                    finish(context, first, count, row, height)
        give_back(slots, slot, allocated)

    return winograd_worker
