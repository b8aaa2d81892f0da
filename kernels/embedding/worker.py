"""Lookups in a quantized table: the worker of a part of the rows or bags."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache

from ..base import context as at
from ..base.atomics import fetch_add_relaxed
from ..base.jit import kernel
from ..base.memory import load_int, load_ptr
from ..isa.base import InstructionSet
from ..quantize.emit import LANES
from ..threads.partition import share
from ..threads.pool import next_task
from .emit import lookup, sizes


@cache
def lookup_worker(isa: InstructionSet, bits: int, kind: str) -> Callable:
    """The worker of one instruction set."""
    emitted, block_sizes = lookup(isa, bits, kind), sizes(isa, bits)

    @kernel(variant=f"{isa.name} {bits} {kind}")
    def block_of(left):
        """The vectors to do next: the smallest block that holds what is left, else the largest there is."""
        for size in block_sizes:
            if size >= left:
                return size
        return block_sizes[-1]

    @kernel(variant=f"{isa.name} {bits} {kind}")
    def lookup_worker(context, index):
        threads, counters = load_int(context, at.THREADS), load_ptr(context, at.COUNTERS)
        tasks, bags, columns = load_int(context, at.ROW_TASKS), load_int(context, at.M), load_int(context, at.K)
        vectors = ((columns * bits + 7) // 8 + LANES - 1) // LANES
        done = 0
        task, victim = next_task(counters, index, threads, tasks, 0)
        while task >= 0:
            first, count = share(task, tasks, bags)
            # Rows of several blocks are near after the first: so a bag gets all of its blocks before the next one.
            step = count if block_of(vectors) >= vectors else 1
            for bag in range(first, first + count, step):
                vector = 0
                while vector < vectors:
                    size = block_of(vectors - vector)
                    emitted(size, context, LANES * vector, bag, step)
                    vector += size
            done += 1
            task, victim = next_task(counters, index, threads, tasks, victim)
        fetch_add_relaxed(context, at.DONE, done)

    return lookup_worker
