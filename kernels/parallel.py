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

from .jit import kernel
from .memory import call_worker, data_ptr, fetch_add, load_ptr, store_int

#: int64 words between two workers' counters: a cache line, so that counting does not contend.
LINE = 8


@kernel(parallel=True)
def run_region(context, threads):
    """threads × worker(context, index) at the same time."""
    words = carray(context, (1,), np.int64)
    for index in prange(threads):
        call_worker(load_ptr(data_ptr(words), 0), data_ptr(words), index)


@kernel
def run(context, threads):
    """Run the worker of `context` on `threads` threads."""
    if threads == 1:
        call_worker(load_ptr(context, 0), context, 0)
    else:
        call_worker(load_ptr(context, 1), context, threads)


@kernel
def next_task(counters, index, threads, tasks, victim):
    """The next task for worker `index` and whose share it came from, or (-1, threads) when all are taken.

    `victim` is the distance of the share that served last: start at 0, pass on what comes back.
    """
    while victim < threads:
        owner = (index + victim) % threads
        task = owner * tasks // threads + fetch_add(counters, owner * LINE, 1)
        if task < (owner + 1) * tasks // threads:
            return task, victim
        victim += 1
    return -1, victim


@intrinsic
def _thread_setting(typingctx):
    """``numba.get_num_threads()``, which in itself cannot be cached."""

    def codegen(context, builder, signature, args):
        kind = ir.FunctionType(ir.IntType(32), [])
        symbol = cgutils.get_or_insert_function(builder.module, kind, "get_num_threads")
        return builder.sext(builder.call(symbol, []), ir.IntType(64))

    return types.int64(), codegen


@kernel(parallel=True)
def report_threads(result, index):
    """((int64 *)result)[index] = numba's thread setting for the calling thread."""
    words = carray(result, (1,), np.int64)
    for _ in prange(0):  # makes numba load the threading symbols along with this function
        words[0] = 0
    store_int(result, index, _thread_setting())
