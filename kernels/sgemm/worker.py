"""Float32 products: out = post_ops(bias + a · b), each sum one chain of fma with k ascending (gemm/float_tile.py).

    task     some rows × some panels of columns of one product
    worker   for each of my tasks, for each strip of panels that fits half of L2:
                 for each block of K
                     pack the strip's panels of b              unless they are packed, or few rows read them in place
                     for each row panel (≤ MR rows)
                         pack it                               unless tiles of ≤ STRIDED rows read it in place
                         tiles: sums start at the bias, or go on from out
                         after the last block: post-ops        while the output strip is in L1

              K block                  strip
           ┌──┬──────┐             ┌──┬────┬──┐
        a  │  │██████│ row panel   │  ├────┤  │ K block       any strides: what lies along K is transposed
           │  │      │          b  │  │████│  │               (gemm/emit_columns.py), other rows are copied
           └──┴──────┘             └──┴────┴──┘

A packed row panel stays in L1 for the strip. Tall ones spare reads of b from L2; where b's block fits in L1, rows in
place are faster. Sums that wait in out between two blocks of K are float32, as in registers, so nothing depends on the
cut.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache

import numpy as np

from ..base.jit import kernel
from ..base.memory import ALIGN, aligned, call_post_ops, is_null, load_f32, null, offset, stack_bytes, store_f32
from ..gemm.emit_columns import LANES, copy_rows, interleave_rows
from ..gemm.emit_dots import dots
from ..gemm.float_tile import STRIDED, packed_strip, strided_strip
from ..isa.float32 import Float32
from ..threads.partition import share
from ..threads.scratch import borrow, give_back
from ..threads.tasks import tasks_of
from .context import Multiplier, Product, ProductContext

#: Scratch up to this size is taken from the stack.
STACK_BYTES = 32768
#: Bytes of b that stay in L1 while rows of a are read in place.
NEAR_BYTES = 24576


@kernel
def pack_side(source, across, along, count, k, width, target):
    """target [k][width] of `count` rows of a, or columns of b, `across` bytes apart; values of k are `along` apart.

    What stands in columns from `count` on does not matter. Up to LANES floats behind the last row may be written, too.
    """
    if along != 4 and across != 4:
        for i in range(k):
            for c in range(width):
                value = np.float32(0)
                if c < count:
                    value = load_f32(offset(source, i * along + c * across), 0)
                store_f32(target, i * width + c, value)
        return
    for c in range(0, width, LANES):
        some = min(LANES, count - c)
        if along == 4 and some > 0:
            interleave_rows(offset(source, c * across), across, some, k, offset(target, 4 * c), 4 * width)
        else:
            copy_rows(offset(source, 4 * c), along, k, some, offset(target, 4 * c), 4 * width)


@cache
def product_worker(isa: Float32) -> Callable:
    """The worker of a float32 form."""
    packed_tiles, strided_tiles, nr, tallest = packed_strip(isa), strided_strip(isa), isa.columns, isa.max_rows
    short = min(STRIDED, tallest)

    @kernel(variant=isa.name)
    def multiply(context, a, b, out, residual, rows, begin, count, k_from, depth, a_scratch, b_scratch):
        """`rows` rows times `count` panels from `begin` on, over `depth` values of k from `k_from` on."""
        g = Product(context.product)
        n, k, a_row, a_column = g.n, g.k, g.a_row, g.a_column
        b_row, b_column, out_row, residual_row = g.b_row, g.b_column, g.out_row, g.residual_row
        width = min(n - begin * nr, count * nr)
        last = width - (count - 1) * nr
        weights, word_stride, panel_stride = b_scratch, 4 * nr, 4 * nr * depth
        if context.dots:
            weights = offset(b, 4 * k_from + begin * nr * b_column)
        elif g.packed:
            weights, panel_stride = offset(b, 4 * nr * (begin * k + k_from)), 4 * nr * k
        elif context.in_place and last == nr:
            weights, word_stride, panel_stride = offset(b, k_from * b_row + 4 * nr * begin), b_row, 4 * nr
        else:
            for p in range(count):
                source = offset(b, k_from * b_row + (begin + p) * nr * b_column)
                panel = offset(b_scratch, p * panel_stride)
                pack_side(source, b_column, b_row, min(nr, width - p * nr), depth, nr, panel)
        bias, post_ops = g.bias, g.post_ops
        most = short if 4 * depth * width <= NEAR_BYTES else tallest
        row_panels = (rows + most - 1) // most
        for p in range(row_panels):
            first, height = share(p, row_panels, rows)
            source = offset(a, first * a_row + k_from * a_column)
            corner = offset(out, first * out_row + 4 * nr * begin)
            start, start_stride = corner, out_row
            if k_from == 0:
                start, start_stride = null() if is_null(bias) else offset(bias, 4 * nr * begin), 0
            if context.dots:
                dots(source, a_column, weights, b_column, width, depth, start, corner)
            elif height <= short:
                strided_tiles(
                    height, source, weights, word_stride, depth, start, start_stride, corner, out_row, count,
                    panel_stride, last, a_row, a_column,
                )  # fmt: skip
            else:
                pack_side(source, a_row, a_column, height, depth, height, a_scratch)
                packed_tiles(
                    height, a_scratch, weights, word_stride, depth, start, start_stride, corner, out_row, count,
                    panel_stride, last,
                )  # fmt: skip
            if k_from + depth == k and not is_null(post_ops):
                addend = offset(residual, first * residual_row + 4 * nr * begin)
                call_post_ops(post_ops, corner, out_row, addend, residual_row, height, width)

    @kernel(variant=isa.name)
    def product_worker(context, index):
        context = ProductContext(context)
        g = Product(context.product)
        d = Multiplier(g.multiplier)
        m, n, k, packed = g.m, g.n, g.k, g.packed
        row_tasks, column_tasks, panels = context.row_tasks, context.column_tasks, context.panels
        k_block, wide, in_place = context.k_block, context.strip_panels, context.in_place
        most = 1 if in_place else min(wide, (panels + column_tasks - 1) // column_tasks)
        b_bytes = 0 if packed or context.dots else 4 * nr * k_block * most
        needed = ALIGN + b_bytes
        if m > short:
            needed += 4 * (tallest * k_block + LANES)
        small, slot = needed <= STACK_BYTES, -1
        if small:
            allocated = stack_bytes(needed)
        else:
            slot, allocated = borrow(d.slots, needed)
            if is_null(allocated):
                give_back(d.slots, slot, allocated)
                return
        b_scratch = aligned(allocated)
        a_scratch = offset(b_scratch, b_bytes)
        for task in tasks_of(context, index):
            item, place = task // (row_tasks * column_tasks), task % (row_tasks * column_tasks)
            first, rows = share(place // column_tasks, row_tasks, m)
            begin, count = share(place % column_tasks, column_tasks, panels)
            i3, item = item % g.axis_3, item // g.axis_3
            i2, item = item % g.axis_2, item // g.axis_2
            i1, i0 = item % g.axis_1, item // g.axis_1
            a = offset(g.a, i0 * g.a_0 + i1 * g.a_1 + i2 * g.a_2 + i3 * g.a_3 + first * g.a_row)
            b = offset(g.b, i0 * g.b_0 + i1 * g.b_1 + i2 * g.b_2 + i3 * g.b_3)
            out = offset(g.out, i0 * g.out_0 + i1 * g.out_1 + i2 * g.out_2 + i3 * g.out_3 + first * g.out_row)
            shift = i0 * g.residual_0 + i1 * g.residual_1 + i2 * g.residual_2 + i3 * g.residual_3
            residual = offset(g.residual, shift + first * g.residual_row)
            end = begin + count
            while begin < end:
                some = min(wide, end - begin)
                if in_place and some > 1 and (begin + some) * nr > n:
                    some -= 1  # the last, incomplete panel goes alone: it is packed
                for k_from in range(0, max(k, 1), k_block):
                    depth = min(k_block, k - k_from)
                    multiply(context, a, b, out, residual, rows, begin, some, k_from, depth, a_scratch, b_scratch)
                begin += some
        if not small:
            give_back(d.slots, slot, allocated)

    return product_worker
