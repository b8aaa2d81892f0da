"""Millions of calls: resident memory stays where it is.

    python tests/programs/soak.py [SHARE]        of 10 million small calls and 10,000 middle ones (default 1)

Ends with status 1 where memory has grown by more than 5 MB after the first tenth.
"""

from __future__ import annotations

import gc
import resource
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import cases
import numpy as np
from cases import files

LIMIT = 5 << 20
SMALL, LARGE = 10_000_000, 10_000


def resident() -> int:
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * resource.getpagesize()


def calls() -> list[tuple[str, int, Callable[[], object]]]:
    """(name, how often, call): those that take `out` an eighth as often with one, too."""
    found = []
    for size, total, usual in (("small", SMALL, 2000), ("middle", LARGE, 100)):
        shares = {}
        for call in (*cases.calls(size), *files.calls(size)):
            run, share = partial(call.run, **call.arrays), call.share or usual
            shares[f"{call.name}, {size}"] = share, run
            if "out" in call.takes:
                shares[f"{call.name}, {size}, into out"] = share / 8, partial(run, out=np.empty_like(run()))
        unit = total / sum(share for share, _ in shares.values())
        found += [(name, int(unit * share), run) for name, (share, run) in shares.items()]
    return found


def main() -> int:
    share, grown, counts = float(sys.argv[1]) if len(sys.argv) > 1 else 1.0, 0, {True: 0, False: 0}
    rows = calls()
    for _, _, call in rows:  # threads started, kernels loaded, allocator and caches in their final state
        for _ in range(20):
            call()
    gc.collect()
    gc.freeze()  # so that the next ones look at what is new only
    for name, often, call in rows:
        count, begin = max(10, int(often * share)), time.perf_counter()
        for _ in range(count // 10):
            call()
        gc.collect()
        before = resident()
        for _ in range(count - count // 10):
            call()
        gc.collect()
        grown += (more := resident() - before)
        counts["middle" in name] += count
        print(f"{name:36} {count:9,} calls {time.perf_counter() - begin:6.1f} s {more / 2**20:+6.2f} MB", flush=True)
    print(f"{counts[False]:,} small calls and {counts[True]:,} middle ones: {grown / 2**20:+.2f} MB")
    return 1 if grown > LIMIT else 0


if __name__ == "__main__":
    sys.exit(main())
