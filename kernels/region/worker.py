"""Workers of calls on rows and columns. A task is a range of rows, or where there are few, of a row's columns.

Every value is computed by itself, so no result depends on how a call is cut.
"""

from __future__ import annotations

from typing import Any

from ..base.jit import kernel
from ..threads.partition import share
from ..threads.tasks import tasks_of
from .context import PartsContext
from .rows import do_rows

#: Columns are cut between multiples of this: whole blocks, and cache lines.
UNIT = 64


def worker_of(name: str, do_part: Any) -> Any:
    """The worker that calls ``do_part(record, row, rows, column, columns)``."""

    @kernel(variant=name)
    def worker(context, index):
        context = PartsContext(context)
        units = (context.columns + UNIT - 1) // UNIT
        for task in tasks_of(context, index):
            row, rows = share(task // context.column_tasks, context.row_tasks, context.rows)
            first, count = share(task % context.column_tasks, context.column_tasks, units)
            column = first * UNIT
            do_part(context.record, row, rows, column, min(count * UNIT, context.columns - column))

    return worker


worker = worker_of("region", do_rows)
