"""From arrays to a running recurrent layer: chunks of time, room for gates and states, threads.

Callable from Python and from jitted code, as call.py for the linear.

    for each chunk of time      as many steps as keep the gates within GATES_BYTES
        x·Wᵀ + bias             one linear per direction, for all times of the chunk
        the steps               kernels/recurrent.py
"""

from __future__ import annotations

import numpy as np

from . import context as at
from . import recurrent_words as words
from .blocking import estimate, share
from .call import linear_into
from .emit.recurrent import copy_floats
from .jit import kernel
from .memory import data_ptr, is_null, keep, load_int, load_ptr, null, offset, stack_zeros, store_int, store_ptr
from .parallel import LINE, SETTING, run, worth_waking
from .recurrent_job import RESULT_GAP, row_bytes

#: Bytes of gates that are computed ahead of their steps.
GATES_BYTES = 1 << 23
#: Units whose gates one thread evaluates in a microsecond; what it takes to share a step, and to share a sequence.
UNITS_PER_US, SPLIT_US, WORTH_US = 1000.0, 0.7, 1.0


@kernel
def step_micros(layer, batch):
    """Microseconds of one step of one direction on one thread, about."""
    columns, state = load_int(layer, words.GATE_COLUMNS), load_int(layer, words.STATE)
    return estimate(batch, columns, state, columns * state) + batch * load_int(layer, words.HIDDEN) / UNITS_PER_US


@kernel
def plan(layer, times, batch, threads):
    """(groups of rows of a direction, parts of a step) for at most `threads` threads; 0 chooses."""
    directions, pairs = load_int(layer, words.DIRECTIONS), row_bytes(load_int(layer, words.HIDDEN)) // 64 // 2
    micros = step_micros(layer, batch)
    most = threads
    if threads == 0:
        total = micros * directions * times
        pool = load_ptr(layer, words.POOL)
        most = min(load_int(pool, SETTING), int(total / WORTH_US)) if total >= 2 * WORTH_US else 1
        if most > 1 and not worth_waking(pool, most, total):
            most = 1
    if most < 2:
        return 1, 1
    splits = max(1, min(most // directions, pairs))
    if threads == 0:
        splits = max(1, min(splits, int(micros / SPLIT_US)))
    groups = max(1, min(most // (directions * splits), batch))
    return groups, splits


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
    """All of one layer over a sequence.

    x float32 rows [times·batch, I], `x_stride` bytes apart; lengths int64 [batch] or NULL; h0, hn float32
    [directions, batch, P] and c0, cn [directions, batch, H] (h0, c0 may be NULL); y [times, batch, directions·P].
    `layer` is the address of its words; `threads` 0 chooses.
    """
    directions, phases = load_int(layer, words.DIRECTIONS), load_int(layer, words.PHASES)
    hidden, state = load_int(layer, words.HIDDEN), load_int(layer, words.STATE)
    rows, columns = directions * batch, load_int(layer, words.GATE_COLUMNS)
    if batch == 0:
        return
    groups, splits = plan(layer, times, batch, threads)
    chains = directions * groups
    workers = chains * splits
    chunk = max(1, min(times, GATES_BYTES // (4 * rows * columns)))
    h_half, c_half = rows * row_bytes(state), rows * row_bytes(hidden)
    group_rows = (batch + groups - 1) // groups
    result = group_rows * (4 * columns + RESULT_GAP)
    states = np.zeros((2 * h_half + (4 if load_int(layer, words.HAS_CELLS) or phases == 2 else 0) * c_half) // 4,
                      np.float32)  # fmt: skip
    scratch = np.empty((4 * chunk * rows * columns + workers * result) // 4, np.float32)
    hiddens = data_ptr(states)
    cells, gates = offset(hiddens, 2 * h_half), data_ptr(scratch)
    start_states(hiddens, h0, rows, state)
    if load_int(layer, words.HAS_CELLS):
        start_states(cells, c0, rows, hidden)
    sync_words = LINE * (workers + chains * (1 + splits))
    context = stack_zeros(8 * (words.SEQUENCE + LINE + sync_words))
    store_ptr(context, at.WORKER, load_ptr(layer, words.SEQUENCE_WORKER))
    store_ptr(context, at.POOL, load_ptr(layer, words.POOL))
    store_int(context, at.THREADS, workers)
    store_ptr(context, words.LAYER, layer)
    store_int(context, words.TIMES, times)
    store_int(context, words.BATCH, batch)
    store_ptr(context, words.LENGTHS, lengths)
    store_ptr(context, words.GATES, gates)
    store_ptr(context, words.HIDDENS, hiddens)
    store_ptr(context, words.CELLS, cells)
    store_ptr(context, words.MIDDLES, offset(cells, 2 * c_half))
    store_ptr(context, words.RESULTS, offset(gates, 4 * chunk * rows * columns))
    store_int(context, words.RESULT_BYTES, result)
    store_ptr(context, words.Y, y)
    store_int(context, words.GROUPS, groups)
    store_int(context, words.SPLITS, splits)
    sync = offset(context, 8 * words.SEQUENCE)
    store_ptr(context, words.SYNC, sync)
    before = 0
    while before < times:
        steps = min(chunk, times - before)
        for d in range(directions):
            direction = offset(layer, 8 * (words.HEADER + words.DIRECTION * d))
            first = times - before - steps if load_int(direction, words.REVERSE) else before
            linear_into(
                offset(x, first * batch * x_stride), steps * batch, x_stride,
                offset(gates, 4 * d * steps * batch * columns), 4 * columns, null(), 0,
                load_ptr(direction, words.INPUT), 0, threads,
            )  # fmt: skip
        for i in range(sync_words):
            store_int(sync, i, 0)
        store_int(context, words.STEPS, steps)
        store_int(context, words.BEFORE, before)
        store_int(context, at.DONE, 0)
        run(context, workers, steps * phases * chains * splits)
        before += steps
    odd = times & 1
    end_states(offset(hiddens, odd * h_half), hn, rows, state)
    if load_int(layer, words.HAS_CELLS):
        end_states(offset(cells, odd * c_half), cn, rows, hidden)
    keep(states)
    keep(scratch)


@kernel
def entry(x, times, batch, lengths, h0, c0, given, y, hn, cn, layer, threads):
    """`sequence_into` on a view and addresses; bits of `given` tell whether there are lengths, h0, c0."""
    sequence_into(
        x.data, x.row_stride, times, batch, lengths.data if given & 1 else null(), h0.data if given & 2 else null(),
        c0.data if given & 4 else null(), y.data, hn.data, cn.data, layer.data, threads,
    )  # fmt: skip
