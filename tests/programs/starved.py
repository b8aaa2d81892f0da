"""What every operator does when memory runs out, at any moment: MemoryError, nothing kept, and right again later.

    python tests/programs/starved.py [NAME …]        (default: all)

Each call runs under limits of the address space: from none to spare up to what it needs, and in steps of 64 KB below
that, without scratch memory of earlier calls. Prints JSON: for each name how often it failed with which error, bytes by
which the process has grown over it, whether results are as before, and slots of scratch that nobody gave back. Run with
glibc's MALLOC_TRIM_THRESHOLD_=0 MALLOC_MMAP_THRESHOLD_=65536 MALLOC_ARENA_MAX=1 and PYTHONMALLOC=malloc: freed memory
then goes back at once.
"""

from __future__ import annotations

import ctypes
import gc
import json
import resource
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import cases
import numpy as np
from cases import files
from cases.base import bits

from dynq_numba.kernels.threads.scratch import Kept
from dynq_numba.runtime import scratch

free = ctypes.CDLL(None).free
free.argtypes = [ctypes.c_void_p]
#: Bytes above what the process has, until a call succeeds; and by which limits differ below that.
SPARE = [0, *(int(2 ** (14 + i / 2)) for i in range(40))]
STEP, STEPS = 1 << 16, 20


def size() -> int:
    return int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()


def empty() -> None:
    """Free the scratch memory that is kept for later calls."""
    for slot in scratch._ROOM:
        if slot[Kept.taken] == 0 and slot[Kept.block]:
            free(int(slot[Kept.block]))
            slot[:] = 0


def attempt(call: Callable, limit: int) -> str:
    """What a call raises under a limit; "" for nothing."""
    empty()
    resource.setrlimit(resource.RLIMIT_AS, (limit, resource.RLIM_INFINITY))
    try:
        call()
        return ""
    except Exception as error:
        return type(error).__name__
    finally:
        resource.setrlimit(resource.RLIMIT_AS, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
        gc.collect()


def starve(call: Callable) -> Iterator[str]:
    """What it raises under the limits."""
    base, below = size(), 0
    for spare in SPARE:
        error = attempt(call, base + spare)
        yield error
        if not error:
            break
        below = spare
    enough = spare
    while enough - below > STEP:
        middle = (below + enough) // 2
        error = attempt(call, base + middle)
        yield error
        below, enough = (middle, enough) if error else (below, middle)
    for spare in range(below - STEPS * STEP, below, STEP):
        yield attempt(call, base + max(0, spare))


def main(names: list[str]) -> None:
    report = {}
    for call in (*cases.calls("large"), *files.calls("large")):
        if names and call.name not in names:
            continue
        assert call.name not in report
        run = partial(call.run, **call.arrays)
        before = bits(run())
        gc.collect()
        empty()
        base = size()
        errors = Counter(filter(None, starve(run)))
        empty()
        grown, busy = size() - base, int(np.count_nonzero(scratch._ROOM[:, Kept.taken]))
        report[call.name] = {"errors": errors, "grown": grown, "same": bits(run()) == before, "busy": busy}
        print(call.name, report[call.name], file=sys.stderr, flush=True)
    print(json.dumps(report))


if __name__ == "__main__":
    main(sys.argv[1:])
