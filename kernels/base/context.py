"""The context: a record by which a call tells its worker all it needs (see record.py).

    ┌ every call's ──────────┬ the operator's ────────┐┌ counters ─────────────┐
    │ worker … done          │ sizes, addresses, …    ││ 1 line of 8 per worker │
    └ base/context.py ───────┴ ⟨operator⟩/context.py ─┘└ from a line of their own ┘

Strides are in bytes. What stays the same from call to call, for a packed weight and an instruction set, is a record of
its own: a *descriptor*.
"""

from __future__ import annotations

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from .memory import ALIGN, I8, I64
from .record import Pointer, Record, RecordType

#: Words between two that different threads write: a cache line.
LINE = 8


class Descriptor(Record):
    """What every descriptor begins with."""

    worker: Pointer  # address of the worker
    pool: Pointer  # address of the pool (threads/pool.py); unused with one thread


class Context(Descriptor):
    """What every context begins with."""

    tasks: int
    threads: int
    counters: Pointer  # a line for each worker: how many tasks of its share are taken
    done: int  # tasks finished


@intrinsic
def new_context(typingctx, record, threads):
    """A context of zeros for so many threads on the stack, with their counters. Not for use in a loop."""
    cls = record.typing_key
    lines = cls.lines()

    def codegen(context, builder, signature, args):
        size = builder.add(builder.mul(args[1], ir.Constant(I64, 8 * LINE)), ir.Constant(I64, lines))
        base = builder.alloca(I8, size=size)
        base.align = ALIGN
        cgutils.memset(builder, base, size, 0)
        builder.store(args[1], cls.place(builder, base, "threads"))
        builder.store(builder.gep(base, [ir.Constant(I64, lines)]), cls.place(builder, base, "counters"))
        return base

    return RecordType(cls)(record, types.intp), codegen
