"""A step that writes rows into a cache, each batch's from a position of its own on.

    target[b, h, starts[b] + i, :] = source[b, h, i, :]          circular: positions beyond the end are those from 0 on

    target   [B, H, room, row]      a row is some bytes one behind the other, and rows are, too
    source   [B, H, rows, row]
"""

from __future__ import annotations

from ..base.jit import kernel
from ..base.memory import copy_bytes, is_null, load_int, offset
from ..base.record import Pointer, Record
from ..base.status import BAD_INDEX, FINE


class CacheRows(Record):
    target: Pointer
    target_batch: int  # strides
    target_head: int
    source: Pointer
    source_batch: int
    source_head: int
    source_row: int
    starts: Pointer  # int64 [B], or NULL: all from 0 on
    batch: int
    heads: int
    rows: int
    room: int
    row_bytes: int
    circular: int


@kernel
def write_rows(record, threads):
    s = CacheRows(record)
    rows, room, row_bytes = s.rows, s.room, s.row_bytes
    whole = not is_null(s.starts)
    for b in range(s.batch):  # nothing is written where a place is wrong
        start = load_int(s.starts, b) if whole else 0
        if start < 0 or (s.circular == 0 and start > room - rows) or (room == 0 and rows > 0):
            return BAD_INDEX
    for b in range(s.batch):
        start = (load_int(s.starts, b) if whole else 0) % max(room, 1)
        for h in range(s.heads):
            to = offset(s.target, b * s.target_batch + h * s.target_head)
            source = offset(s.source, b * s.source_batch + h * s.source_head)
            for i in range(rows):
                place = start + i
                if place >= room:
                    place %= room
                copy_bytes(offset(to, place * row_bytes), offset(source, i * s.source_row), row_bytes)
    return FINE
