"""The fused linear: float32 rows in, float32 rows out, weights packed.

    worker:  for each of my tasks (a block of rows × a range of weight panels, of one or more weights)
                 quantize and pack the block's rows            once per block, into this thread's scratch
                 for each strip of panels                      its weights stay in L2 for all row panels
                     for each row panel (≤ MR rows)            its activations stay in L1 for the strip
                         tiles, dequantize, then post-ops      while the output strip is in L1 (outliers between them)

Heights of row panels differ by at most one, so no tile is computed for padding rows.
Everything a worker needs stands in its context (context.py). Rows of x need not be aligned or contiguous with each
other; the last row panel and the last weight panel are short, and nothing is written beyond them.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache

import numpy as np

from ..base.jit import kernel
from ..base.memory import (
    aligned,
    allocate,
    call_post_ops,
    copy_bytes,
    is_null,
    offset,
    release,
    stack_bytes,
    store_f32,
    store_i32,
)
from ..gemm.intrinsics import matrix_registers, matrix_strip
from ..gemm.long_k import long_strip
from ..gemm.portable import strip_for
from ..gemm.tile import UNROLL, Near, Output, Scheme
from ..isa.base import InstructionSet
from ..quantize.qparams import STEPS, fit_rows
from ..threads.partition import share
from ..threads.tasks import tasks_of
from .context import LinearContext
from .outliers import mask_of, outlier_adder
from .row_panels import row_panels

#: Scratch up to this size is taken from the stack.
STACK_BYTES = 16384
#: Bytes that a strip prefetches in every unrolled step.
NEAR = 64 * Near.LINES


@cache
def task_runner(isa: InstructionSet, scheme: Scheme, long: bool = False) -> tuple[Callable, Callable]:
    """(packed_bytes, run_task) of an instruction set and scheme; `long`: K beyond pack.MAX_K (see gemm/long_k.py)."""
    output = Output.GROUPED if scheme.group else Output.DEQUANTIZED
    strip = long_strip(isa, scheme.planes) if long else strip_for(isa, scheme, output)
    steps_of_x = STEPS[scheme.x_bits]
    panels_of, add_outliers = row_panels(isa, scheme), outlier_adder(isa)
    row_words, packed_bytes, count_panels, row_panel, pack_rows, _ = panels_of
    nr = isa.columns
    variant = f"{scheme.name}{'_long' if long else ''}__{isa.name}"
    matrix, configure = isa.matrix_rows > 0, matrix_registers(isa, "configure")
    tiles = matrix_strip(isa, scheme.planes) if matrix else strip

    @kernel(variant=variant)
    def quantize_panel(context, on_matrix, first, rows, packed, scales, zero_points):
        """Rows first … first+rows of x as one row panel."""
        k, x_stride = context.k, context.x_stride
        x = offset(context.x, first * x_stride)
        if context.fixed:
            for i in range(rows):
                store_f32(scales, i, context.fixed_scale)
                store_i32(zero_points, i, np.int32(context.fixed_zero_point))
        elif not is_null(context.row_scales):
            copy_bytes(scales, offset(context.row_scales, 4 * first), 4 * rows)
            copy_bytes(zero_points, offset(context.row_zeros, 4 * first), 4 * rows)
        else:
            fit_rows(x, x_stride, rows, k, mask_of(context), steps_of_x, scales, zero_points)
        pack_rows(on_matrix, x, x_stride, rows, k, scales, zero_points, packed)

    @kernel(variant=variant)
    def multiply(context, on_matrix, first, rows, begin, count, packed, scales, zero_points, ahead, near):
        """One row panel, rows first … first+rows, times weight panels begin … begin+count."""
        n, words = context.n, context.words
        panel_stride, out_stride = context.panel_stride, context.out_stride
        corner = offset(context.out, first * out_stride + 4 * begin * nr)
        valid = min(n - begin * nr, count * nr)
        weights = offset(context.weights, begin * panel_stride)
        columns, last = offset(context.columns, 12 * begin * nr), valid - (count - 1) * nr
        if matrix and on_matrix:
            tiles(
                rows, packed, weights, words, scales, zero_points, columns, corner, out_stride, count, panel_stride,
                last, ahead, near,
            )  # fmt: skip
        else:
            strip(
                rows, packed, weights, words, scales, zero_points, columns, corner, out_stride, count, panel_stride,
                last, ahead, near,
            )  # fmt: skip
        if not is_null(context.outliers):
            add_outliers(context, first, rows, begin * nr, valid, corner)
        post_ops = context.post_ops
        if not is_null(post_ops):
            residual_stride = context.residual_stride
            addend = offset(context.residual, first * residual_stride + 4 * begin * nr)
            call_post_ops(post_ops, corner, out_stride, addend, residual_stride, rows, valid)
            if matrix and on_matrix:
                configure()  # a user's function may have used the registers itself

    @kernel(variant=variant)
    def run_task(context, on_matrix, first, rows, panel_from, panel_to, fresh, packed, scales, zero_points):
        """Rows first … first+rows times weight panels panel_from … panel_to; `fresh` rows are quantized on the way.

        While the first strip multiplies a fresh row panel, it prefetches the next one's x.
        """
        apart, wide = row_words(context.k), context.strip_panels
        x, x_stride = context.x, context.x_stride
        steps = max(1, context.words // UNROLL)
        contiguous = x_stride == 4 * context.k
        row_panels = count_panels(on_matrix, rows)
        for begin in range(panel_from, panel_to, wide):
            count = min(wide, panel_to - begin)
            for p in range(row_panels):
                r, height = row_panel(on_matrix, p, row_panels, rows)
                a, scale, zero_point = offset(packed, 4 * r * apart), offset(scales, 4 * r), offset(zero_points, 4 * r)
                done = 0
                if fresh and begin == panel_from:
                    quantize_panel(context, on_matrix, first + r, height, a, scale, zero_point)
                    if contiguous and p + 1 < row_panels and not (matrix and on_matrix):
                        following, more = row_panel(on_matrix, p + 1, row_panels, rows)
                        done = min(count, 1 + more * x_stride // (steps * NEAR))
                        source = offset(x, (first + following) * x_stride)
                        multiply(
                            context, on_matrix, first + r, height, begin, done, a, scale, zero_point, source, NEAR
                        )  # fmt: skip
                if done < count:
                    multiply(
                        context, on_matrix, first + r, height, begin + done, count - done, a, scale, zero_point, a, 0
                    )  # fmt: skip

    return packed_bytes, run_task


@cache
def linear_worker(isa: InstructionSet, scheme: Scheme, long: bool = False) -> Callable:
    """The worker of one instruction set and weight scheme."""
    packed_bytes, run_task = task_runner(isa, scheme, long)
    matrix, on_matrix, nr = isa.matrix_rows > 0, row_panels(isa, scheme).on_matrix, isa.columns
    configure, free = matrix_registers(isa, "configure"), matrix_registers(isa, "release")

    @kernel(variant=f"{scheme.name}{'_long' if long else ''}__{isa.name}")
    def linear_worker(context, index):
        context = LinearContext(context)
        m, row_tasks, column_tasks = context.m, context.row_tasks, context.column_tasks
        panels, tallest_block = context.all_panels, context.row_block
        # scales, zero points, packed rows: one piece of memory of this thread, touched first by it
        needed = 8 * tallest_block + packed_bytes(tallest_block, context.k)
        small = needed <= STACK_BYTES
        scratch = stack_bytes(needed) if small else allocate(needed)
        if is_null(scratch):
            return
        scales = scratch
        zero_points = offset(scales, 4 * tallest_block)
        packed = offset(zero_points, 4 * tallest_block)
        if matrix:
            packed = aligned(packed)
        on_registers = on_matrix(tallest_block, nr * panels // column_tasks, context.k)
        if on_registers:
            configure()
        held = -1
        for task in tasks_of(context, index):
            block, part = task // column_tasks, task % column_tasks
            first, rows = share(block, row_tasks, m)
            panel_from, count = share(part, column_tasks, panels)
            panel_to, weight, fresh = panel_from + count, context, block != held
            while panel_to > 0:  # through the weights, each of which counts panels from its own first one
                own = weight.panels
                if panel_from < own:
                    run_task(
                        weight, on_registers, first, rows, panel_from, min(panel_to, own), fresh, packed, scales,
                        zero_points,
                    )  # fmt: skip
                    fresh = False
                panel_from, panel_to = max(0, panel_from - own), panel_to - own
                weight = LinearContext(weight.next)
            held = block
        if on_registers:
            free()
        if not small:
            release(scratch)

    return linear_worker
