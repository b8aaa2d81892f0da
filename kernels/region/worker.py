"""The worker of regions. A task is a range of rows, or where there are few, of a row's columns.

Every value is computed by itself, so no result depends on how a call is cut.
"""

from __future__ import annotations

from ..base.jit import kernel
from ..threads.partition import share
from ..threads.tasks import tasks_of
from .context import RegionContext, RegionRecord
from .rows import do_rows

#: Columns are cut between multiples of this: whole blocks, and cache lines.
UNIT = 64


@kernel
def worker(context, index):
    context = RegionContext(context)
    record = RegionRecord(context.record)
    units = (context.columns + UNIT - 1) // UNIT
    for task in tasks_of(context, index):
        row, rows = share(task // context.column_tasks, context.row_tasks, context.rows)
        first, count = share(task % context.column_tasks, context.column_tasks, units)
        column = first * UNIT
        do_rows(record, row, rows, column, min(count * UNIT, context.columns - column))
