"""The workers of softmax, the norms, element by element functions, and rotary embeddings, on rows of float32.

    x, second, out, total   [M, K] float32, rows any distance apart, values of a row contiguous
    weight, bias            [K] float32                      one for all rows
    mask                    as x, any strides but the last: its row is found by the rows' own axes
    cos, sin                [positions, H] float32           the row at a position; 2H ≤ K

A task is a range of rows; each row is one call of an emitted function (emit/floats.py), so a result depends neither on
how rows are cut into tasks nor on who does them. The code is the same for every instruction set of the registry: it
holds nothing but IEEE operations on <16 x float>, which LLVM fits to the target.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from . import context as at
from .atomics import fetch_add_relaxed
from .blocking import share
from .emit.floats_intrinsics import layer_norm_row, map_values, rms_norm_row, rotate_row, softmax_row
from .jit import kernel
from .memory import is_null, load_f32, load_i32, load_int, load_ptr, offset, store_i32
from .parallel import next_task

#: Own words of the context, where a linear has its weight. LAST: values of the last row (the others have K).
VARIANT, LAST, WEIGHT, BIAS, EPS, TOTAL, TOTAL_STRIDE, HALF, PERIOD = range(at.WORDS, at.WORDS + 9)
assert PERIOD < at.M
#: Of a softmax: the mask's data, the lengths and strides of its axes, and how many come before the last.
MASK, MASK_SHAPE, MASK_STRIDES, MASK_AXES = WEIGHT, BIAS, TOTAL, TOTAL_STRIDE
#: Of a rotary: the tables, HALF columns wide, and bytes between their rows; int64 positions, that of row r at
#: r % PERIOD, or NULL where it stands at START + r % PERIOD.
COS, SIN, TABLE_STRIDE, POSITIONS, START = WEIGHT, BIAS, TOTAL_STRIDE, TOTAL, EPS


def _rows_worker(name: str, do_row: Callable) -> Any:
    """The worker that calls ``do_row(context, row, x, k, out)`` for every row."""

    @kernel(variant=name)
    def worker(context, index):
        threads, tasks = load_int(context, at.THREADS), load_int(context, at.ROW_TASKS)
        counters, rows = load_ptr(context, at.COUNTERS), load_int(context, at.M)
        x, out = load_ptr(context, at.X), load_ptr(context, at.OUT)
        x_stride, out_stride = load_int(context, at.X_STRIDE), load_int(context, at.OUT_STRIDE)
        done = 0
        task, victim = next_task(counters, index, threads, tasks, 0)
        while task >= 0:
            first, count = share(task, tasks, rows)
            for row in range(first, first + count):
                k = load_int(context, LAST if row == rows - 1 else at.K)
                do_row(context, row, offset(x, row * x_stride), k, offset(out, row * out_stride))
            done += 1
            task, victim = next_task(counters, index, threads, tasks, victim)
        fetch_add_relaxed(context, at.DONE, done)

    return worker


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
def _softmax(context, row, x, k, out):
    kind = load_int(context, VARIANT)
    softmax_row(kind, x, x if kind == 0 else mask_row(context, row), k, out)


@kernel
def _second(context, row):
    return offset(load_ptr(context, at.RESIDUAL), row * load_int(context, at.RESIDUAL_STRIDE))


@kernel
def _layer_norm(context, row, x, k, out):
    layer_norm_row(
        load_int(context, VARIANT), x, _second(context, row), load_ptr(context, WEIGHT), load_ptr(context, BIAS),
        load_f32(context, 2 * EPS), k, out, offset(load_ptr(context, TOTAL), row * load_int(context, TOTAL_STRIDE)),
    )  # fmt: skip


@kernel
def _rms_norm(context, row, x, k, out):
    rms_norm_row(
        load_int(context, VARIANT), x, _second(context, row), load_ptr(context, WEIGHT), load_ptr(context, BIAS),
        load_f32(context, 2 * EPS), k, out, offset(load_ptr(context, TOTAL), row * load_int(context, TOTAL_STRIDE)),
    )  # fmt: skip


@kernel
def _map(context, row, x, k, out):
    map_values(load_int(context, VARIANT), x, _second(context, row), k, out)


@kernel
def _rotary(context, row, x, k, out):
    positions, half, position = load_ptr(context, POSITIONS), load_int(context, HALF), row % load_int(context, PERIOD)
    if is_null(positions):
        position += load_int(context, START)
    else:
        position = load_int(positions, position)
    moved = position * load_int(context, TABLE_STRIDE)
    cos, sin = offset(load_ptr(context, COS), moved), offset(load_ptr(context, SIN), moved)
    rotate_row(load_int(context, VARIANT), x, cos, sin, half, out)
    for i in range(2 * half, k):
        store_i32(out, i, load_i32(x, i))


#: The workers by operation.
WORKERS = {
    name: _rows_worker(name, do_row)
    for name, do_row in (
        ("softmax", _softmax), ("layer_norm", _layer_norm), ("rms_norm", _rms_norm), ("map", _map), ("rotary", _rotary),
    )
}  # fmt: skip
