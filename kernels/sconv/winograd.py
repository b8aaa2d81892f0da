"""Convolution of 3×3 in float32 by Winograd's F(2×2, 3×3) and F(4×4, 3×3): 16 multiplications for 36, 36 for 144.

    y = Aᵀ [Σ_c U_c ⊙ (Bᵀ d_c B)] A        U_c = G g_c Gᵀ, made once

    d   the values of the image around a tile of results; g the kernel of an input channel, 3×3
    Σ   at every point a product of matrices: channels of the result × tiles

    tiles of 2×2                               ┌ 1  0 -1  0 ┐    ┌  1   0   0 ┐    ┌ 1  0 ┐
    d   4×4                                    │ 0  1  1  0 │    │  ½   ½   ½ │    │ 1  1 │
    Σ   at 16 points                      Bᵀ = │ 0 -1  1  0 │ G =│  ½  -½   ½ │ A =│ 1 -1 │
                                               └ 0  1  0 -1 ┘    └  0   0   1 ┘    └ 0 -1 ┘
    tiles of 4×4, of 6×6 values, at 36 points: with p = ⅝, q = 3/2, n = 2p²(p² - q²), m = 2q²(q² - p²)
         ┌ p²q²   0   -p²-q²   0    1  0 ┐       ┌ 1/p²q²    0     0   ┐       ┌ 1 1  1 1  1 0 ┐
         │  0   -pq²   -q²     p    1  0 │       │  1/n     p/n   p²/n │       │ 0 p -p q -q 0 │
    Bᵀ = │  0    pq²   -q²    -p    1  0 │   G = │  1/n    -p/n   p²/n │  Aᵀ = │ 0 p² p² q² q² 0 │
         │  0   -qp²   -p²     q    1  0 │       │  1/m     q/m   q²/m │       └ 0 p³ -p³ q³ -q³ 1 ┘
         │  0    qp²   -p²    -q    1  0 │       │  1/m    -q/m   q²/m │
         └  0   p²q²    0   -p²-q²  0  1 ┘       └   0       0     1   ┘

    image ──split──▶ planes, in L1 ──into──▶ panels, in L2 ──tile, at every point──▶ sums ──out of──▶ out
                     [value][tile]           [points²][C][NR] each                   [points²][R][NR]

A plane has value i, j of every tile, one after another; one with i ≥ size is that of i - size, a row of tiles on.

Every sum is one chain of fma over c in order. With tiles of 2×2 the bias is what the sum at the second point of both
axes begins with: A takes that into all four results. With tiles of 4×4 it is added to them. Operations have the order
of reference_winograd.py. Tiles are columns, whose image does not matter to a panel: so the bits depend neither on
tasks, threads, instruction set nor on other images.

    task     some panels of tiles, of any images × some panels of channels of the result
    worker   for each of my tasks: lay out the panels, unless the task before had the same; for each row panel of
             weights and panel of tiles a product at every point, then their results; then the post-ops

With u = 2^-24, γ_n = n·u / (1 - n·u), and matrices of absolute values:
|y - exact| ≤ γ_{C+s} · |A|ᵀ [Σ_c (|G| |g_c| |G|ᵀ) ⊙ (|B|ᵀ |d_c| |B|)] |A| + γ_t · |bias|, as long as nothing overflows
or underflows. Of 2×2 s = 7 (weights 1, into 2, out of 4) and t = C + 4; of 4×4 s = 12 (1, 4, 6, the bias 1) and t = 1.
Where all values are of one size this is 64·(C + 7) / (81·C) and 564·(C + 12) / (81·C) times the bound of the plain way,
whose chains are nine times as long.
NaN and infinities reach the results whose patches they are in, and with tiles of 4×4 the others of the tiles of these;
an infinity as an infinity or NaN.

Sources: Lavin and Gray, Fast Algorithms for Convolutional Neural Networks (2015). Barabasz, Anderson, Soodhalter and
Gregg, Error Analysis and Improving the Accuracy of Winograd Convolution for Deep Neural Networks (2020): the choice of
points decides the error.
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
from .emit_winograd import copy_lines, image_into_planes, image_into_points, result_of_points
from .reference_winograd import Tiles

#: Bytes of planes that are laid out at once, at least those of one channel: they stay in L1 while they are read, beside
#: what is written (8 KB was the best of 2 to 32 KB).
PLANES = 1 << 13


@kernel
def tiles_of(context, size):
    """(tiles of an image, those of a row of them)."""
    across = (context.out_width + size - 1) // size
    return (context.out_height + size - 1) // size * across, across


@kernel
def point_bytes(channels, nr):
    """Bytes of a panel of one point: a row more than it has, as 16 places a multiple of 4 KB apart fall out of L1."""
    return 4 * (channels + 1) * nr


@cache
def winograd_worker(isa: Float32, form: Tiles) -> Callable:
    """The worker of one instruction set and size of tiles. Its units are panels of tiles of all images together."""
    strip, split = convolution_strip(isa), image_into_planes(isa, form)
    into, out_of = image_into_points(isa, form), result_of_points(isa, form)
    nr, lanes, tallest = isa.columns, isa.lanes, isa.max_rows
    size, points, square = form.size, form.points, form.square
    biased = -1 if form.biased is None else form.biased * (points + 1)
    name = f"{isa.name}:{size}"

    @kernel(variant=name)
    def clear_rows(planes, plane_stride, first, end, across):
        """What `split` makes of rows of an image, of rows outside."""
        for row in range(first, end):
            for j in range(points):
                plane = offset(planes, (row % size * points + j) * plane_stride)
                clear(offset(plane, row // size * 4 * across), 4 * across)

    @kernel(variant=name)
    def lay_out(context, first, count, panels, planes):
        """`count` tiles from the `first` on, into panels."""
        d = FloatConv(context.descriptor)
        channels, top, left = d.channels, d.top, d.left
        height, width = context.height, context.width
        each, across = tiles_of(context, size)
        point_stride = point_bytes(channels, nr)
        if count % nr:  # what a tile reads is no rest of other calls
            clear(offset(panels, count // nr * square * point_stride), square * point_stride)
        place = 0
        while place < count:
            image, begin = (first + place) // each, (first + place) % each
            some = min(each - begin, count - place)
            line, lines = begin // across, (begin % across + some - 1) // across + 2
            plane_stride = 4 * lines * across
            channel_stride = size * points * plane_stride
            y, tall = size * line, size * (lines - 2) + points
            above, below = inside(top, height, 1, y, tall)
            together = max(1, PLANES // channel_stride)
            for c in range(0, channels, together):
                here = min(together, channels - c)
                plane = planes
                for channel in range(here):
                    source = offset(context.x, 4 * (image * channels + c + channel) * height * width)
                    clear_rows(plane, plane_stride, 0, above, across)
                    clear_rows(plane, plane_stride, below, tall, across)
                    if above < below:
                        split(
                            offset(source, 4 * ((y + above - top) * width - left)), 4 * width,
                            offset(plane, above // size * 4 * across), 4 * across, plane_stride, above % size,
                            below - above, left, left + width, across,
                        )  # fmt: skip
                    plane = offset(plane, channel_stride)
                done = 0
                while done < some:
                    panel, lane = (place + done) // nr, (place + done) % nr
                    tiles = min(some - done, nr - lane)
                    into(
                        offset(planes, 4 * (begin % across + done)), channel_stride, 4 * across, plane_stride,
                        offset(panels, panel * square * point_stride + 4 * (c * nr + lane)), point_stride, here, tiles,
                    )  # fmt: skip
                    done += tiles
            place += some

    @kernel(variant=name)
    def corner_of(context, tile, row, tiles):
        """(where in out the results of a tile begin, columns, lines) of `tiles` tiles of one row, of channel `row`."""
        out_height, out_width = context.out_height, context.out_width
        each, across = tiles_of(context, size)
        image, y, x = tile // each, size * (tile % each // across), size * (tile % across)
        channel = image * FloatConv(context.descriptor).outputs + row
        corner = offset(context.out, 4 * ((channel * out_height + y) * out_width + x))
        return corner, min(size * tiles, out_width - x), min(size, out_height - y)

    @kernel(variant=name)
    def finish(context, first, count, row, height):
        """The post-ops of these tiles, of `height` channels from `row` on: whole lines in one call, for long loops."""
        outputs, out_height, out_width = FloatConv(context.descriptor).outputs, context.out_height, context.out_width
        pixels, done = out_height * out_width, 0
        post_ops, residual = context.post_ops, context.residual
        each, across = tiles_of(context, size)
        while done < count:
            image, begin = (first + done) // each, (first + done) % each
            y, x = size * (begin // across), size * (begin % across)
            tiles = min(across - x // size, count - done)
            lines, columns = min(size, out_height - y), min(size * tiles, out_width - x)
            if tiles == across:
                tiles = min(each - begin, count - done) // across * across
                lines, columns = 1, min(size * (tiles // across), out_height - y) * out_width
            for line in range(lines):
                corner = 4 * ((image * outputs + row) * pixels + (y + line) * out_width + x)
                addend = residual if is_null(residual) else offset(residual, corner)
                target = offset(context.out, corner)
                call_post_ops(post_ops, target, 4 * pixels, addend, 4 * pixels, height, columns)
            done += tiles

    @kernel(variant=name)
    def winograd_worker(context, index):
        context = FloatConvContext(context)
        d = FloatConv(context.descriptor)
        channels, outputs = d.channels, d.outputs
        out_width, parts = context.out_width, context.parts
        pixels = context.out_height * out_width
        each, across = tiles_of(context, size)
        total = d.images * each
        units = (total + nr - 1) // nr
        post_ops = context.post_ops
        point_stride, row_panels = point_bytes(channels, nr), (outputs + tallest - 1) // tallest
        # One piece of memory: panels, the sums and a vector beyond them, a bias of 0, planes, a stage.
        panels_bytes, sums_bytes = context.largest * square * point_stride, 4 * (square * tallest * nr + LANES)
        lines = min(each // across, context.largest * nr // across + 2) + 1
        channel_bytes = 4 * size * points * lines * across
        planes_bytes = channel_bytes * min(channels, 1 + PLANES // channel_bytes) + 4 * LANES
        stage_line = 4 * size * lanes
        stage_row = size * stage_line
        slots = d.slots
        bytes_needed = panels_bytes + sums_bytes + 4 * tallest + planes_bytes + stage_row * tallest
        slot, allocated = borrow(slots, bytes_needed + 5 * ALIGN)
        if is_null(allocated):
            give_back(slots, slot, allocated)
            return
        panels = aligned(allocated)
        sums = offset(panels, panels_bytes)
        zeros = offset(sums, sums_bytes)
        clear(zeros, 4 * tallest)
        planes = aligned(offset(zeros, 4 * tallest))
        stage = aligned(offset(planes, planes_bytes))
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
                weights, bias = offset(d.weights, 4 * square * channels * row), offset(d.bias, 4 * row)
                for panel in range((count + nr - 1) // nr):
                    here, done = min(nr, count - panel * nr), 0
                    narrow = here <= lanes
                    for point in range(square):
                        strip(
                            height + tallest if narrow else height, offset(weights, 4 * point * channels * height),
                            offset(panels, (panel * square + point) * point_stride), 4 * nr, channels,
                            bias if point == biased else zeros, 0,
                            offset(sums, 4 * point * height * nr), 4 * nr, 1, 0, lanes if narrow else nr,
                        )  # fmt: skip
                    while done < here:
                        tile = first + panel * nr + done
                        tiles = min(across - tile % across, here - done)
                        if tiles < here - done:
                            tiles = tiles // lanes * lanes
                        if tiles > 0:  # of one row
                            target, columns, deep = corner_of(context, tile, row, tiles)
                            out_of(
                                offset(sums, 4 * done), 4 * height * nr, height, bias, target, 4 * pixels,
                                4 * out_width, columns, deep,
                            )  # fmt: skip
                            done += tiles
                            continue
                        tiles = min(lanes, here - done)
                        out_of(
                            offset(sums, 4 * done), 4 * height * nr, height, bias, stage, stage_row, stage_line,
                            size * tiles, size,
                        )  # fmt: skip
                        copied = 0
                        while copied < tiles:
                            some = min(across - (tile + copied) % across, tiles - copied)
                            target, columns, deep = corner_of(context, tile + copied, row, some)
                            copy_lines(
                                offset(stage, 4 * size * copied), stage_row, stage_line, target, 4 * pixels,
                                4 * out_width, height, deep, columns,
                            )  # fmt: skip
                            copied += some
                        done += tiles
                if not is_null(post_ops):
                    finish(context, first, count, row, height)
        give_back(slots, slot, allocated)

    return winograd_worker
