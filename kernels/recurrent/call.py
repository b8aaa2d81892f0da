"""From arrays to a running recurrent layer: choose how threads share it, allocate gates and states, run.

Callable from Python and from jitted code, like linear/call.py for the linear. Arrays come as addresses. The caller
keeps them alive during the call.
"""

from __future__ import annotations

from ..base.context import LINE, Context
from ..base.jit import kernel
from ..base.memory import (
    ALIGN,
    aligned,
    allocate,
    clear,
    insist,
    is_null,
    null,
    offset,
    release,
    stack_zeros,
)
from ..base.record import bytes_of
from ..threads.pool import run, worthwhile
from .context import LANES, UNITS, LayerDescriptor, SequenceContext
from .emit import copy_floats
from .part import RESULT_GAP, blocks_of, row_bytes
from .worker import phases_of

#: Bytes of gates that one part computes ahead of their steps: beside its columns of W and R they should stay in L2.
GATES_BYTES = 1 << 18
#: What one thread does in a microsecond: rows of a product, columns of gates of a row, multiply-adds, bytes of weights.
#: Microseconds of sharing a sequence with other threads, and of their meeting after a phase. They fit what
#: `python -m bench recurrent_threads` measures, so that almost no layer gets slower by sharing.
ROWS_PER_US, COLUMNS_PER_US, MACS_PER_US, BYTES_PER_US = 50.0, 6000.0, 220_000.0, 40_000.0
SHARE_US, MEET_US = 12.0, 2.0


@kernel
def step_micros(layer, rows):
    """Microseconds of one step of one direction on one thread, about."""
    columns, state, phases = (
        layer.gate_columns, layer.state, layer.phases,
    )  # fmt: skip
    weight_bytes = 1 if is_null(layer.multiplier) else 4  # so many multiply-adds of int8 take the time of one
    row = phases / ROWS_PER_US + columns / COLUMNS_PER_US
    row += weight_bytes * columns * (state + layer.inputs) / MACS_PER_US
    return max(rows * row, weight_bytes * columns * state / BYTES_PER_US)


@kernel
def plan(layer, times, batch, threads):
    """(groups of rows of a direction, parts of a step, threads) for at most `threads` threads; 0 chooses.

    The cheapest of all plans, of those that employ the most threads where their number is given. Groups of rows never
    meet; parts of a step meet after each phase, but stream only their part of the weights.
    """
    directions, hidden = layer.directions, layer.hidden
    shares = (hidden + UNITS - 1) // UNITS
    least = directions * times * step_micros(layer, batch)
    most = worthwhile(layer.pool, threads, least, SHARE_US)
    groups, splits, workers = 1, 1, 1
    for parts in range(1, max(1, min(most // directions, blocks_of(hidden) // 2)) + 1):
        apart = max(1, min(most // (directions * parts), batch))
        used = min(most, directions * apart * parts)
        micros = step_micros(layer, (batch + apart - 1) // apart) * ((shares + parts - 1) // parts) / shares
        if parts > 1:
            micros += layer.phases * MEET_US
        micros = SHARE_US + times * micros * (directions * apart * parts) / used
        better = micros < least
        if threads > 1:
            better = used > workers or (used == workers and better)
        if better:
            least, groups, splits, workers = micros, apart, parts, used
    return groups, splits, workers


@kernel
def start_states(target, source, rows, units):
    """`rows` states of `units` float32 to rows of whole blocks; zeros where there is no source."""
    if not is_null(source):
        for row in range(rows):
            copy_floats(offset(source, 4 * units * row), offset(target, row_bytes(units) * row), units)


@kernel
def end_states(source, target, rows, units):
    for row in range(rows):
        copy_floats(offset(source, row_bytes(units) * row), offset(target, 4 * units * row), units)


@kernel
def sequence_into(x, x_stride, times, batch, lengths, h0, c0, y, hn, cn, layer, threads):
    """`sequence_at`, which raises where there is too little memory."""
    insist(sequence_at(x, x_stride, times, batch, lengths, h0, c0, y, hn, cn, layer, threads))


@kernel
def sequence_at(x, x_stride, times, batch, lengths, h0, c0, y, hn, cn, layer, threads):
    """All of one layer over a sequence. Whether there was enough memory.

    x float32 rows [times·batch, I], `x_stride` bytes apart; lengths int64 [batch] or NULL; h0, hn float32
    [directions, batch, P] and c0, cn [directions, batch, H] (h0, c0 may be NULL); y [times, batch, directions·P].
    `layer` is the address of its words; `threads` 0 chooses.
    """
    layer = LayerDescriptor(layer)
    directions, phases = layer.directions, layer.phases
    hidden, state = layer.hidden, layer.state
    rows, has_cells = directions * batch, layer.has_cells
    if batch == 0:
        return True
    groups, splits, most = plan(layer, times, batch, threads)
    chains = directions * groups
    workers = chains * splits
    pairs = (hidden + UNITS - 1) // UNITS
    widest = min((pairs + splits - 1) // splits * (UNITS // LANES), blocks_of(hidden))
    row = 4 * (layer.gate_columns // blocks_of(hidden)) * widest + RESULT_GAP
    group_rows = (batch + groups - 1) // groups
    steps = max(1, min(times, GATES_BYTES // (group_rows * row)))
    gates = steps * group_rows * row
    gathered = 0 if groups == 1 else 4 * steps * group_rows * layer.inputs
    # a second product may be wider than a step's gates: a projection's
    result = group_rows * max(row, row_bytes(state) + RESULT_GAP)
    h_half, c_half = rows * row_bytes(state), rows * row_bytes(hidden)
    states = 2 * h_half + (4 * c_half if has_cells or phases == 2 else 0)
    memory = allocate(ALIGN + states + workers * (gates + result + gathered))
    if is_null(memory):
        return False
    hiddens = aligned(memory)
    clear(hiddens, states)
    gates_buffer, cells = offset(hiddens, states), offset(hiddens, 2 * h_half)
    start_states(hiddens, h0, rows, state)
    if has_cells:
        start_states(cells, c0, rows, hidden)
    lines = workers + chains * (1 + splits)
    context = SequenceContext(stack_zeros(bytes_of(SequenceContext) + 8 * LINE * lines))
    context.worker = layer.sequence_worker
    context.pool = layer.pool
    context.threads = workers
    context.layer = layer
    context.times = times
    context.block_steps = steps
    context.batch = batch
    context.x = x
    context.x_stride = x_stride
    context.lengths = lengths
    context.hiddens = hiddens
    context.cells = cells
    context.middles = offset(cells, 2 * c_half)
    context.gates = gates_buffer
    context.gates_bytes = gates
    context.results = offset(gates_buffer, workers * gates)
    context.result_bytes = result
    context.gathered = offset(gates_buffer, workers * (gates + result))
    context.gathered_bytes = gathered
    context.y = y
    context.groups = groups
    context.splits = splits
    context.sync = offset(context, bytes_of(SequenceContext))
    context.tasks = workers * phases_of(context)
    fine = times == 0 or run(Context(context), most)
    odd = times & 1
    end_states(offset(hiddens, odd * h_half), hn, rows, state)
    if has_cells:
        end_states(offset(cells, odd * c_half), cn, rows, hidden)
    release(memory)
    return fine


@kernel
def entry(x, times, batch, lengths, h0, c0, given, y, hn, cn, layer, threads):
    """`sequence_into` on a view and addresses; bits of `given` tell whether there are lengths, h0, c0."""
    sequence_into(
        x.data, x.row_stride, times, batch, lengths.data if given & 1 else null(), h0.data if given & 2 else null(),
        c0.data if given & 4 else null(), y.data, hn.data, cn.data, layer.data, threads,
    )  # fmt: skip
