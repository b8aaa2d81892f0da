"""The process's helper threads (see kernels/threads/pool.py): how many, when they start and end, and what a fork does.

Helpers start with the first call that is worth several threads. They are daemons without the GIL, in compiled code all
their life. Before a fork they are stopped, after the call that has them, and the pool is held until after it: no child
inherits one half-way through a call. Parent and child start their own helpers again when they need them. numba's lock
is held likewise, or a child forked while another thread compiles would wait for that thread, which it has not, at the
first thing that it compiles or loads.
"""

from __future__ import annotations

import atexit
import math
import os
import threading
from typing import Any

import numpy as np
from numba.core import config
from numba.core.compiler_lock import global_compiler_lock

from ..arguments import checks
from ..kernels.base.atomics import LINUX
from ..kernels.base.jit import JIT_ENABLED, entry
from ..kernels.threads import pool as parallel
from . import quota
from .signatures import WORD, WORDS

_ROOM = np.zeros(parallel.POOL_WORDS + parallel.LINE, np.int64)
_SKIP = -_ROOM.ctypes.data % 64 // 8
_WORDS = _ROOM[_SKIP : _SKIP + parallel.POOL_WORDS]
#: Address of the pool.
POOL = _WORDS.ctypes.data

_helpers: list[threading.Thread] = []
_changing = threading.Lock()
#: Whether there have ever been helpers: until then nobody can have the pool.
_used = False


def default_threads() -> int:
    """DYNQ_NUM_THREADS, else the cores this process may run on: affinity, control groups, NUMBA_NUM_THREADS."""
    wanted = os.environ.get("DYNQ_NUM_THREADS")
    if wanted:
        number: Any = int(wanted) if wanted.isascii() and wanted.isdigit() else wanted
        return checks.thread_count("DYNQ_NUM_THREADS", number)
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    cores = min(cores, math.ceil(min(quota.cores(), cores)), config.NUMBA_NUM_THREADS)
    return int(min(max(1, cores), checks.MAX_THREADS))


def get_num_threads() -> int:
    """Threads that a call may use by default.

    Returns
    -------
    int
        What `set_num_threads` was told last; at the start DYNQ_NUM_THREADS, else the cores that this process may use.

    Examples
    --------
    >>> get_num_threads() >= 1
    True
    """
    return int(_WORDS[parallel.SETTING])


def set_num_threads(threads: int) -> None:
    """Set how many threads a call may use by default, in the whole process; `threads=` of a call is above it.

    At the start it is DYNQ_NUM_THREADS, else the cores that this process may use. numba's own setting is separate.

    Parameters
    ----------
    threads : int
        From 1 to 1024.

    Raises
    ------
    TypeError, ValueError
        When it is not such an integer.

    Examples
    --------
    >>> before = get_num_threads()
    >>> set_num_threads(1)
    >>> get_num_threads()
    1
    >>> set_num_threads(before)
    """
    _WORDS[parallel.SETTING] = checks.thread_count("threads", threads)


def ready(threads: int = 0) -> None:
    """See that a call on `threads` threads (0: the default) finds its helpers."""
    if len(_helpers) + 1 < (threads or get_num_threads()):
        _start((threads or get_num_threads()) - 1)


def _start(count: int) -> None:
    global _used
    if not (JIT_ENABLED and LINUX):
        return
    serve = entry(parallel.serve, (WORDS,))
    with _changing:
        _used = True
        while len(_helpers) < count:
            helper = threading.Thread(target=serve, args=(_WORDS,), name=f"dynq-{len(_helpers) + 1}", daemon=True)
            try:
                helper.start()
            except RuntimeError:  # no memory for its stack, or too many threads: callers go with what there is
                break
            _helpers.append(helper)
            _WORDS[parallel.HELPERS] = len(_helpers)


def _hold() -> None:
    """Take the pool, after the call that has it, and end the helpers. Calls that come meanwhile go alone."""
    global_compiler_lock.acquire()
    _changing.acquire()
    if _used:
        entry(parallel.dismiss, (WORDS, WORD))(_WORDS, len(_helpers))
        for helper in _helpers:
            helper.join()
        _helpers.clear()


def _release() -> None:
    if _used:  # last of all the owner's word: from then on calls may open the gate again
        _WORDS[[parallel.HELPERS, parallel.SLEEPERS, parallel.STOP, parallel.GATE]] = 0
        _WORDS[parallel.OWNER] = 0
    _changing.release()
    global_compiler_lock.release()


def stop() -> None:
    """End the helpers; a later call that is worth it starts them again."""
    _hold()
    _release()


_WORDS[parallel.SETTING] = default_threads()
atexit.register(stop)
if hasattr(os, "register_at_fork"):
    os.register_at_fork(before=_hold, after_in_parent=_release, after_in_child=_release)
