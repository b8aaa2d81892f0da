"""Many Python threads on shared weights: every result has the bits of the serial one.

    python tests/programs/load.py [SECONDS [THREADS]]        (default: 60 s, 32 threads)

Prints how many calls were made, and ends with status 1 when one was wrong or failed. Whatever layer numba has been told
to use (NUMBA_THREADING_LAYER) is none of ours: it is never started.
"""

from __future__ import annotations

import contextlib
import random
import sys
import threading
import time
from collections import Counter
from functools import partial

import cases
import numba
from cases.base import bits


def main() -> int:
    seconds = float(sys.argv[1]) if len(sys.argv) > 1 else 60.0
    count = int(sys.argv[2]) if len(sys.argv) > 2 else 32
    shared = [call for call in cases.calls("middle") if "threads" in call.takes]
    operators = {call.name: partial(call.run, **call.arrays) for call in shared}
    expected = {name: bits(call(threads=1)) for name, call in operators.items()}
    done, wrong, end = Counter(), [], time.monotonic() + seconds

    def work(seed: int) -> None:
        chooser = random.Random(seed)
        while time.monotonic() < end and not wrong:
            name = chooser.choice(list(operators))
            options = chooser.choice(({}, {}, {"threads": 1}, {"threads": 2}, {"threads": 5}))
            try:
                if bits(operators[name](**options)) != expected[name]:
                    wrong.append(f"{name} {options}: other bits")
            except BaseException as error:
                wrong.append(f"{name} {options}: {error!r}")
            done[name, threading.get_ident()] += 1

    workers = [threading.Thread(target=work, args=(seed,)) for seed in range(count)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    with contextlib.suppress(ValueError):  # not initialised
        wrong.append(f"numba's own threads were started: {numba.threading_layer()}")
    print(f"{done.total():,} calls from {count} threads in {seconds:g} s", *wrong, sep="\n  ")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
