"""The workers of softmax, the norms, element by element functions, and rotary embeddings, on rows of float32.

    x, second, out, total   [M, K] float32, rows any distance apart, values of a row contiguous
    weight, bias            [K] float32                      one for all rows
    mask                    as x, any strides but the last: its row is found by the rows' own axes
    cos, sin                [positions, H] float32           the row at a position; 2H ≤ K

A task is a range of rows. An emitted function (rowwise/emit.py) does one or some, each independently. So a result does
not depend on how rows are split into tasks, or on who does them. The code is the same for every instruction set: it has
only IEEE operations on vectors of floats, which LLVM adapts to the target.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ..base import context as at
from ..base.atomics import fetch_add_relaxed
from ..base.jit import kernel
from ..base.memory import is_null, load_f32, load_i32, load_int, load_ptr, offset, stack_bytes, store_i32, store_ptr
from ..threads.partition import share
from ..threads.pool import next_task
from .emit import TOGETHER
from .intrinsics import layer_norm_rows, map_values, rms_norm_rows, rotate_row, softmax_rows

#: Own words of the context, where a linear has its weight. LAST: values of the last row (the others have K).
VARIANT, LAST, WEIGHT, BIAS, EPS, TOTAL, TOTAL_STRIDE, HALF, PERIOD = range(at.WORDS, at.WORDS + 9)
assert PERIOD < at.M
#: Of a softmax: the mask's data, the lengths and strides of its axes, and how many come before the last.
MASK, MASK_SHAPE, MASK_STRIDES, MASK_AXES = WEIGHT, BIAS, TOTAL, TOTAL_STRIDE
#: Of a rotary: the tables, HALF columns wide, and bytes between their rows; int64 positions, that of row r at
#: r % PERIOD, or NULL where it stands at START + r % PERIOD.
COS, SIN, TABLE_STRIDE, POSITIONS, START = WEIGHT, BIAS, TOTAL_STRIDE, TOTAL, EPS

#: Rows done together, and in how many sizes; bytes for an address of each.
MOST, SIZES = TOGETHER[0], len(TOGETHER)
SCRATCH_BYTES = 8 * MOST


def _rows_worker(name: str, do_rows: Callable) -> Any:
    """The worker that calls ``do_rows(context, first, last, k, scratch)`` for ranges of rows, of k values each.

    `scratch` is SCRATCH_BYTES bytes on the stack.
    """

    @kernel(variant=name)
    def worker(context, index):
        threads, tasks = load_int(context, at.THREADS), load_int(context, at.ROW_TASKS)
        counters, rows = load_ptr(context, at.COUNTERS), load_int(context, at.M)
        scratch = stack_bytes(SCRATCH_BYTES)
        done = 0
        task, victim = next_task(counters, index, threads, tasks, 0)
        while task >= 0:
            first, count = share(task, tasks, rows)
            do_rows(context, first, first + count, load_int(context, at.K), scratch)
            done += 1
            task, victim = next_task(counters, index, threads, tasks, victim)
        fetch_add_relaxed(context, at.DONE, done)

    return worker


@kernel
def row_at(context, address, stride, row):
    """The row of an operand whose address and stride are these words of the context."""
    return offset(load_ptr(context, address), row * load_int(context, stride))


@kernel
def rows_together(rows):
    """How many of the `rows` remaining rows are done next, and the index of that number in TOGETHER."""
    return (MOST, 0) if rows >= MOST else (1, 1)


@kernel
def mask_row(context, row):
    """Where the mask of a row begins."""
    shape, strides = load_ptr(context, MASK_SHAPE), load_ptr(context, MASK_STRIDES)
    moved = 0
    for axis in range(load_int(context, MASK_AXES) - 1, -1, -1):
        length = load_int(shape, axis)
        step = load_int(strides, axis)
        if step != 0:
            moved += row % length * step
        row //= length
    return offset(load_ptr(context, MASK), moved)


@kernel
def _softmax(context, first, last, k, masks):
    kind, row = load_int(context, VARIANT), first
    while row < last:
        count, which = rows_together(last - row)
        if kind > 0:
            for r in range(count):
                store_ptr(masks, r, mask_row(context, row + r))
        softmax_rows(
            kind * SIZES + which, row_at(context, at.X, at.X_STRIDE, row), load_int(context, at.X_STRIDE), masks, k,
            row_at(context, at.OUT, at.OUT_STRIDE, row), load_int(context, at.OUT_STRIDE),
        )  # fmt: skip
        row += count


def _norm(emitted: Callable) -> Callable:
    @kernel(variant=emitted.__name__)
    def norm(context, first, last, k, scratch):
        row, variant = first, load_int(context, VARIANT) * SIZES
        while row < last:
            count, which = rows_together(last - row)
            emitted(
                variant + which, row_at(context, at.X, at.X_STRIDE, row), load_int(context, at.X_STRIDE),
                row_at(context, at.RESIDUAL, at.RESIDUAL_STRIDE, row), load_int(context, at.RESIDUAL_STRIDE),
                load_ptr(context, WEIGHT), load_ptr(context, BIAS), load_f32(context, 2 * EPS), k,
                row_at(context, at.OUT, at.OUT_STRIDE, row), load_int(context, at.OUT_STRIDE),
                row_at(context, TOTAL, TOTAL_STRIDE, row), load_int(context, TOTAL_STRIDE),
            )  # fmt: skip
            row += count

    return norm


@kernel
def _map(context, first, last, k, scratch):
    rows = load_int(context, at.M)
    for row in range(first, last):
        map_values(
            load_int(context, VARIANT), row_at(context, at.X, at.X_STRIDE, row),
            row_at(context, at.RESIDUAL, at.RESIDUAL_STRIDE, row), load_int(context, LAST) if row == rows - 1 else k,
            row_at(context, at.OUT, at.OUT_STRIDE, row),
        )  # fmt: skip


@kernel
def _rotary(context, first, last, k, scratch):
    positions, period, half = load_ptr(context, POSITIONS), load_int(context, PERIOD), load_int(context, HALF)
    place = first % period
    for row in range(first, last):
        position = load_int(context, START) + place if is_null(positions) else load_int(positions, place)
        place = place + 1 if place + 1 < period else 0
        moved = position * load_int(context, TABLE_STRIDE)
        cos, sin = offset(load_ptr(context, COS), moved), offset(load_ptr(context, SIN), moved)
        x, out = row_at(context, at.X, at.X_STRIDE, row), row_at(context, at.OUT, at.OUT_STRIDE, row)
        rotate_row(load_int(context, VARIANT), x, cos, sin, half, out)
        for i in range(2 * half, k):
            store_i32(out, i, load_i32(x, i))


#: The workers by operation.
WORKERS = {
    "softmax": _rows_worker("softmax", _softmax),
    "layer_norm": _rows_worker("layer_norm", _norm(layer_norm_rows)),
    "rms_norm": _rows_worker("rms_norm", _norm(rms_norm_rows)),
    "map": _rows_worker("map", _map),
    "rotary": _rows_worker("rotary", _rotary),
}
