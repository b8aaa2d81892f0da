"""The package's threads: helpers that wait in compiled code, and calls that share their tasks with them.

A worker is a kernel `worker(context, index)` reached by address. Every call of the package is up to `threads`
workers that share out `tasks` tasks; the calling thread is worker 0, and helpers join it:

    caller  ──open the gate──▶ tasks … tasks ──close the gate, wait for those inside──▶
    helper     spin, or sleep ──▶ enter ──▶ tasks … tasks ──▶ leave ──▶ spin, then sleep

Nobody waits for a helper that has not begun: the caller can finish every task alone. It waits only for helpers inside,
each for the one task it is in. One call has the helpers at a time; another that comes meanwhile (from another Python
thread) goes alone, so nothing can deadlock. Helpers spin for SPIN_NS after their last task: in a loop of calls they
are there at once, and an idle process costs nothing.

Other programs, and other libraries' idle threads that spin, want the cores too. Two rules keep them from costing more
than the time that they take:

* A helper may lose its core in the middle of a task, for as long as another's time slice: some milliseconds. A caller
  that has waited for PATIENCE_NS looks whether the helper runs at all, by its clock of CPU time. If it does not, the
  caller brings it to its own core and sleeps, so that it goes on there at once.
* The system may well put a helper on the caller's core, where it only takes the caller's time. So a caller says where
  it runs, and a helper that finds itself there leaves for another core.

Helpers are threads of the system, made here: they need nothing of the interpreter, so neither lack of its memory, nor
its end, nor a signal's handler can meet one half started. `start`, `hold` and `release` are each one call of compiled
code, in which no handler of the calling thread runs: a handler finds the pool as they leave it.

The process has one pool, a record (dynq_numba/runtime/threads.py owns it). Its gate holds four 16-bit fields, so that
one compare-and-swap enters:

    ┌ unused ┬ limit: helpers wanted, 0 when closed ┬ taken: helpers that entered ┬ inside ┐

Within a call each worker goes through its own contiguous share of tasks first (so that the weights a core touched
last time are in its cache), then takes what is left of its neighbours' shares, one at a time.
"""

from __future__ import annotations

from ..base.atomics import (
    compare_exchange,
    exchange,
    fetch_add,
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
from ..base.context import LINE, Context
from ..base.cores import core, leave, move, thread_id, thread_time
from ..base.jit import kernel
from ..base.limits import MAX_THREADS
from ..base.memory import call_worker, load_int, store_int
from ..base.record import Line, Pointer, Record, Slot


class Pool(Record):
    """What the threads share. Words that different threads write often have a cache line each."""

    signal: Slot  # how many calls have opened the gate; helpers sleep on it
    gate: Slot  # above
    job: Pointer  # the context of the call
    stop: Slot  # 1: helpers end
    core: int  # where the caller runs
    owner: Line  # 1 while a call, or `hold`, has the helpers
    sleepers: Line  # how many helpers sleep
    last: Line  # when a short call last did without helpers, in nanoseconds
    awaited: Slot  # 1 while the caller sleeps until a helper leaves
    moving: Slot  # 1 while a helper is brought to another core
    helpers: int  # how many there are
    setting: int  # threads of a call that does not say
    changing: Line  # 1 while helpers are started or ended
    held: Slot  # how many `hold` have no `release` yet
    serve: Pointer  # the addresses of these functions
    await_helpers: Pointer
    names: Line  # of the helpers, for `join_thread`: MAX_THREADS words


#: Behind the names each worker has a cache line: the system's number of the helper that is inside as this worker, or 0.
INSIDE = Pool.names + MAX_THREADS
POOL_WORDS = INSIDE + LINE * MAX_THREADS

_FIELD = 16
_COUNT = (1 << _FIELD) - 1
_ENTER = (1 << _FIELD) + 1
_LIMIT = 2 * _FIELD

SPIN_NS = 200_000
#: Microseconds that waking a sleeping thread takes from the one that wakes it (8 were measured), with its delay.
WAKE_US = 20.0
#: Pauses between two looks at the clock.
PAUSES = 64
#: How long a caller waits for helpers before it looks whether they run, and until it looks again.
PATIENCE_NS = 100_000


@kernel
def run(context, threads):
    """Run the worker of a `Context` on up to `threads` threads. Whether there was enough memory.

    An error cannot leave a function that is called by address. What one worker could not start, for lack of memory,
    the others do; if tasks are left at the end, no worker had enough memory.
    """
    worker, pool = context.worker, Pool(context.pool)
    if threads == 1 or exchange(pool.owner, 0, 1) != 0:
        call_worker(worker, context, 0)
    else:
        pool.core = core()
        pool.job = context
        store_release(pool.gate, 0, (threads - 1) << _LIMIT)
        fetch_add(pool.signal, 0, 1)
        missing = asleep(pool, threads - 1)
        if missing > 0:
            futex_wake(pool.signal, 0, missing)
        call_worker(worker, context, 0)
        taken = fetch_and(pool.gate, 0, _COUNT) >> _FIELD & _COUNT
        if load_acquire(pool.gate, 0) != 0:
            call_worker(pool.await_helpers, pool, taken)
        store_release(pool.owner, 0, 0)
    return context.done == context.tasks


@kernel
def await_helpers(pool, taken):
    """Return once no helper is inside; `taken` have entered.

    One that has no core gets the caller's, which sleeps meanwhile.
    """
    pool = Pool(pool)
    due = now() + PATIENCE_NS
    while load_acquire(pool.gate, 0) != 0:
        pause()
        if now() < due:
            continue
        thread = stalled(pool, taken)
        if thread != 0:
            exchange(pool.awaited, 0, 1)
            bring(pool, thread)
            gate = load_acquire(pool.gate, 0)
            if gate != 0:
                futex_wait(pool.gate, 0, gate)
            store_release(pool.awaited, 0, 0)
        due = now() + PATIENCE_NS


@kernel
def bring(pool, thread):
    """Bring a helper to this core. One is moved at a time: what the other read of its cores would be half a move."""
    if exchange(pool.moving, 0, 1) == 0:
        move(thread, core())
        store_release(pool.moving, 0, 0)


@kernel
def stalled(pool, taken):
    """The number of a helper that is inside and does not run; 0 when all do."""
    pool = Pool(pool)
    for index in range(1, taken + 1):
        place = INSIDE + LINE * index
        thread = load_acquire(pool, place)
        if thread != 0:
            ran, time = thread_time(thread), now()
            for _ in range(PAUSES):
                pause()
            ran, time = thread_time(thread) - ran, now() - time
            if 4 * ran < time and load_acquire(pool, place) == thread:
                return thread
    return 0


@kernel
def asleep(pool, wanted):
    """How many sleeping helpers would have to wake for `wanted` to be there; not above 0 when enough are awake."""
    sleepers = load_acquire(pool.sleepers, 0)
    return min(sleepers, wanted - (pool.helpers - sleepers))


@kernel
def worth_waking(pool, threads, micros):
    """Whether a call of `micros` microseconds should have its helpers, given that waking one costs as much as WAKE_US.

    A short call does without, unless the last one like it was a moment ago: a loop of short calls wakes them once.
    """
    if micros >= WAKE_US or asleep(pool, threads - 1) <= 0:
        return True
    time = now()
    last = load_int(pool.last, 0)
    store_release(pool.last, 0, time)
    return time - last < SPIN_NS


@kernel
def worthwhile(pool, threads, micros, least):
    """How many threads a call of `micros` microseconds uses: `threads`, or as many as have `least` of work each.

    threads > 0    so many
    threads = 0    at most the setting
    threads < 0    at most -threads: a step of a program, whose steps differ in length

    One where sleeping helpers are not worth waking. `pool` may be 0 with threads above 0, or -1.
    """
    if threads > 0:
        return threads
    pool = Pool(pool)
    wanted = int(micros / least)
    if wanted > 1 and threads != -1:
        wanted = min(wanted, -threads if threads < 0 else pool.setting)
        return wanted if wanted > 1 and worth_waking(pool, wanted, micros) else 1
    return 1


@kernel
def enter(pool):
    """This helper's worker index if the gate lets it in, else 0."""
    gate = load_acquire(pool.gate, 0)
    while (gate >> _FIELD) & _COUNT < gate >> _LIMIT:
        if compare_exchange(pool.gate, 0, gate, gate + _ENTER):
            return ((gate >> _FIELD) & _COUNT) + 1
        gate = load_acquire(pool.gate, 0)
    return 0


@kernel
def apart(pool):
    """See that this helper is on another core than the caller; False where it may run on no other."""
    pool = Pool(pool)
    caller = pool.core
    if core() != caller or caller < 0 or exchange(pool.moving, 0, 1) != 0:
        return True
    left = leave(caller)
    store_release(pool.moving, 0, 0)
    return left


@kernel
def await_signal(pool, seen, until):
    """Return once the signal is no longer `seen`: spin until that time, then sleep. Returns until when to spin next."""
    while now() < until and apart(pool):
        for _ in range(PAUSES):
            if load_acquire(pool.signal, 0) != seen:
                return until
            pause()
    while load_acquire(pool.signal, 0) == seen:
        fetch_add(pool.sleepers, 0, 1)
        futex_wait(pool.signal, 0, seen)
        fetch_add(pool.sleepers, 0, -1)
    return now() + SPIN_NS


@kernel
def serve(pool):
    """A helper's life: wait for a signal, join the call that gave it, until it is stopped."""
    pool = Pool(pool)
    thread, until = thread_id(), now() + SPIN_NS
    while True:
        seen = load_acquire(pool.signal, 0)
        if load_acquire(pool.stop, 0) != 0:
            return
        apart(pool)
        index = enter(pool)
        if index > 0:
            store_release(pool, INSIDE + LINE * index, thread)
            context = Context(pool.job)
            call_worker(context.worker, context, index)
            store_release(pool, INSIDE + LINE * index, 0)
            fetch_add(pool.gate, 0, -1)
            if load_acquire(pool.awaited, 0) != 0:
                futex_wake(pool.gate, 0, 1)
            until = now() + SPIN_NS
        until = await_signal(pool, seen, until)


@kernel
def start(words, wanted):
    """See that there are `wanted` helpers, if the system gives them: a call goes with what there is.

    Nothing is done while another thread changes them, or while they are held for a fork. `words` is the pool, as for
    `hold` and `release`.
    """
    pool = Pool(words.data)
    if exchange(pool.changing, 0, 1) != 0:
        return
    pool.core = core()
    count = pool.helpers
    while count < wanted and start_thread(pool.names, count, pool.serve, pool):
        count += 1
        pool.helpers = count
    store_release(pool.changing, 0, 0)


@kernel
def hold(words):
    """Take the pool once the call that has it ends, and end the helpers, until `release`. The same thread may again."""
    pool = Pool(words.data)
    if load_int(pool.held, 0) == 0:
        while exchange(pool.changing, 0, 1) != 0:
            give_way()
        while exchange(pool.owner, 0, 1) != 0:
            give_way()
        store_release(pool.stop, 0, 1)
        fetch_add(pool.signal, 0, 1)
        futex_wake(pool.signal, 0, MAX_THREADS)
        for helper in range(pool.helpers):
            join_thread(pool.names, helper)
        pool.helpers = 0
    fetch_add(pool.held, 0, 1)


@kernel
def release(words):
    """The end of what `hold` began: calls may have the pool again, and start helpers."""
    pool = Pool(words.data)
    if fetch_add(pool.held, 0, -1) == 1:
        store_int(pool.stop, 0, 0)
        store_release(pool.owner, 0, 0)
        store_release(pool.changing, 0, 0)
