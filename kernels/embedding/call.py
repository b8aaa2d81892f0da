"""Lookups in a quantized table (embedding/emit.py) on the helper threads: from arrays to the worker.

    ids  ──all checked before anything is written──▶  tasks: ranges of bags  ──▶  blocks of columns  ──▶  out

A lookup without bags is one whose bags are single ids. Sums and means differ in a word of the context; a sum without
weights reads the same weight 1 every time. One thread adds up a bag, in the order of its ids.
"""

from __future__ import annotations

import numpy as np

from ..base.context import Context, new_context
from ..base.jit import kernel
from ..base.memory import insist, load_i32, load_int
from ..threads.pool import run, worthwhile
from .context import LookupContext, Table

#: Bytes of rows, and of results, that one thread reads or writes in a microsecond; the least microseconds to give a
#: thread; bytes from which a second one may be asked.
BYTES_PER_US, WORTH_US = 20_000, 1.0
FOR_TWO = int(2 * WORTH_US * BYTES_PER_US)
#: Tasks per thread: bags differ in length.
PARTS = 8
FINE = -1


@kernel
def first_outside(ids, id_bytes, count, rows):
    """The first position whose id is not a row, or FINE. The loops have no branch, so they become vectors."""
    bad = 0
    if id_bytes == 8:
        for i in range(count):
            bad |= load_int(ids, i) | (rows - 1 - load_int(ids, i))
    else:
        for i in range(count):
            value = np.int64(load_i32(ids, i))
            bad |= value | (rows - 1 - value)
    if bad >= 0:
        return FINE
    for i in range(count):
        value = load_int(ids, i) if id_bytes == 8 else np.int64(load_i32(ids, i))
        if not 0 <= value < rows:
            return i
    return FINE


@kernel
def first_descent(offsets, bags, count):
    """The first of `bags` + 1 offsets that is below the one before, not 0 at the start or beyond `count`; or FINE."""
    before = 0
    for i in range(bags + 1):
        value = load_int(offsets, i)
        if value < before or value > count or (i == 0 and value != 0):
            return i
        before = value
    return FINE


@kernel
def ends_of_bags(ids, offsets):
    """int64 [bags + 1] from where bags begin: the last one ends with the ids. A copy, as `all_ends` gives."""
    ends = np.empty(offsets.size + 1, np.int64)
    ends[:-1] = offsets
    ends[-1] = ids.size
    return ends


@kernel
def all_ends(ids, offsets):
    """int64 [bags + 1] from offsets with the last end."""
    if offsets.size == 0:
        raise ValueError("offsets must have at least 1 value with include_last_offset")
    return offsets.astype(np.int64)


@kernel
def ends_of_rows(ids, offsets):
    """int64 [bags + 1] where each row of ids is a bag."""
    return np.arange(ids.shape[0] + 1) * ids.shape[1]


@kernel
def lookup_into(
    ids, id_bytes, count, offsets, bags, weights, weight_stride, mean, out, out_stride, descriptor, worker, threads
):  # fmt: skip
    """Fill float32 out [bags, columns]; ids and offsets (int64 [bags + 1], unused by "rows") are checked."""
    descriptor = Table(descriptor)
    columns, row_bytes = descriptor.columns, descriptor.row_bytes
    if bags == 0 or columns == 0:
        return
    pool = descriptor.pool
    micros = (count * row_bytes + 4 * bags * columns) / BYTES_PER_US
    threads = min(worthwhile(pool, threads, micros, WORTH_US), bags)
    tasks = 1 if threads == 1 else min(bags, PARTS * threads)
    context = new_context(LookupContext, threads)
    context.worker = worker
    context.pool = pool
    context.bags = bags
    context.columns = columns
    context.ids = ids
    context.id_bytes = id_bytes
    context.out = out
    context.out_stride = out_stride
    context.table = descriptor.table
    context.row_bytes = row_bytes
    context.far = descriptor.far
    context.count = count
    context.offsets = offsets
    context.weights = weights
    context.weight_stride = weight_stride
    context.mean = mean
    context.tasks = tasks
    insist(run(Context(context), threads))


@kernel
def lookup_entry(
    ids, id_bytes, count, offsets, bags, weights, weight_stride, mean, out, descriptor, worker, threads
):  # fmt: skip
    """`lookup_into` after the checks, on views and addresses; a negative `bags` says that each id is its own bag.

    Returns FINE, or before anything is written: the position of the first bad id, or FINE - 1 - that of a bad offset.
    """
    words = descriptor.data
    if bags >= 0:
        bad = first_descent(offsets.data, bags, count)
        if bad != FINE:
            return FINE - 1 - bad
    bad = first_outside(ids.data, id_bytes, count, Table(words).rows)
    if bad == FINE:
        lookup_into(
            ids.data, id_bytes, count, offsets.data, count if bags < 0 else bags, weights.data, weight_stride, mean,
            out.data, out.row_stride, words, worker.data, threads,
        )  # fmt: skip
    return bad
