"""The step of a loop: the program of its body, again and again.

    turn 0      first ──body──▶ last          an odd number of turns; of an even one turn 0 writes to spare
    turn 1      last  ──body──▶ spare
    turn 2      spare ──body──▶ last          so the last turn writes where the loop's result is

Nothing is copied from turn to turn: the body reads a carried value where one word of the table points, and writes it
where another does; the step exchanges them. In each turn the body's sizes are computed anew, from the turn's number,
and its records are filled. So the body may read and write parts of outer arrays at places that depend on the turn.

A loop that ends by its condition may end in either memory; then its result is copied once. A turn in which a guard of
the body does not hold ends the step with OTHER_TURN, and so do more than MOST_TURNS turns: Python does what is that
long, where it can be interrupted.
"""

from __future__ import annotations

from ..base.jit import kernel
from ..base.memory import address_value, copy_bytes, is_null, load_ptr, load_u8, offset, store_int, store_ptr
from ..base.record import Pointer, Record
from ..base.status import FINE, OTHER_TURN
from .run import STATUSES, Program, compute, perform

MOST_TURNS = 1 << 20


class Loop(Record):
    """Behind it, `carried` records Carried."""

    table: Pointer
    records: Pointer
    body: Pointer  # Program
    turns: int  # at most
    condition: Pointer  # byte that the body writes: not 0 goes on; null: there is none
    number: int  # which word of the table is the turn's number
    carried: int


class Carried(Record):
    """A value that each turn takes from the one before."""

    now: int  # which words of the table are addresses: what a turn reads
    next: int  # and writes
    first: Pointer  # before turn 0
    last: Pointer  # after the last turn
    spare: Pointer
    nbytes: int


_LOOP, _CARRIED = 8 * Loop.size, 8 * Carried.size


@kernel
def loop(record, threads):
    record = Loop(record)
    table, body, turns = record.table, Program(record.body), record.turns
    values = offset(record, _LOOP)
    for k in range(record.carried):
        value = Carried(offset(values, k * _CARRIED))
        store_ptr(table, value.now, value.first)
        store_ptr(table, value.next, value.last if turns % 2 == 1 else value.spare)
    turn = 0
    while turn < turns:
        store_int(table, record.number, turn)
        if turn == MOST_TURNS or not compute(body, table):
            return OTHER_TURN
        status = perform(body, table, record.records, threads)
        if status != FINE:
            return status % STATUSES
        for k in range(record.carried):
            value = Carried(offset(values, k * _CARRIED))
            written = load_ptr(table, value.next)
            in_last = address_value(written) == address_value(value.last)
            store_ptr(table, value.now, written)
            store_ptr(table, value.next, value.spare if in_last else value.last)
        turn += 1
        if not is_null(record.condition) and load_u8(record.condition, 0) == 0:
            break
    for k in range(record.carried):
        value = Carried(offset(values, k * _CARRIED))
        found = load_ptr(table, value.now)
        if address_value(found) != address_value(value.last):
            copy_bytes(value.last, found, value.nbytes)
    return FINE
