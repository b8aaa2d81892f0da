"""The worker: parts of the values."""

from __future__ import annotations

from ..base.jit import kernel
from ..base.memory import load_f32, store_f32
from ..threads.partition import share
from ..threads.tasks import tasks_of
from .context import DoubleContext


@kernel
def double_worker(context, index):
    context = DoubleContext(context)
    for task in tasks_of(context, index):
        first, count = share(task, context.tasks, context.count)
        for i in range(first, first + count):
            store_f32(context.out, i, load_f32(context.x, i) + load_f32(context.x, i))
