"""From arrays to a context, and to the worker, on the calling thread."""

from __future__ import annotations

from ..base import context as at
from ..base.jit import kernel
from ..base.memory import call_worker, load_ptr, stack_zeros, store_int, store_ptr


@kernel
def double_into(x, count, out, worker):
    """Fill float32 out [count] by the worker at an address."""
    context = stack_zeros(8 * at.SIZE)
    store_int(context, at.WORKER, worker)
    store_int(context, at.M, count)
    store_ptr(context, at.X, x)
    store_ptr(context, at.OUT, out)
    call_worker(load_ptr(context, at.WORKER), context, 0)


@kernel
def double_entry(x, count, out, worker):
    """The same from Python's arrays."""
    double_into(x.data, count, out.data, worker)
