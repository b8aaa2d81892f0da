"""The steps of pooling: choose threads and tasks, run (see worker.py)."""

from __future__ import annotations

from ..base.context import Context, new_context
from ..base.jit import kernel
from ..base.status import FINE, NO_MEMORY
from ..threads.pool import run, worthwhile
from .context import GlobalPooling, Pooling, PoolingContext

#: Values that one thread combines in a microsecond, about; the least microseconds to give a thread; tasks for each.
VALUES_PER_US, WORTH_US, TASKS = 5_000.0, 3.0, 4


@kernel
def begin(context, record, worker, pool, tasks, chunks):
    context.worker = worker
    context.pool = pool
    context.tasks = tasks
    context.record = record
    context.chunks = chunks


@kernel
def pooling_step(record, threads):
    """out from x, as a Pooling says; at most so many threads, 0 chooses. 0, or 1: too little memory."""
    p = Pooling(record)
    planes, out_height = p.planes, p.out_height
    if planes * out_height * p.out_width == 0:
        return FINE
    values = planes * (p.height * p.k_wide + out_height * p.k_high) * p.out_width
    threads = worthwhile(p.pool, threads, values / VALUES_PER_US, WORTH_US)
    chunks = 1
    if threads > 1 and planes < TASKS * threads:
        chunks = min(out_height, (TASKS * threads + planes - 1) // planes)
    tasks = planes * chunks
    threads = min(threads, tasks)
    context = new_context(PoolingContext, threads)
    begin(PoolingContext(context), p, p.worker, p.pool, tasks, chunks)
    return FINE if run(Context(context), threads) else NO_MEMORY


@kernel
def global_pooling_step(record, threads):
    """The same for a GlobalPooling."""
    p = GlobalPooling(record)
    if p.planes == 0:
        return FINE
    threads = worthwhile(p.pool, threads, p.planes * p.values / VALUES_PER_US, WORTH_US)
    tasks = 1 if threads == 1 else min(p.planes, TASKS * threads)
    threads = min(threads, tasks)
    context = new_context(PoolingContext, threads)
    begin(PoolingContext(context), p, p.worker, p.pool, tasks, 1)
    return FINE if run(Context(context), threads) else NO_MEMORY


@kernel
def pooling_entry(record, threads):
    """`pooling_step` for Python."""
    return pooling_step(record.data, threads)


@kernel
def global_pooling_entry(record, threads):
    """`global_pooling_step` for Python."""
    return global_pooling_step(record.data, threads)
