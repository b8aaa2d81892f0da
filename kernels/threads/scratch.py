"""Large scratch memory, kept from call to call.

malloc returns large blocks to the system as soon as they are free, and the next call has a page fault for every page: a
convolution of 0.3 ms took 0.55 ms longer. So blocks are kept in slots of the process:

    slots [SLOTS]    taken │ address │ bytes of a block     one cache line each

A slot belongs to the call that takes it. If all are taken, and for large blocks, malloc and free are used. The
process has one such array (dynq_numba/runtime/scratch.py); a child made by fork begins with the slots that were free.
"""

from __future__ import annotations

from ..base.atomics import exchange, load_acquire, store_release
from ..base.jit import kernel
from ..base.memory import ALIGN, allocate, is_null, null, offset, release
from ..base.record import Line, Pointer, Record

SLOTS = 64
#: Bytes above which a block is not kept.
KEPT = 1 << 23


class Kept(Record):
    """A slot: a block that is kept."""

    taken: Line  # 1 while a call has it
    block: Pointer
    bytes: int


@kernel
def borrow(slots, count):
    """(slot, address) of at least `count` bytes, not aligned; NULL if there is too little memory, never of 0 bytes."""
    count = max(count, 1)
    for slot in range(SLOTS):
        kept = Kept(offset(slots, ALIGN * slot))
        if load_acquire(kept.taken, 0) == 0 and exchange(kept.taken, 0, 1) == 0:
            if kept.bytes < count:
                release(kept.block)
                block = allocate(count)
                kept.block = block
                kept.bytes = 0 if is_null(block) else count
            return slot, kept.block
    return -1, allocate(count)


@kernel
def give_back(slots, slot, block):
    """The end of a `borrow`."""
    if slot < 0:
        release(block)
        return
    kept = Kept(offset(slots, ALIGN * slot))
    if kept.bytes > KEPT:
        release(block)
        kept.block = null()
        kept.bytes = 0
    store_release(kept.taken, 0, 0)
