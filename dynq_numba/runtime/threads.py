"""The process's helper threads (see kernels/threads/pool.py): how many, when they start and end, and what a fork does.

Helpers start with the first call that is worth several threads. A fork waits for the call that has them, stops them,
and holds the pool until the fork is done. So no child inherits a pool in the middle of a call. Parent and child start
their own helpers again when they need them. numba's lock is held in the same way. Otherwise a child that is forked
while another thread compiles would wait for that thread, which does not exist in the child. A signal handler may fork
at any moment, so the same thread may hold these things twice.

At the interpreter's end helpers are stopped for good. Calls from destructors after that use one thread.
"""

from __future__ import annotations

import atexit
import math
import os
import sys
from collections.abc import Callable

import numpy as np
from numba import types
from numba.core import config
from numba.core.compiler_lock import global_compiler_lock

from ..arguments import checks
from ..kernels.base.atomics import LINUX
from ..kernels.base.jit import JIT_ENABLED, address, entry
from ..kernels.base.limits import MAX_THREADS
from ..kernels.objects.view import ADDRESS
from ..kernels.threads import pool as parallel
from ..kernels.threads.pool import Pool
from . import quota
from .memory import aligned_zeros
from .signatures import WORD

_WORDS = aligned_zeros(8 * parallel.POOL_WORDS).view(np.int64)
#: Address of the pool.
POOL = _WORDS.ctypes.data
#: The same words, read faster.
_SEEN = _WORDS.data

#: What starts, holds and releases helpers. None until the first are started: before that no call can have the pool.
_changes: tuple[Callable, Callable, Callable] | None = None
#: Whether helpers may be started.
_open = JIT_ENABLED and LINUX


def default_threads() -> int:
    """DYNQ_NUM_THREADS, else the cores this process may run on: affinity, control groups, NUMBA_NUM_THREADS."""
    wanted = os.environ.get("DYNQ_NUM_THREADS")
    if wanted:
        if wanted.isascii() and wanted.isdigit() and 1 <= int(wanted) <= MAX_THREADS:
            return int(wanted)
        # Not an exception: it would come at import, with a traceback that does not mention the environment.
        allowed = f"an integer from 1 to {MAX_THREADS}"
        print(f"dynq_numba: DYNQ_NUM_THREADS must be {allowed}; got {wanted!r}, which is ignored", file=sys.stderr)
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    cores = min(cores, math.ceil(min(quota.cores(), cores)), config.NUMBA_NUM_THREADS)
    return int(min(max(1, cores), MAX_THREADS))


def get_num_threads() -> int:
    """Threads that a call may use by default.

    Returns
    -------
    int
        The last value given to `set_num_threads`. At the start DYNQ_NUM_THREADS, else the cores that this process may
        use.

    Examples
    --------
    >>> get_num_threads() >= 1
    True
    """
    return _SEEN[Pool.setting]


def set_num_threads(threads: int) -> None:
    """Set how many threads a call may use by default, in the whole process. `threads=` of a call takes precedence.

    At the start it is DYNQ_NUM_THREADS, else the cores that this process may use. numba's own setting is separate.

    Parameters
    ----------
    threads : int
        From 1 to 1024.

    Raises
    ------
    TypeError, ValueError
        If it is not such an integer.

    Examples
    --------
    >>> before = get_num_threads()
    >>> set_num_threads(1)
    >>> get_num_threads()
    1
    >>> set_num_threads(before)
    """
    _WORDS[Pool.setting] = checks.thread_count("threads", threads)


def helpers() -> int:
    """How many there are."""
    return _SEEN[Pool.helpers]


def ready(threads: int = 0) -> None:
    """See that a call on `threads` threads (0: the default) finds its helpers."""
    if _SEEN[Pool.helpers] + 1 < (threads or _SEEN[Pool.setting]) and _open:
        _start((threads or _SEEN[Pool.setting]) - 1)


def _start(count: int) -> None:
    global _changes
    if _changes is None:
        # All are compiled before one is used: handlers that fork meanwhile have nothing to compile themselves.
        _WORDS[Pool.serve] = address(parallel.serve, (types.voidptr,))
        _WORDS[Pool.await_helpers] = address(parallel.await_helpers, (types.voidptr, types.int64))
        hold, release = entry(parallel.hold, (ADDRESS,)), entry(parallel.release, (ADDRESS,))
        _changes = entry(parallel.start, (ADDRESS, WORD)), hold, release
    _changes[0](_WORDS, count)


def _hold() -> None:
    """Take the pool, after the call that has it, and end the helpers. Calls that come meanwhile go alone."""
    global_compiler_lock.acquire()
    if _changes is not None:
        _changes[1](_WORDS)


def _release() -> None:
    if _changes is not None and _SEEN[Pool.held]:
        _changes[2](_WORDS)
    global_compiler_lock.release()


def stop() -> None:
    """End the helpers; a later call that is worth it starts them again."""
    _hold()
    _release()


def _close() -> None:
    global _open
    _open = False
    stop()


_WORDS[Pool.setting] = default_threads()
atexit.register(_close)
if hasattr(os, "register_at_fork"):
    os.register_at_fork(before=_hold, after_in_parent=_release, after_in_child=_release)
