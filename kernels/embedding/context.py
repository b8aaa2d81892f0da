"""What is known of a packed table, and what the worker of a lookup is told."""

from __future__ import annotations

from ..base.context import Context
from ..base.record import Pointer, Record


class Table(Record):
    """The descriptor of a packed table (dynq_numba/operators/embedding/backend.py)."""

    table: Pointer
    row_bytes: int
    far: int  # whether it is more than a core's cache
    rows: int
    columns: int
    pool: Pointer


class LookupContext(Context):
    bags: int
    columns: int
    ids: Pointer
    id_bytes: int
    count: int  # ids
    offsets: Pointer  # int64 [bags + 1]
    out: Pointer
    out_stride: int
    table: Pointer
    row_bytes: int
    far: int
    weights: Pointer
    weight_stride: int
    mean: int
