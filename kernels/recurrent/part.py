"""One part of a step of a recurrent layer: some units of some rows, through a product and a cell.

    a worker has a job for each product: prepared for a chain's part, then moved from step to step

    INPUT    x·Wᵀ + bias of a block of steps: to the part's own gates, in the cache of the thread that will need them
    0, 1     a step's phases: q(h)·Rᵀ to a buffer of the worker's, then the cell

A job is the context of a linear worker, narrowed to the panels of its units, and what the cell needs
(context.py). Each part quantizes all of x and h: 60 ns for 512 values, against microseconds for a product. Float32
weights have a worker of their own (floats.py), and nothing is quantized.
"""

from __future__ import annotations

from ..base.jit import kernel
from ..base.memory import call_worker, copy_bytes, is_null, load_int, offset, store_int
from ..base.record import bytes_of
from ..linear.context import WEIGHT_BYTES, Weight
from ..threads.partition import cut, share
from .context import LANES, UNITS, Direction, LayerDescriptor
from .emit import copy_floats

#: Bytes between two rows of a product, so that they do not all meet in one set of a cache.
RESULT_GAP = 64
#: Bytes of a part's weights from which a step multiplies them piece by piece, and of a piece.
LARGE, PIECE = 1 << 20, 1 << 18
#: The job of the input product; 0 and 1 are those of a step's phases.
INPUT = 2


@kernel
def blocks_of(units):
    return (units + LANES - 1) // LANES


@kernel
def row_bytes(units):
    """Bytes of a row of `units` units, in whole blocks."""
    return 4 * LANES * blocks_of(units)


@kernel
def part_of(context, layer, part, which):
    """(first block, blocks, units) of a part in phase `which` of a step."""
    units = layer.state if which == 1 else layer.hidden
    first, count = share(part, context.splits, (units + UNITS - 1) // UNITS)
    last = min(first + count, (units + UNITS - 1) // UNITS) * (UNITS // LANES)
    first *= UNITS // LANES
    return first, min(last, blocks_of(units)) - first, units


@kernel
def column_bytes(job):
    """Bytes of the column words of a panel."""
    return (12 if is_null(job.multiplier) else 4) * job.nr


@kernel
def narrow(job, layer, weight, first, blocks, all_blocks):
    """Make a job the product with some blocks of units of a packed weight; returns the bytes between its rows."""
    weight = Weight(weight)
    copy_bytes(job, weight, WEIGHT_BYTES)
    columns, nr = weight.n // all_blocks, weight.nr
    panel, stride = first * columns // nr, 4 * columns * blocks + RESULT_GAP
    job.n = columns * blocks
    job.panels = (columns * blocks + nr - 1) // nr
    job.all_panels = job.panels
    job.weights = offset(weight.weights, panel * weight.panel_stride)
    job.multiplier = layer.multiplier
    job.columns = offset(weight.columns, column_bytes(job) * panel)
    job.threads = 1
    job.counters = job.counter
    job.out_stride = stride
    return stride


@kernel
def prepare(context, job, index, chain, part, which):
    """Fill what stays the same over time for one part of a chain."""
    layer, batch = LayerDescriptor(context.layer), context.batch
    directions, d = layer.directions, chain // context.groups
    direction = Direction(offset(layer, bytes_of(LayerDescriptor) + d * bytes_of(Direction)))
    first_row, rows = share(chain % context.groups, context.groups, batch)
    first, blocks, units = part_of(context, layer, part, which)
    job.rows = rows
    job.blocks = blocks
    job.reversed = direction.reverse
    place = chain * context.splits + part
    gates = offset(context.gates, place * context.gates_bytes)
    if which == INPUT:
        narrow(job, layer, direction.input, first, blocks, blocks_of(units))
        job.out = gates
        x_stride = context.x_stride
        job.source = offset(context.x, first_row * x_stride)
        job.x_stride = x_stride
        return
    product, cell = direction.product, direction.cell
    if which == 1:
        product, cell = direction.product_2, direction.cell_2
    narrow(job, layer, product, first, blocks, blocks_of(units))
    job.out = offset(context.results, index * context.result_bytes)
    job.values = min(LANES * blocks, units - LANES * first)
    job.cell = cell
    job.parameters = direction.parameters
    job.peepholes = offset(direction.peepholes, 12 * LANES * first)
    lengths = context.lengths
    job.lengths = lengths if is_null(lengths) else offset(lengths, 8 * first_row)
    # where the part's units lie
    row, block = d * batch + first_row, 4 * LANES * first
    unit_stride, state_stride = row_bytes(layer.hidden), row_bytes(layer.state)
    columns = layer.gate_columns // blocks_of(layer.hidden)
    job.gates_first = gates
    job.gates_stride = 4 * columns * blocks + RESULT_GAP
    hiddens, middles = context.hiddens, context.middles
    job.h_first = offset(hiddens, row * state_stride + block)
    job.state_stride = state_stride
    job.h_half = directions * batch * state_stride
    job.c_first = offset(context.cells, row * unit_stride + block)
    job.unit_stride = unit_stride
    job.c_half = directions * batch * unit_stride
    job.middle = offset(middles, row * unit_stride + block)
    job.update = offset(middles, (directions * batch + row) * unit_stride + block)
    source = offset(hiddens, row * state_stride) if which == 0 else offset(middles, row * unit_stride)
    job.source = source
    job.source_half = job.h_half if which == 0 else 0
    job.x_stride = state_stride if which == 0 else unit_stride
    y_stride = 4 * directions * layer.state
    y = first_row * y_stride + 4 * d * layer.state + block
    job.y_first = offset(context.y, y)
    job.y_stride = y_stride
    job.y_step = batch * y_stride


@kernel
def first_time(context, job, block):
    """(time, steps) where a block of steps begins, in the order of time."""
    most, times = context.block_steps, context.times
    before = block * most
    steps = min(most, times - before)
    return times - before - steps if job.reversed else before, steps


@kernel
def move_input(context, job, index, block):
    """Point the job INPUT at a block of steps; returns its rows. Those of a group of the batch are brought together."""
    time, steps = first_time(context, job, block)
    rows, batch = job.rows, context.batch
    stride = context.x_stride
    x = offset(job.source, time * batch * stride)
    if rows < batch:
        values = LayerDescriptor(context.layer).inputs
        gathered = offset(context.gathered, index * context.gathered_bytes)
        for t in range(steps):
            for r in range(rows):
                copy_floats(
                    offset(x, (t * batch + r) * stride), offset(gathered, 4 * values * (t * rows + r)), values
                )  # fmt: skip
        x = gathered
        job.x_stride = 4 * values
    job.x = x
    return steps * rows


@kernel
def move_to(context, job, block, step):
    """Point a job at a step; returns the rows that the product must reach."""
    first, steps = first_time(context, job, block)
    local = step - block * context.block_steps
    if job.reversed:
        local = steps - 1 - local
    time, odd = first + local, step & 1
    job.time = time
    gates = local * job.rows * job.gates_stride
    job.gates = offset(job.gates_first, gates)
    job.y = offset(job.y_first, time * job.y_step)
    h, h_half = job.h_first, job.h_half
    c, c_half = job.c_first, job.c_half
    job.old = offset(h, odd * h_half)
    job.new = offset(h, (1 - odd) * h_half)
    job.c_old = offset(c, odd * c_half)
    job.c_new = offset(c, (1 - odd) * c_half)
    job.x = offset(job.source, odd * job.source_half)
    rows, lengths = job.rows, job.lengths
    while rows > 0 and not is_null(lengths) and load_int(lengths, rows - 1) <= time:
        rows -= 1
    return rows


@kernel
def multiply(job, rows):
    """The product of a job's first rows; whether there was enough memory."""
    row_tasks, column_tasks, row_block = cut(rows, job.panels, job.mr, 1)
    job.m = rows
    job.row_tasks = row_tasks
    job.column_tasks = column_tasks
    job.tasks = row_tasks * column_tasks
    job.row_block = row_block
    store_int(job.counter, 0, 0)
    job.done = 0
    call_worker(job.worker, job, 0)
    return job.done == job.tasks


@kernel
def multiply_step(job, rows):
    """`multiply` of a step. Of LARGE weights every second one goes backwards through pieces of them.

    So it begins with those that the step before read last, which are still in the cache.
    """
    panels, n, panel_stride, nr = job.panels, job.n, job.panel_stride, job.nr
    if panels * panel_stride <= LARGE:
        return multiply(job, rows)
    weights, columns, out = job.weights, job.columns, job.out
    pieces, fine = panels * panel_stride // PIECE, True
    for i in range(pieces):
        first, count = share(pieces - 1 - i if job.time & 1 else i, pieces, panels)
        job.panels = count
        job.all_panels = count
        job.n = min(n - first * nr, count * nr)
        job.weights = offset(weights, first * panel_stride)
        job.columns = offset(columns, first * column_bytes(job))
        job.out = offset(out, 4 * first * nr)
        fine = multiply(job, rows) and fine
    job.panels = panels
    job.all_panels = panels
    job.n = n
    job.weights = weights
    job.columns = columns
    job.out = out
    return fine
