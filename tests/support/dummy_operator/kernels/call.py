"""From arrays to a context, and to the worker, on the calling thread."""

from __future__ import annotations

from ..base.context import Context, new_context
from ..base.jit import kernel
from ..base.memory import insist
from ..threads.pool import run
from .context import DoubleContext


@kernel
def double_into(x, count, out, worker):
    """Fill float32 out [count] by the worker at an address."""
    context = new_context(DoubleContext, 1)
    context.worker = worker
    context.tasks = 2
    context.count = count
    context.x = x
    context.out = out
    insist(run(Context(context), 1))


@kernel
def double_entry(x, count, out, worker):
    """The same from Python's arrays."""
    double_into(x.data, count, out.data, worker.data)
