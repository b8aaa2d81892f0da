"""From arrays to a running chain: fill in where its values are, choose blocks or steps, go. See worker.py."""

from __future__ import annotations

from ..base import context as at
from ..base.jit import kernel
from ..base.memory import insist, is_null, load_int, load_ptr, offset, stack_zeros, store_int, store_ptr
from ..linear.call import micros_of, start
from ..objects.cpython import ITEMS, data_of, stride
from ..rowwise.call import finish
from ..rowwise.entry import WORTH_US as ROWS_WORTH_US
from ..threads.partition import WORTH_US, rows_in_blocks
from ..threads.pool import LINE, SETTING, run, worthwhile
from ..threads.scratch import borrow, give_back
from .worker import (
    ADDRESS,
    ARRAYS,
    BLOCK,
    FOLLOWERS,
    HEAD,
    LEAST,
    MOST,
    PLACES,
    POOL,
    PROGRAM,
    RATE,
    ROW_BYTES,
    ROW_NS,
    SLOTS,
    STEPS,
    STRIDE,
    VALUE_WORDS,
    VALUES,
    WORKER,
    fill,
)


@kernel
def by_blocks(program, values, m, block, threads):
    """Blocks of at most `block` rows, each through all steps."""
    tasks = (m + block - 1) // block
    tasks = (tasks + threads - 1) // threads * threads  # so that all threads end together
    context = stack_zeros(8 * (at.SIZE + LINE * threads))
    store_ptr(context, at.WORKER, load_ptr(program, WORKER))
    store_ptr(context, at.POOL, load_ptr(program, POOL))
    store_ptr(context, PROGRAM, program)
    store_ptr(context, PLACES, values)
    store_int(context, at.M, m)
    store_int(context, at.ROW_TASKS, tasks)
    store_int(context, at.ROW_BLOCK, (m + tasks - 1) // tasks)
    store_int(context, at.THREADS, threads)
    store_ptr(context, at.COUNTERS, offset(context, 8 * at.SIZE))
    insist(run(context, threads, tasks))


@kernel
def one_step(contexts, m, threads, pool, most):
    """A step whose contexts are filled, on as many threads as it is worth; counters are there for `most`.

    The setting, which `worthwhile` looks at, may change meanwhile.
    """
    if load_int(contexts, RATE) > 0:
        micros = m * load_int(contexts, at.K) / load_int(contexts, RATE)
        store_int(contexts, at.THREADS, min(most, worthwhile(pool, threads, micros, ROWS_WORTH_US)))
        finish(contexts)  # needs no memory
        return True
    micros, context = 0.0, contexts
    while not is_null(context):
        micros += micros_of(m, context)
        context = load_ptr(context, at.NEXT)
    wanted = min(most, worthwhile(pool, threads, micros, WORTH_US))
    return start(contexts, m, load_int(contexts, at.ALL_PANELS), wanted)


@kernel
def by_steps(program, values, m, scratch, threads):
    """The steps one after another, each on all rows. Whether there was memory for it."""
    pool = load_ptr(program, POOL)
    most = threads if threads > 0 else load_int(pool, SETTING)
    contexts = stack_zeros(8 * (at.SIZE * load_int(program, MOST) + LINE * most))
    step = offset(program, 8 * HEAD)
    left = load_int(program, STEPS)
    while left > 0:
        fill(contexts, step, values, 0, m, scratch, m, most)
        if not one_step(contexts, m, threads, pool, most):
            return False
        together = 1 + load_int(step, FOLLOWERS)
        step = offset(step, 8 * at.SIZE * together)
        left -= together
    return True


@kernel
def chain_into(program, values, m, threads):
    """Run a program on m > 0 rows; `values` have their addresses. `threads` 0 chooses."""
    micros = m * load_int(program, ROW_NS) / 1000
    wanted = worthwhile(load_ptr(program, POOL), threads, micros, WORTH_US)
    block = load_int(program, BLOCK)
    if rows_in_blocks(m, block, load_int(program, LEAST), wanted):
        by_blocks(program, values, m, block, wanted)
        return
    slots = load_ptr(program, SLOTS)
    slot, scratch = borrow(slots, m * load_int(program, ROW_BYTES))
    fine = not is_null(scratch) and by_steps(program, values, m, scratch, threads)
    give_back(slots, slot, scratch)
    insist(fine)


@kernel
def chain_entry(arrays, program, m, threads):
    """`arrays`: a tuple of float32 matrices of m rows, last axes contiguous, in the order of the program's values."""
    program = program.data
    count, own = load_int(program, ARRAYS), load_int(program, VALUES)
    template = offset(program, 8 * (HEAD + at.SIZE * load_int(program, STEPS)))
    values = stack_zeros(8 * VALUE_WORDS * own)
    for word in range(VALUE_WORDS * own):
        store_int(values, word, load_int(template, word))
    items = offset(arrays.at, ITEMS)
    for i in range(count):
        array, value = load_ptr(items, i), offset(values, 8 * VALUE_WORDS * i)
        store_ptr(value, ADDRESS, data_of(array))
        store_int(value, STRIDE, stride(array, 0))
    chain_into(program, values, m, threads)
