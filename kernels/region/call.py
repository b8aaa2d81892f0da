"""The step of a region: choose threads and tasks, run. See context.py for what it is told."""

from __future__ import annotations

import ctypes
from collections.abc import Sequence

import numpy as np

from ..base.context import Context, Descriptor, new_context
from ..base.jit import address, kernel
from ..base.memory import WORKER_SIGNATURE
from ..isa.base import InstructionSet
from ..threads.pool import run, worthwhile
from . import axes, compiled
from .context import AXES, PartsContext, RegionRecord, record_of
from .reference import Region
from .rows import do_rows
from .worker import UNIT, worker

#: Least microseconds to give a thread; values of a task of several threads; tasks a thread at least.
WORTH_US = 1.0
TASK, PARTS = 1 << 15, 4
PICOSECONDS = 1e-6


@kernel
def shared(record, rows, columns, threads):
    """Cut a call into tasks, for several threads. 0."""
    record = Descriptor(record)
    wanted = max(PARTS * threads, rows * columns // TASK)
    row_tasks = min(rows, wanted)
    column_tasks = min((columns + UNIT - 1) // UNIT, (wanted + row_tasks - 1) // row_tasks)
    threads = min(threads, row_tasks * column_tasks)
    context = new_context(PartsContext, threads)
    context.worker = record.worker
    context.pool = record.pool
    context.record = record
    context.rows = rows
    context.columns = columns
    context.row_tasks = row_tasks
    context.column_tasks = column_tasks
    context.threads = threads
    context.tasks = row_tasks * column_tasks
    return 0 if run(Context(context), threads) else 1


@kernel
def step(record, threads):
    """The step of a `RegionRecord`. 0."""
    record = RegionRecord(record)
    rows = record.size_0 * record.size_1 * record.size_2 * record.size_3 * record.size_4
    columns = record.size_5
    if rows * columns <= 0:
        return 0
    threads = worthwhile(record.pool, threads, rows * columns * record.cost * PICOSECONDS, WORTH_US)
    if threads > 1:
        return shared(record, rows, columns, threads)
    do_rows(record, 0, rows, 0, columns)
    return 0


def step_address() -> int:
    """The step's address."""
    return address(step, WORKER_SIGNATURE)


def constant_fields(region: Region, isa: InstructionSet, pool: int) -> dict[str, int]:
    """What a record has the same in every call: all but sizes, addresses and strides."""
    return {
        "worker": address(worker, WORKER_SIGNATURE), "pool": pool,
        "function": compiled.function(region, isa), "cost": compiled.cost(region),
        "leaves": len(region.leaves), "results": len(region.results),
        **{f"bytes_{i}": np.dtype(kind).itemsize for i, kind in enumerate(region.operands)},
    }  # fmt: skip


def run_arrays(
    region: Region, isa: InstructionSet, leaves: Sequence[np.ndarray], results: Sequence[np.ndarray], pool: int,
    threads: int,
) -> None:  # fmt: skip
    """A call on arrays, from Python: for tests and tools. Leaves broadcast to the shape of the results."""
    shape = results[0].shape
    strides = [np.broadcast_to(leaf, shape).strides for leaf in leaves]
    joined = axes.merged(shape, *strides, *(result.strides for result in results))
    fields = ["size", *(f"stride_{i}" for i in range(len(region.operands)))]
    words = record_of(len(region.operands)).array(
        **constant_fields(region, isa, pool),
        **axes.padded(fields, joined, AXES),
        **{f"address_{i}": array.ctypes.data for i, array in enumerate([*leaves, *results])},
    )
    ctypes.CFUNCTYPE(ctypes.c_int64, ctypes.c_void_p, ctypes.c_int64)(step_address())(words.ctypes.data, threads)
