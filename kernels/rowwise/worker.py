"""The workers of softmax, the norms, element by element functions, and rotary, on rows of float32 (see context.py).

A task is a range of rows. An emitted function (rowwise/emit.py) does one or some, each independently. So a result does
not depend on how rows are split into tasks, or on who does them. The code is the same for every instruction set: it has
only IEEE operations on vectors of floats, which LLVM adapts to the target.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ..base.jit import kernel
from ..base.memory import is_null, load_i32, load_int, offset, stack_bytes, store_i32, store_ptr
from ..threads.partition import share
from ..threads.tasks import tasks_of
from .context import MapContext, NormContext, RotaryContext, SoftmaxContext
from .emit import TOGETHER
from .intrinsics import layer_norm_rows, map_values, rms_norm_rows, rotate_row, softmax_rows

#: Rows done together, and in how many sizes; bytes for an address of each.
MOST, SIZES = TOGETHER[0], len(TOGETHER)
SCRATCH_BYTES = 8 * MOST


def _rows_worker(name: str, record: type, do_rows: Callable) -> Any:
    """The worker that calls ``do_rows(context, first, last, k, scratch)`` for ranges of rows, of k values each.

    `scratch` is SCRATCH_BYTES bytes on the stack.
    """

    @kernel(variant=name)
    def worker(context, index):
        context = record(context)
        scratch = stack_bytes(SCRATCH_BYTES)
        for task in tasks_of(context, index):
            first, count = share(task, context.tasks, context.rows)
            do_rows(context, first, first + count, context.k, scratch)

    return worker


@kernel
def rows_together(rows):
    """How many of the `rows` remaining rows are done next, and the index of that number in TOGETHER."""
    return (MOST, 0) if rows >= MOST else (1, 1)


@kernel
def mask_row(context, row):
    """Where the mask of a row begins."""
    shape, strides = context.mask_shape, context.mask_strides
    moved = 0
    for axis in range(context.mask_axes - 1, -1, -1):
        length = load_int(shape, axis)
        step = load_int(strides, axis)
        if step != 0:
            moved += row % length * step
        row //= length
    return offset(context.mask, moved)


@kernel
def _softmax(context, first, last, k, masks):
    kind, row = context.variant, first
    while row < last:
        count, which = rows_together(last - row)
        if kind > 0:
            for r in range(count):
                store_ptr(masks, r, mask_row(context, row + r))
        softmax_rows(
            kind * SIZES + which, offset(context.x, row * context.x_stride), context.x_stride, masks, k,
            offset(context.out, row * context.out_stride), context.out_stride,
        )  # fmt: skip
        row += count


def _norm(emitted: Callable) -> Callable:
    @kernel(variant=emitted.__name__)
    def norm(context, first, last, k, scratch):
        row, variant = first, context.variant * SIZES
        while row < last:
            count, which = rows_together(last - row)
            emitted(
                variant + which, offset(context.x, row * context.x_stride), context.x_stride,
                offset(context.second, row * context.second_stride), context.second_stride,
                context.weight, context.bias, context.eps, k,
                offset(context.out, row * context.out_stride), context.out_stride,
                offset(context.total, row * context.total_stride), context.total_stride,
            )  # fmt: skip
            row += count

    return norm


@kernel
def _map(context, first, last, k, scratch):
    rows = context.rows
    for row in range(first, last):
        map_values(
            context.variant, offset(context.x, row * context.x_stride),
            offset(context.second, row * context.second_stride), context.last if row == rows - 1 else k,
            offset(context.out, row * context.out_stride),
        )  # fmt: skip


@kernel
def _rotary(context, first, last, k, scratch):
    positions, period, half = context.positions, context.period, context.half
    place = first % period
    for row in range(first, last):
        position = context.start + place if is_null(positions) else load_int(positions, place)
        place = place + 1 if place + 1 < period else 0
        moved = position * context.table_stride
        cos, sin = offset(context.cos, moved), offset(context.sin, moved)
        x, out = offset(context.x, row * context.x_stride), offset(context.out, row * context.out_stride)
        rotate_row(context.variant, x, cos, sin, half, out)
        for i in range(2 * half, k):
            store_i32(out, i, load_i32(x, i))


#: The workers by operation.
WORKERS = {
    "softmax": _rows_worker("softmax", SoftmaxContext, _softmax),
    "layer_norm": _rows_worker("layer_norm", NormContext, _norm(layer_norm_rows)),
    "rms_norm": _rows_worker("rms_norm", NormContext, _norm(rms_norm_rows)),
    "map": _rows_worker("map", MapContext, _map),
    "rotary": _rows_worker("rotary", RotaryContext, _rotary),
}
