"""The package's threads: helpers that wait in compiled code, and calls that share their tasks with them.

A worker is a kernel `worker(context, index)` reached by address. Every call of the package is up to `threads`
workers that share out `tasks` tasks; the calling thread is worker 0, and helpers join it:

    caller  ──open the gate──▶ tasks … tasks ──close the gate, wait for those inside──▶
    helper     spin, or sleep ──▶ enter ──▶ tasks … tasks ──▶ leave ──▶ spin, then sleep

Nobody waits for a helper that has not begun: the caller can finish every task alone. It waits only for helpers inside,
each for the one task it is in. One call has the helpers at a time; another that comes meanwhile (from another Python
thread) goes alone, so nothing can deadlock. Helpers spin for SPIN_NS after their last task: in a loop of calls they
are there at once, and an idle process costs nothing.

A helper may lose its core to another program in the middle of a task, for as long as that one's time slice. A caller
that had to wait so long backs off: calls that choose their threads go alone for a while, which is longer the sooner it
happens again. So a machine that others keep busy costs the second core's help, and no more.

Helpers are threads of the system, made here: they need nothing of the interpreter, so neither lack of its memory, nor
its end, nor a signal's handler can meet one half started. `start`, `hold` and `release` are each one call of compiled
code, in which no handler of the calling thread runs: a handler finds the pool as they leave it.

The pool is some int64 words shared by all threads of the process (dynq_numba/runtime/threads.py owns
them). GATE holds four 16-bit fields, so that one compare-and-swap enters:

    ┌ unused ┬ limit: helpers wanted, 0 when closed ┬ taken: helpers that entered ┬ inside ┐

Within a call each worker goes through its own contiguous share of tasks first (so that the weights a core touched
last time are in its cache), then takes what is left of its neighbours' shares, one at a time.
"""

from __future__ import annotations

from ..base import context as at
from ..base.atomics import (
    compare_exchange,
    exchange,
    fetch_add,
    fetch_add_relaxed,
    fetch_and,
    futex_wait,
    futex_wake,
    give_way,
    join_thread,
    load_acquire,
    now,
    pause,
    start_thread,
    store_release,
)
from ..base.jit import kernel
from ..base.limits import MAX_THREADS
from ..base.memory import call_worker, load_int, load_ptr, store_int, store_ptr
from .partition import share

#: int64 words between two words that different threads write: a cache line.
LINE = 8
#: The pool's words: what helpers look at; who has the pool; how many sleep; what seldom changes: how many there are,
#: what threads=None means, when a short call last did without, until when calls go alone and how long that is, and
#: whether a caller sleeps until a helper leaves; the address of `serve`; who may start and end helpers; their names.
SIGNAL, GATE, JOB, STOP = range(4)
OWNER, SLEEPERS = LINE, 2 * LINE
HELPERS, SETTING, LAST, ALONE_UNTIL, ALONE_FOR, AWAITED = range(3 * LINE, 3 * LINE + 6)
LIFE, CHANGING, HELD = range(4 * LINE, 4 * LINE + 3)
NAMES = 5 * LINE
POOL_WORDS = NAMES + MAX_THREADS

_FIELD = 16
_INSIDE = (1 << _FIELD) - 1
_ENTER = (1 << _FIELD) + 1
_LIMIT = 2 * _FIELD

SPIN_NS = 200_000
#: Microseconds that waking a sleeping thread takes from the one that wakes it (8 were measured), with its delay.
WAKE_US = 20.0
#: Pauses between two looks at the clock, and before a waiting caller sleeps.
PAUSES = 64
PATIENCE = 2000
#: A wait for a helper that is longer than the caller's own part of the call, by this much, is no matter of the tasks.
STALL_NS = 200_000
#: How long calls go alone after a stall: the least, and the most after one stall soon after another.
ALONE_NS, MOST_ALONE_NS = 20_000_000, 2_000_000_000


@kernel
def run(context, threads, tasks):
    """Run the worker of `context` on up to `threads` threads. Whether there was memory for it.

    An error cannot leave a function that is called by address. What one worker could not start, for lack of memory,
    the others do; when tasks are left in the end, nobody had the memory.
    """
    worker, pool = load_ptr(context, at.WORKER), load_ptr(context, at.POOL)
    if threads == 1 or exchange(pool, OWNER, 1) != 0:
        call_worker(worker, context, 0)
    else:
        begin = now()
        store_ptr(pool, JOB, context)
        store_release(pool, GATE, (threads - 1) << _LIMIT)
        fetch_add(pool, SIGNAL, 1)
        missing = asleep(pool, threads - 1)
        if missing > 0:
            futex_wake(pool, SIGNAL, missing)
        call_worker(worker, context, 0)
        fetch_and(pool, GATE, _INSIDE)
        if load_acquire(pool, GATE) != 0:
            await_helpers(pool, begin)
        store_release(pool, OWNER, 0)
    return load_int(context, at.DONE) == tasks


@kernel
def await_helpers(pool, begin):
    """Return once no helper is inside; `begin` is when the call began.

    It sleeps rather than yield: a core without work takes over a thread that waits for another one, and what of its
    time slice is not spent on waiting is left for the work.
    """
    since, waited = now(), 0
    gate = load_acquire(pool, GATE)
    while gate != 0:
        waited += 1
        if waited < PATIENCE:
            pause()
        else:
            exchange(pool, AWAITED, 1)
            futex_wait(pool, GATE, gate)
        gate = load_acquire(pool, GATE)
    if waited >= PATIENCE:
        store_release(pool, AWAITED, 0)
        time = now()
        if time - since > since - begin + STALL_NS:
            back_off(pool, time)


@kernel
def back_off(pool, time):
    """Let calls go alone from `time` on: twice as long as the last time if that ended but so long ago."""
    last = load_int(pool, ALONE_FOR)
    soon = time - load_int(pool, ALONE_UNTIL) < last
    length = min(2 * last, MOST_ALONE_NS) if soon else ALONE_NS
    store_int(pool, ALONE_FOR, length)
    store_int(pool, ALONE_UNTIL, time + length)


@kernel
def asleep(pool, wanted):
    """How many sleeping helpers would have to wake for `wanted` to be there; not above 0 when enough are awake."""
    sleepers = load_acquire(pool, SLEEPERS)
    return min(sleepers, wanted - (load_int(pool, HELPERS) - sleepers))


@kernel
def worth_waking(pool, threads, micros):
    """Whether a call of `micros` microseconds should have its helpers, given that waking one costs as much as WAKE_US.

    A short call does without, unless the last one like it was a moment ago: a loop of short calls wakes them once.
    """
    if micros >= WAKE_US or asleep(pool, threads - 1) <= 0:
        return True
    time = now()
    last = load_int(pool, LAST)
    store_release(pool, LAST, time)
    return time - last < SPIN_NS


@kernel
def worthwhile(pool, threads, micros, least):
    """`threads`, or where that is 0 as many as have `least` of so many microseconds of work each.

    Never more than the setting then, and one where sleeping helpers are not worth waking, or other programs took their
    cores a while ago. `pool` may be 0 with threads.
    """
    if threads != 0:
        return threads
    wanted = int(micros / least)
    if wanted > 1:
        wanted = min(wanted, load_int(pool, SETTING))
    if wanted < 2 or (load_int(pool, ALONE_UNTIL) != 0 and now() < load_int(pool, ALONE_UNTIL)):
        return 1
    return wanted if worth_waking(pool, wanted, micros) else 1


@kernel
def enter(pool):
    """This helper's worker index if the gate lets it in, else 0."""
    gate = load_acquire(pool, GATE)
    while (gate >> _FIELD) & _INSIDE < gate >> _LIMIT:
        if compare_exchange(pool, GATE, gate, gate + _ENTER):
            return ((gate >> _FIELD) & _INSIDE) + 1
        gate = load_acquire(pool, GATE)
    return 0


@kernel
def await_signal(pool, seen, until):
    """Return once SIGNAL is no longer `seen`: spin until that time, then sleep. Gives until when to spin next."""
    while now() < until:
        for _ in range(PAUSES):
            if load_acquire(pool, SIGNAL) != seen:
                return until
            pause()
    while load_acquire(pool, SIGNAL) == seen:
        fetch_add(pool, SLEEPERS, 1)
        futex_wait(pool, SIGNAL, seen)
        fetch_add(pool, SLEEPERS, -1)
    return now() + SPIN_NS


@kernel
def serve(pool):
    """A helper's life: wait for a signal, join the call that gave it, until STOP."""
    until = now() + SPIN_NS
    while True:
        seen = load_acquire(pool, SIGNAL)
        if load_acquire(pool, STOP) != 0:
            return
        index = enter(pool)
        if index > 0:
            context = load_ptr(pool, JOB)
            call_worker(load_ptr(context, at.WORKER), context, index)
            fetch_add(pool, GATE, -1)
            if load_acquire(pool, AWAITED) != 0:
                futex_wake(pool, GATE, 1)
            until = now() + SPIN_NS
        until = await_signal(pool, seen, until)


@kernel
def start(words, wanted):
    """See that there are `wanted` helpers, if the system gives them: a call goes with what there is.

    Nothing is done while another thread changes them, or while they are held for a fork. `words` is the pool, as for
    `hold` and `release`.
    """
    pool = words.data
    if exchange(pool, CHANGING, 1) != 0:
        return
    count = load_int(pool, HELPERS)
    while count < wanted and start_thread(pool, NAMES + count, load_ptr(pool, LIFE), pool):
        count += 1
        store_int(pool, HELPERS, count)
    store_release(pool, CHANGING, 0)


@kernel
def hold(words):
    """Take the pool once the call that has it ends, and end the helpers, until `release`. The same thread may again."""
    pool = words.data
    if load_int(pool, HELD) == 0:
        while exchange(pool, CHANGING, 1) != 0:
            give_way()
        while exchange(pool, OWNER, 1) != 0:
            give_way()
        store_release(pool, STOP, 1)
        fetch_add(pool, SIGNAL, 1)
        futex_wake(pool, SIGNAL, MAX_THREADS)
        for helper in range(load_int(pool, HELPERS)):
            join_thread(pool, NAMES + helper)
        store_int(pool, HELPERS, 0)
    fetch_add(pool, HELD, 1)


@kernel
def release(words):
    """The end of what `hold` began: calls may have the pool again, and start helpers."""
    pool = words.data
    if fetch_add(pool, HELD, -1) == 1:
        store_int(pool, STOP, 0)
        store_release(pool, OWNER, 0)
        store_release(pool, CHANGING, 0)


@kernel
def next_task(counters, index, threads, tasks, victim):
    """The next task for worker `index` and whose share it came from, or (-1, threads) when all are taken.

    `victim` is the distance of the share that served last: start at 0, pass on what comes back.
    """
    while victim < threads:
        owner = (index + victim) % threads
        first, count = share(owner, threads, tasks)
        taken = fetch_add_relaxed(counters, owner * LINE, 1)
        if taken < count:
            return first + taken, victim
        victim += 1
    return -1, victim
