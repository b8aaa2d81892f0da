"""A lookup in a quantized table as a step of a program (kernels/program/run.py)."""

from __future__ import annotations

import numpy as np

from ..base.jit import kernel
from ..base.memory import load_i32, load_int, null, store_int
from ..base.record import Pointer, Record
from ..base.status import BAD_INDEX, FINE
from .call import FINE as ALL_THERE
from .call import first_outside, lookup_into
from .context import Table


class LookupStep(Record):
    """float32 out [count, columns], contiguous: rows of the table by their ids; negative ones count from the end."""

    ids: Pointer
    id_bytes: int
    count: int
    out: Pointer
    out_stride: int
    table: Pointer  # its descriptor
    worker: Pointer
    one: Pointer  # a float32 1
    own_ids: Pointer  # int64 [count] to write in, for negative ids


@kernel
def lookup_step(record, threads):
    s = LookupStep(record)
    ids, size, count, rows = s.ids, s.id_bytes, s.count, Table(s.table).rows
    if first_outside(ids, size, count, rows) != ALL_THERE:
        own = s.own_ids
        for i in range(count):
            row = load_int(ids, i) if size == 8 else np.int64(load_i32(ids, i))
            store_int(own, i, row + rows if row < 0 else row)
        ids, size = own, 8
        if first_outside(ids, size, count, rows) != ALL_THERE:
            return BAD_INDEX
    lookup_into(ids, size, count, null(), count, s.one, 0, 0, s.out, s.out_stride, s.table, s.worker, threads)
    return FINE
