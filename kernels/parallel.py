"""The package's only parallel region.

A worker is a kernel `worker(context, index)` reached by address. Every call of the package is `threads` workers
that share out `tasks` tasks; with one thread the caller runs the worker itself and no region is entered.

    context word 0: address of the worker
    context word 1: address of `run_region`      (the rest belongs to the worker)
    counters:       one 64-byte line per worker, [0] the next task of its share

The region, too, is reached by address. A function that links a parallel loop needs numba's threading symbols when it
is loaded, and numba loses track of that through a chain of cached callers: the process then aborts.

Each worker goes through its own contiguous share first (so that the weights a core touched last time are in
its cache), then takes what is left of its neighbours' shares: a slow or descheduled thread holds up nobody's
tasks but the one it is in.
"""

from __future__ import annotations

import numpy as np
from llvmlite import ir
from numba import carray, prange, types
from numba.core import cgutils
from numba.extending import intrinsic

from . import context as at
from .blocking import share
from .jit import kernel
from .memory import I32, I64, call_worker, data_ptr, fetch_add, load_int, load_ptr

#: int64 words between two workers' counters: a cache line, so that counting does not contend.
LINE = 8


@intrinsic
def _get_num_threads(typingctx):
    """``numba.get_num_threads()``, which in itself cannot be cached; the symbol comes with any parallel loop."""

    def codegen(context, builder, signature, args):
        kind = ir.FunctionType(I64, [])  # as numba's loops declare it; it is an int
        symbol = cgutils.get_or_insert_function(builder.module, kind, "get_num_threads")
        return builder.sext(builder.trunc(builder.call(symbol, []), I32), I64)

    return types.int64(), codegen


@kernel(parallel=True)
def run_region(context, threads):
    """threads × worker(context, index) at the same time; with 0 threads, context[0] = numba's thread setting."""
    words = carray(context, (1,), np.int64)  # a parallel loop can capture an array, but no pointer
    if threads == 0:  # asking must not enter a region: it would cost microseconds on every call
        words[0] = _get_num_threads()
    else:
        for index in prange(threads):
            call_worker(load_ptr(data_ptr(words), 0), data_ptr(words), index)


@kernel
def thread_setting(region):
    """numba's thread setting for the calling thread, by way of the address of `run_region`."""
    words = np.array([0, region])
    call_worker(load_ptr(data_ptr(words), 1), data_ptr(words), 0)
    return words[0]


@kernel
def run(context, threads, tasks):
    """Run the worker of `context` on `threads` threads.

    An error cannot leave a function that is called by address. What one worker could not start, for want of memory,
    the others do; when tasks are left in the end, nobody had the memory.
    """
    if threads == 1:
        call_worker(load_ptr(context, 0), context, 0)
    else:
        call_worker(load_ptr(context, 1), context, threads)
    if load_int(context, at.DONE) != tasks:
        raise MemoryError("no memory for packed rows")


@kernel
def next_task(counters, index, threads, tasks, victim):
    """The next task for worker `index` and whose share it came from, or (-1, threads) when all are taken.

    `victim` is the distance of the share that served last: start at 0, pass on what comes back.
    """
    while victim < threads:
        owner = (index + victim) % threads
        first, count = share(owner, threads, tasks)
        taken = fetch_add(counters, owner * LINE, 1)
        if taken < count:
            return first + taken, victim
        victim += 1
    return -1, victim
