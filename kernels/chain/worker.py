"""Row-wise steps one after another: each block of rows goes through all of them while it is in one core's cache.

    values    x ──step──▶ · ──step──▶ · ──step──▶ y       float32 [M, width] each
    step      a linear, or some that share their x and its quantization; a norm; a function element by element

    many rows    a task is a block of rows, and does every step on it; what no caller sees is scratch of the thread
    few rows     the steps one after another on all rows, each shared out to the threads as when it is called alone

A row's result depends on that row alone in every step, so both give the bits of the single calls. What this saves is
calls, and memory traffic: 1024 rows of a layer 384 → 1536 → 384 are 6 MB in between, of which here a block is in L2.

Program (int64), made once for an instruction set by dynq_numba/operators/chain/program.py, never written while it runs:

    ┌ head ┬ steps [count][context.SIZE] ─────────────────────────────┬ values [count][3] ─────────────┐
    │      │ contexts, with numbers of values where addresses belong   │ address, row stride, scratch   │
    └──────┴ a step's followers (linears of the same x) stand behind it ┴ arrays of the call come first ─┘

A value that is scratch has an offset ≥ 0: it begins that many bytes times the scratch's rows into the scratch.
"""

from __future__ import annotations

from ..base import context as at
from ..base.atomics import fetch_add_relaxed
from ..base.jit import kernel
from ..base.memory import call_worker, is_null, load_int, load_ptr, null, offset, stack_bytes, store_int, store_ptr
from ..rowwise.worker import TOTAL, TOTAL_STRIDE
from ..threads.partition import share
from ..threads.pool import LINE, next_task
from ..threads.scratch import borrow, give_back

#: The program's head: steps with their followers; values, and how many of them are arrays of the call; contexts of the
#: step with the most; bytes of scratch for a row; rows of a block (0: never in blocks), and the fewest that are worth
#: one; nanoseconds of one thread for a row; the pool; the slots of scratch; the worker.
STEPS, VALUES, ARRAYS, MOST, ROW_BYTES, BLOCK, LEAST, ROW_NS, POOL, SLOTS, WORKER = range(11)
HEAD = 16
ADDRESS, STRIDE, SCRATCH_OFFSET = range(3)
VALUE_WORDS = 3
NONE = -1
#: Words of a step beyond its context: the values of a float operation done in a microsecond (0: a linear), followers.
RATE, FOLLOWERS = at.NEXT + 1, at.NEXT + 2
assert FOLLOWERS < at.SIZE
#: The context of a call: the program, and the values with the addresses of the call.
PROGRAM, PLACES = at.N, at.K


@kernel
def point(context, address, row_stride, number, values, first, scratch, capacity):
    """Let two words of a context say where rows first … of a value are. `scratch` holds `capacity` rows."""
    if number == NONE:
        store_ptr(context, address, null())
        store_int(context, row_stride, 0)
        return
    value = offset(values, 8 * VALUE_WORDS * number)
    stride = load_int(value, STRIDE)
    store_int(context, row_stride, stride)
    if load_int(value, SCRATCH_OFFSET) >= 0:
        store_ptr(context, address, offset(scratch, capacity * load_int(value, SCRATCH_OFFSET)))
    else:
        store_ptr(context, address, offset(load_ptr(value, ADDRESS), first * stride))


@kernel
def fill(contexts, step, values, first, rows, scratch, capacity, threads):
    """The contexts of a step and its followers for rows first … first+rows: all but how they are cut.

    Followers stand behind the first one's counters, of `threads` lines.
    """
    context, last = contexts, load_int(step, FOLLOWERS)
    for i in range(last + 1):
        template = offset(step, 8 * at.SIZE * i)
        for word in range(at.SIZE):
            store_int(context, word, load_int(template, word))
        store_int(context, at.M, rows)
        point(context, at.X, at.X_STRIDE, load_int(template, at.X), values, first, scratch, capacity)
        point(context, at.OUT, at.OUT_STRIDE, load_int(template, at.OUT), values, first, scratch, capacity)
        addend = load_int(template, at.RESIDUAL)
        point(context, at.RESIDUAL, at.RESIDUAL_STRIDE, addend, values, first, scratch, capacity)
        if load_int(step, RATE) > 0:
            point(context, TOTAL, TOTAL_STRIDE, load_int(template, TOTAL), values, first, scratch, capacity)
        following = offset(context, 8 * (at.SIZE + (LINE * threads if i == 0 else 0)))
        if i < last:
            store_ptr(context, at.NEXT, following)
        context = following
    counters = offset(contexts, 8 * at.SIZE)
    for word in range(LINE * threads):
        store_int(counters, word, 0)
    store_ptr(contexts, at.COUNTERS, counters)


@kernel
def on_block(program, contexts, values, first, rows, scratch, capacity):
    """All steps on rows first … first+rows, by this thread; False for lack of memory."""
    step = offset(program, 8 * HEAD)
    left = load_int(program, STEPS)
    while left > 0:
        fill(contexts, step, values, first, rows, scratch, capacity, 1)
        for word in (at.THREADS, at.ROW_TASKS, at.COLUMN_TASKS):
            store_int(contexts, word, 1)
        store_int(contexts, at.ROW_BLOCK, rows)
        call_worker(load_ptr(contexts, at.WORKER), contexts, 0)
        if load_int(contexts, at.DONE) != 1:
            return False
        together = 1 + load_int(step, FOLLOWERS)
        step = offset(step, 8 * at.SIZE * together)
        left -= together
    return True


@kernel
def chain_worker(context, index):
    program, values = load_ptr(context, PROGRAM), load_ptr(context, PLACES)
    threads, tasks = load_int(context, at.THREADS), load_int(context, at.ROW_TASKS)
    counters, capacity = load_ptr(context, at.COUNTERS), load_int(context, at.ROW_BLOCK)
    contexts = stack_bytes(8 * (at.SIZE * load_int(program, MOST) + LINE))
    slots = load_ptr(program, SLOTS)
    slot, scratch = borrow(slots, capacity * load_int(program, ROW_BYTES))
    done, fine = 0, not is_null(scratch)
    if fine:
        task, victim = next_task(counters, index, threads, tasks, 0)
        while task >= 0 and fine:
            first, rows = share(task, tasks, load_int(context, at.M))
            fine = on_block(program, contexts, values, first, rows, scratch, capacity)
            if fine:
                done += 1
                task, victim = next_task(counters, index, threads, tasks, victim)
    give_back(slots, slot, scratch)
    fetch_add_relaxed(context, at.DONE, done)
