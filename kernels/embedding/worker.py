"""Lookups in a quantized table: the worker of a part of the rows or bags."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache

from ..base.jit import kernel
from ..isa.base import InstructionSet
from ..quantize.emit import LANES
from ..threads.partition import share
from ..threads.tasks import tasks_of
from .context import LookupContext
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
        context = LookupContext(context)
        tasks, bags, columns = context.tasks, context.bags, context.columns
        vectors = ((columns * bits + 7) // 8 + LANES - 1) // LANES
        for task in tasks_of(context, index):
            first, count = share(task, tasks, bags)
            # Rows of several blocks are near after the first: so a bag gets all of its blocks before the next one.
            step = count if block_of(vectors) >= vectors else 1
            for bag in range(first, first + count, step):
                vector = 0
                while vector < vectors:
                    size = block_of(vectors - vector)
                    emitted(size, context, LANES * vector, bag, step)
                    vector += size

    return lookup_worker
