"""One part of a step of a recurrent layer: some units of some rows, through a product and a cell.

    a worker has a job for each product: prepared for a chain's part, then moved from time to time

    INPUT    x·Wᵀ + bias of a block of steps: to the part's own gates, near the thread that will need them
    0, 1     a step's phases: q(h)·Rᵀ to a buffer of the worker's, then the cell

A job is the context of a linear worker, narrowed to the panels of its units, and what the cell needs
(context.py). Each part quantizes all of x and h: 60 ns for 512 values, against microseconds for a product.
"""

from __future__ import annotations

from ..base import context as at
from ..base.jit import kernel
from ..base.memory import call_worker, is_null, load_int, load_ptr, offset, store_int, store_ptr
from ..threads.partition import cut, share
from . import context as words
from .emit import copy_floats

#: Bytes between two rows of a product, so that they do not all meet in one set of a cache.
RESULT_GAP = 64
#: The job of the input product; 0 and 1 are those of a step's phases.
INPUT = 2


@kernel
def blocks_of(units):
    return (units + words.LANES - 1) // words.LANES


@kernel
def row_bytes(units):
    """Bytes of a row of so many units, in whole blocks."""
    return 4 * words.LANES * blocks_of(units)


@kernel
def part_of(context, layer, part, which):
    """(first block, blocks, units) of a part in phase `which` of a step."""
    units = load_int(layer, words.STATE) if which == 1 else load_int(layer, words.HIDDEN)
    first, count = share(part, load_int(context, words.SPLITS), (units + words.UNITS - 1) // words.UNITS)
    last = min(first + count, (units + words.UNITS - 1) // words.UNITS) * (words.UNITS // words.LANES)
    first *= words.UNITS // words.LANES
    return first, min(last, blocks_of(units)) - first, units


@kernel
def narrow(job, weight, first, blocks, all_blocks):
    """Make a job the product with some blocks of units of a packed weight; gives the bytes between its rows."""
    for i in range(at.DESCRIPTOR_WORDS):
        store_int(job, i, load_int(weight, i))
    columns, nr = load_int(weight, at.N) // all_blocks, load_int(weight, at.NR)
    panel, stride = first * columns // nr, 4 * columns * blocks + RESULT_GAP
    store_int(job, at.N, columns * blocks)
    store_int(job, at.PANELS, (columns * blocks + nr - 1) // nr)
    store_int(job, at.ALL_PANELS, load_int(job, at.PANELS))
    store_ptr(job, at.WEIGHTS, offset(load_ptr(weight, at.WEIGHTS), panel * load_int(weight, at.PANEL_STRIDE)))
    store_ptr(job, at.COLUMNS, offset(load_ptr(weight, at.COLUMNS), 12 * nr * panel))
    store_int(job, at.THREADS, 1)
    store_ptr(job, at.COUNTERS, offset(job, 8 * at.SIZE))
    store_int(job, at.OUT_STRIDE, stride)
    return stride


@kernel
def prepare(context, job, index, chain, part, which):
    """Fill what stays the same over time for one part of a chain."""
    layer, batch = load_ptr(context, words.LAYER), load_int(context, words.BATCH)
    directions, d = load_int(layer, words.DIRECTIONS), chain // load_int(context, words.GROUPS)
    direction = offset(layer, 8 * (words.HEADER + d * words.DIRECTION))
    first_row, rows = share(chain % load_int(context, words.GROUPS), load_int(context, words.GROUPS), batch)
    first, blocks, units = part_of(context, layer, part, which)
    store_int(job, words.ROWS, rows)
    store_int(job, words.BLOCKS, blocks)
    store_int(job, words.REVERSED, load_int(direction, words.REVERSE))
    place = chain * load_int(context, words.SPLITS) + part
    gates = offset(load_ptr(context, words.GATES), place * load_int(context, words.GATES_BYTES))
    if which == INPUT:
        narrow(job, load_ptr(direction, words.INPUT), first, blocks, blocks_of(units))
        store_ptr(job, at.OUT, gates)
        x_stride = load_int(context, words.INPUT_STRIDE)
        store_ptr(job, words.SOURCE, offset(load_ptr(context, words.INPUT_ROWS), first_row * x_stride))
        store_int(job, at.X_STRIDE, x_stride)
        return
    narrow(job, load_ptr(direction, words.PRODUCT + which), first, blocks, blocks_of(units))
    store_ptr(job, at.OUT, offset(load_ptr(context, words.RESULTS), index * load_int(context, words.RESULT_BYTES)))
    store_int(job, words.VALUES, min(words.LANES * blocks, units - words.LANES * first))
    store_ptr(job, words.JOB_CELL, load_ptr(direction, words.CELL + which))
    store_ptr(job, words.JOB_PARAMETERS, load_ptr(direction, words.PARAMETERS))
    store_ptr(job, words.JOB_PEEPHOLES, offset(load_ptr(direction, words.PEEPHOLES), 12 * words.LANES * first))
    lengths = load_ptr(context, words.LENGTHS)
    store_ptr(job, words.JOB_LENGTHS, lengths if is_null(lengths) else offset(lengths, 8 * first_row))
    # where the part's units lie
    row, block = d * batch + first_row, 4 * words.LANES * first
    unit_stride, state_stride = row_bytes(load_int(layer, words.HIDDEN)), row_bytes(load_int(layer, words.STATE))
    columns = load_int(layer, words.GATE_COLUMNS) // blocks_of(load_int(layer, words.HIDDEN))
    store_ptr(job, words.GATES_FIRST, gates)
    store_int(job, words.GATES_STRIDE, 4 * columns * blocks + RESULT_GAP)
    hiddens, middles = load_ptr(context, words.HIDDENS), load_ptr(context, words.MIDDLES)
    store_ptr(job, words.H_FIRST, offset(hiddens, row * state_stride + block))
    store_int(job, words.STATE_STRIDE, state_stride)
    store_int(job, words.H_HALF, directions * batch * state_stride)
    store_ptr(job, words.C_FIRST, offset(load_ptr(context, words.CELLS), row * unit_stride + block))
    store_int(job, words.UNIT_STRIDE, unit_stride)
    store_int(job, words.C_HALF, directions * batch * unit_stride)
    store_ptr(job, words.MIDDLE, offset(middles, row * unit_stride + block))
    store_ptr(job, words.UPDATE, offset(middles, (directions * batch + row) * unit_stride + block))
    source = offset(hiddens, row * state_stride) if which == 0 else offset(middles, row * unit_stride)
    store_ptr(job, words.SOURCE, source)
    store_int(job, words.SOURCE_HALF, load_int(job, words.H_HALF) if which == 0 else 0)
    store_int(job, at.X_STRIDE, state_stride if which == 0 else unit_stride)
    y_stride = 4 * directions * load_int(layer, words.STATE)
    y = first_row * y_stride + 4 * d * load_int(layer, words.STATE) + block
    store_ptr(job, words.Y_FIRST, offset(load_ptr(context, words.Y), y))
    store_int(job, words.Y_STRIDE, y_stride)
    store_int(job, words.Y_STEP, batch * y_stride)


@kernel
def first_time(context, job, block):
    """(time, steps) where a block of steps begins, in the order of time."""
    most, times = load_int(context, words.BLOCK_STEPS), load_int(context, words.TIMES)
    before = block * most
    steps = min(most, times - before)
    return times - before - steps if load_int(job, words.REVERSED) else before, steps


@kernel
def move_input(context, job, index, block):
    """Point the job INPUT at a block of steps; gives its rows. Those of a group of the batch are brought together."""
    time, steps = first_time(context, job, block)
    rows, batch = load_int(job, words.ROWS), load_int(context, words.BATCH)
    stride = load_int(context, words.INPUT_STRIDE)
    x = offset(load_ptr(job, words.SOURCE), time * batch * stride)
    if rows < batch:
        values = load_int(load_ptr(context, words.LAYER), words.INPUTS)
        gathered = offset(load_ptr(context, words.GATHERED), index * load_int(context, words.GATHERED_BYTES))
        for t in range(steps):
            for r in range(rows):
                copy_floats(
                    offset(x, (t * batch + r) * stride), offset(gathered, 4 * values * (t * rows + r)), values
                )  # fmt: skip
        x = gathered
        store_int(job, at.X_STRIDE, 4 * values)
    store_ptr(job, at.X, x)
    return steps * rows


@kernel
def move_to(context, job, block, step):
    """Point a job at a step; gives the rows that the product must reach."""
    first, steps = first_time(context, job, block)
    local = step - block * load_int(context, words.BLOCK_STEPS)
    if load_int(job, words.REVERSED):
        local = steps - 1 - local
    time, odd = first + local, step & 1
    store_int(job, words.TIME, time)
    gates = local * load_int(job, words.ROWS) * load_int(job, words.GATES_STRIDE)
    store_ptr(job, words.JOB_GATES, offset(load_ptr(job, words.GATES_FIRST), gates))
    store_ptr(job, words.JOB_Y, offset(load_ptr(job, words.Y_FIRST), time * load_int(job, words.Y_STEP)))
    h, h_half = load_ptr(job, words.H_FIRST), load_int(job, words.H_HALF)
    c, c_half = load_ptr(job, words.C_FIRST), load_int(job, words.C_HALF)
    store_ptr(job, words.OLD, offset(h, odd * h_half))
    store_ptr(job, words.NEW, offset(h, (1 - odd) * h_half))
    store_ptr(job, words.C_OLD, offset(c, odd * c_half))
    store_ptr(job, words.C_NEW, offset(c, (1 - odd) * c_half))
    store_ptr(job, at.X, offset(load_ptr(job, words.SOURCE), odd * load_int(job, words.SOURCE_HALF)))
    rows, lengths = load_int(job, words.ROWS), load_ptr(job, words.JOB_LENGTHS)
    while rows > 0 and not is_null(lengths) and load_int(lengths, rows - 1) <= time:
        rows -= 1
    return rows


@kernel
def multiply(job, rows):
    """The product of a job's first rows; whether there was memory for it."""
    row_tasks, column_tasks, row_block = cut(rows, load_int(job, at.PANELS), load_int(job, at.MR), 1)
    store_int(job, at.M, rows)
    store_int(job, at.ROW_TASKS, row_tasks)
    store_int(job, at.COLUMN_TASKS, column_tasks)
    store_int(job, at.ROW_BLOCK, row_block)
    store_int(job, at.SIZE, 0)
    store_int(job, at.DONE, 0)
    call_worker(load_ptr(job, at.WORKER), job, 0)
    return load_int(job, at.DONE) == row_tasks * column_tasks
