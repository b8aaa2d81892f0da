"""Large scratch memory, kept from call to call.

malloc returns large blocks to the system as soon as they are free, and the next call has a page fault for every page: a
convolution of 0.3 ms took 0.55 ms longer. So blocks are kept in slots of the process:

    slots [SLOTS][LINE words]    busy flag, address and bytes of a block     one cache line each

A slot belongs to the call that sets its flag. If all are taken, and for large blocks, malloc and free are used. The
process has one such array (dynq_numba/runtime/scratch.py); a child made by fork begins with the slots that were free.
"""

from __future__ import annotations

from ..base.atomics import exchange, load_acquire, store_release
from ..base.jit import kernel
from ..base.memory import allocate, is_null, load_int, load_ptr, null, release, store_int, store_ptr

#: int64 words of a slot, and where its address and size stand.
LINE = 8
BLOCK, BYTES = 1, 2
SLOTS = 64
SLOT_WORDS = SLOTS * LINE
#: Bytes above which a block is not kept.
KEPT = 1 << 23


@kernel
def borrow(slots, count):
    """(slot, address) of at least `count` bytes, not aligned; NULL if there is too little memory, never of 0 bytes."""
    count = max(count, 1)
    for slot in range(0, SLOT_WORDS, LINE):
        if load_acquire(slots, slot) == 0 and exchange(slots, slot, 1) == 0:
            if load_int(slots, slot + BYTES) < count:
                release(load_ptr(slots, slot + BLOCK))
                block = allocate(count)
                store_ptr(slots, slot + BLOCK, block)
                store_int(slots, slot + BYTES, 0 if is_null(block) else count)
            return slot, load_ptr(slots, slot + BLOCK)
    return -1, allocate(count)


@kernel
def give_back(slots, slot, block):
    """The end of a `borrow`."""
    if slot < 0:
        release(block)
        return
    if load_int(slots, slot + BYTES) > KEPT:
        release(block)
        store_ptr(slots, slot + BLOCK, null())
        store_int(slots, slot + BYTES, 0)
    store_release(slots, slot, 0)
