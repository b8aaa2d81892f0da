"""The step of a reduction: choose threads and tasks, run. See context.py for what it is told."""

from __future__ import annotations

from functools import partial

import numpy as np

from ..base.jit import address, kernel
from ..base.memory import WORKER_SIGNATURE
from ..isa.base import InstructionSet
from ..region.call import PICOSECONDS, WORTH_US, shared
from ..region.compiled import functions
from ..region.worker import worker_of
from ..threads.pool import worthwhile
from .context import ReduceRecord
from .emit import ENDS, reduction_functions
from .reference import REDUCTIONS, refused
from .rows import do_results

#: Picoseconds a value, about.
COST = 60

worker = worker_of("reduce", do_results)


@kernel
def step(record, threads):
    """The step of a `ReduceRecord`. 0."""
    record = ReduceRecord(record)
    rows, columns = record.kept_0 * record.kept_1 * record.kept_2, record.kept_3
    if record.last != 0:
        rows, columns = rows * columns, 1
    if rows * columns <= 0:
        return 0
    values = rows * columns * record.reduced_0 * record.reduced_1 * record.reduced_2
    threads = worthwhile(record.pool, threads, values * record.cost * PICOSECONDS, WORTH_US)
    if threads > 1:
        return shared(record, rows, columns, threads)
    do_results(record, 0, rows, 0, columns)
    return 0


def step_address() -> int:
    """The step's address."""
    return address(step, WORKER_SIGNATURE)


def constant_fields(name: str, kind: str, isa: InstructionSet, pool: int) -> dict[str, int]:
    """What a record has the same in every call: all but `last`, sizes, addresses and strides.

    Raises
    ------
    ValueError
        If there is no such reduction of this type.
    """
    if why := refused(name, kind):
        raise ValueError(f"no reduction: {why}")
    reduction, dtype = REDUCTIONS[name], np.dtype(kind)
    emit = partial(reduction_functions, name, kind)
    across, along, fold, finish = functions(f"reduction {name} {kind}", emit, isa, *ENDS[1:])
    neutral = np.zeros(8 // dtype.itemsize, dtype)
    neutral[:1] = reduction.neutral(dtype)
    return {
        "worker": address(worker, WORKER_SIGNATURE), "pool": pool, "across": across, "along": along, "fold": fold,
        "finish": finish, "finishes": int(reduction.after is not None), "cost": COST, "bytes": dtype.itemsize,
        "neutral": int(neutral.view(np.int64)[0]),
    }  # fmt: skip
