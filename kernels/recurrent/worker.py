"""The time loop of LSTM, GRU and RNN: one call for a whole sequence, and threads that share its steps.

    input phase, for a block of steps     x·Wᵀ + bias of all its rows in one product
    step, for every time of the block     q(h)·Rᵀ, then the cell      (a second product and cell where a step has two)

Rows and directions are independent: a *chain* is a group of rows of one direction. A chain's step may be split into
*parts*, which are ranges of units. (If a second product needs all of the first, a step has phases, and each is split.)
Then each thread keeps its columns of W and R, its gates and its cell state in its own L2 cache for the whole sequence.

    chain    phase 0   phase 1        phase 2
    part 0   input     product, cell  product, cell  …    h is read from one half of its buffer and written to the
    part 1   input     product, cell  product, cell  …    other, so threads meet once a phase

Which worker does a part is decided when the part is due. A worker claims a part by a compare-and-swap that moves the
part's word from this phase's number to the next. When the part is done, it is counted. Worker i claims part i at once;
any other only when that worker has not come into the call at all, or not claimed for GRACE pauses (it lost its core).
So the caller can finish alone, a late helper finds its place at the next phase, and a worker waits only for a part that
another one is doing.
"""

from __future__ import annotations

from ..base.atomics import compare_exchange, fetch_add, fetch_add_relaxed, give_way, load_acquire, pause, store_release
from ..base.context import LINE
from ..base.jit import kernel
from ..base.memory import call_worker, offset, stack_zeros
from ..base.record import bytes_of
from .context import Job, LayerDescriptor, SequenceContext
from .part import INPUT, move_input, move_to, multiply, multiply_step, prepare

#: The word of a context that counts.
DONE = SequenceContext.done
#: Pauses before a part is taken from a worker that is in the call but has not claimed it.
GRACE = 64
#: Pauses before a waiting worker lets others have its core.
PATIENCE = 2000


@kernel
def phases_of(context):
    """Phases of a whole sequence: one for every block of steps, and those of the steps."""
    times, most = context.times, context.block_steps
    return (times + most - 1) // most + times * LayerDescriptor(context.layer).phases


@kernel
def job_of(context, jobs, index, chain, part, which):
    """This worker's job for one product of a part."""
    job, key = Job(offset(jobs, bytes_of(Job) * which)), chain * context.splits + part
    if job.key != key:
        prepare(context, job, index, chain, part, which)
        job.key = key
    return job


@kernel
def do_part(context, jobs, index, chain, part, phase):
    """One part of a phase; whether there was enough memory."""
    phases, most = LayerDescriptor(context.layer).phases, context.block_steps
    block = phase // (1 + most * phases)
    left = phase - block * (1 + most * phases) - 1
    if left < 0:
        job = job_of(context, jobs, index, chain, part, INPUT)
        return job.blocks <= 0 or multiply(job, move_input(context, job, index, block))
    step, which = (left >> 1, left & 1) if phases == 2 else (left, 0)
    job = job_of(context, jobs, index, chain, part, which)
    if job.blocks <= 0:
        return True
    rows = move_to(context, job, block, block * most + step)
    if rows > 0 and not multiply_step(job, rows):
        return False
    call_worker(job.cell, job, rows)
    return True


@kernel
def claim(line, part, phase):
    """Claim that part of that phase; whether this worker now has it."""
    place = LINE * (1 + part)
    return load_acquire(line, place) == phase and compare_exchange(line, place, phase, phase + 1)


@kernel
def choose(context, line, chain, home, phase, waited):
    """The part of this phase that this worker does next, or -1."""
    if home >= 0 and claim(line, home, phase):
        return home
    splits, sync = context.splits, context.sync
    for part in range(splits):
        there = load_acquire(sync, LINE * (chain * splits + part)) != 0
        if (not there or waited > GRACE) and claim(line, part, phase):
            return part
    return -1


@kernel
def follow(context, jobs, index, chain, home):
    """Go with a chain to its end, doing part `home` (-1: none) and what no other worker does; returns how many."""
    splits, threads = context.splits, context.threads
    end = splits * phases_of(context)
    line = offset(context.sync, 8 * LINE * (threads + chain * (1 + splits)))
    done, waited, seen = 0, 0, 0
    while True:
        finished = load_acquire(line, 0)
        if finished >= end:
            return done
        if finished != seen:
            seen, waited = finished, 0
        phase = finished if splits == 1 else finished // splits
        part = choose(context, line, chain, home, phase, waited)
        if part >= 0:
            if not do_part(context, jobs, index, chain, part, phase):
                store_release(context.failed, 0, 1)
                return done
            done += 1
            fetch_add(line, 0, 1)
        else:
            if load_acquire(context.failed, 0) != 0:
                return done
            waited += 1
            if waited < PATIENCE:
                pause()
            else:
                give_way()


@kernel
def recurrent_worker(context, index):
    """Worker of a whole sequence; the context is that of context.py.

    There is a home for THREADS workers; who runs with fewer does the parts of the others as well.
    """
    context = SequenceContext(context)
    splits, threads = context.splits, context.threads
    chains = threads // splits
    store_release(context.sync, LINE * index, 1)
    jobs = stack_zeros(3 * bytes_of(Job))
    for which in range(3):
        Job(offset(jobs, bytes_of(Job) * which)).key = -1
    done = 0
    for i in range(chains):
        done += follow(context, jobs, index, (index // splits + i) % chains, index % splits if i == 0 else -1)
    fetch_add_relaxed(context, DONE, done)
