"""A lookup in the stored weight of a linear that has the same table, as a step of a program.

    out[i, k] = float32(weight[k, ids[i]] - 128) · scale[ids[i]]          one rounding

    weight uint8 [K, N]:   k 0  │ id 0 │ id 1 │ …         a row of the table is a column of the weight
                           k 1  │ id 0 │ id 1 │ …

The weight is read where the model has it, so the table is in memory once; that takes a cache line for each value. The
loop goes down the weight: all ids read from one row before the next.
"""

from __future__ import annotations

import numpy as np

from ..base.jit import kernel
from ..base.memory import load_f32, load_i32, load_int, load_u8, offset, store_f32
from ..base.record import Pointer, Record
from ..base.status import BAD_INDEX, FINE


class OfLinearStep(Record):
    """float32 out [count, columns], contiguous; negative ids count from the end."""

    ids: Pointer
    id_bytes: int  # 4 or 8
    count: int
    out: Pointer
    weight: Pointer  # uint8 [columns, rows], contiguous
    scale: Pointer  # float32 [rows]
    columns: int  # of the table
    rows: int


@kernel
def _row(ids, id_bytes, i, rows):
    row = load_int(ids, i) if id_bytes == 8 else np.int64(load_i32(ids, i))
    return row + rows if row < 0 else row


@kernel
def of_linear_step(record, threads):
    s = OfLinearStep(record)
    ids, size, count, out, scale, columns, rows = s.ids, s.id_bytes, s.count, s.out, s.scale, s.columns, s.rows
    for i in range(count):
        if not 0 <= _row(ids, size, i, rows) < rows:
            return BAD_INDEX
    for k in range(columns):
        weight = offset(s.weight, k * rows)
        for i in range(count):
            row = _row(ids, size, i, rows)
            value = np.float32(np.int64(load_u8(weight, row)) - 128)
            store_f32(out, i * columns + k, value * load_f32(scale, row))
    return FINE
