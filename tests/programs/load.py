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

import numba
import numpy as np

import dynq_numba as dq


def calls() -> dict:
    """Operators with shared weights, and what they give on one thread."""
    rng = np.random.default_rng(0)

    def normal(*shape: int) -> np.ndarray:
        return rng.standard_normal(shape, np.float32)

    x, one, y = normal(64, 300), normal(1, 300), normal(64, 400)
    ws = [dq.pack_linear(normal(400, 300), normal(400)) for _ in range(3)]
    four = dq.pack_linear(normal(400, 300), bits=4, granularity="per_group", group_size=32)
    lstm, steps = dq.pack_lstm(normal(2, 4 * 48, 40), normal(2, 4 * 48, 48), layout="onnx"), normal(12, 3, 40)
    q, k = normal(2, 4, 70, 32), normal(2, 2, 90, 32)
    conv, image = dq.pack_conv(normal(20, 6, 3, 3), padding=1), normal(2, 6, 20, 20)
    table, ids = dq.pack_embedding(normal(50, 64)), rng.integers(0, 50, (30, 40))
    return {
        "linear": lambda **o: dq.linear(x, ws[0], **o),
        "linear, one row": lambda **o: dq.linear(one, ws[1], activation="gelu", **o),
        "linear, residual": lambda **o: dq.linear(x, ws[2], residual=y, **o),
        "linear, 4 bits": lambda **o: dq.linear(x, four, **o),
        "linear_many": lambda **o: np.concatenate(dq.linear_many(x, ws, **o)),
        "lstm": lambda **o: dq.lstm(steps, lstm, **o)[0],
        "attention": lambda **o: dq.attention(q, k, k, **o),
        "conv": lambda **o: dq.conv(image, conv, **o),
        "embedding_bag": lambda **o: dq.embedding_bag(ids, None, table, **o),
        "layer_norm": lambda **o: dq.layer_norm(x, residual=x, **o),
        "matmul": lambda **o: dq.quantized_matmul(x, y.T[:300], **o),
    }


def main() -> int:
    seconds = float(sys.argv[1]) if len(sys.argv) > 1 else 60.0
    count = int(sys.argv[2]) if len(sys.argv) > 2 else 32
    operators = calls()
    expected = {name: call(threads=1).tobytes() for name, call in operators.items()}
    done, wrong, end = Counter(), [], time.monotonic() + seconds

    def work(seed: int) -> None:
        chooser = random.Random(seed)
        while time.monotonic() < end and not wrong:
            name = chooser.choice(list(operators))
            options = chooser.choice(({}, {}, {"threads": 1}, {"threads": 2}, {"threads": 5}))
            try:
                if operators[name](**options).tobytes() != expected[name]:
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
