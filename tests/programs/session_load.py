"""Many threads on one session: every result is the serial one, and memory stays where it is.

    python tests/programs/session_load.py [SECONDS] [THREADS]        (default 30 seconds, 8 threads)

Ends with status 1 where a result was another, or where memory has grown by more than 20 MB.
"""

from __future__ import annotations

import resource
import sys
import threading
import time
from pathlib import Path

import numpy as np
import onnx_ir as ir

sys.path.insert(0, str(Path(__file__).parents[1] / "support"))
from onnx_models import parsed

from dynq_numba.onnx import InferenceSession, quantize

LIMIT = 20 << 20
BODY = """
    a = MatMul (x, up)  b = Gelu (a)  c = MatMul (b, down)  d = Add (c, x)
    y = LayerNormalization (d, scale, shift)
"""


def resident() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize()


def floats(*shape: int, seed: int) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


def main(seconds: float, threads: int) -> int:
    weights = {
        "up": floats(64, 256, seed=0),
        "down": floats(256, 64, seed=1),
        "scale": floats(64, seed=2),
        "shift": floats(64, seed=3),
    }
    source = parsed("float[n, t, 64] x", "float[n, t, 64] y", BODY, **weights)
    session = InferenceSession(ir.to_proto(quantize(source).model))
    inputs = [floats(1 + i % 4, 1 + 3 * i, 64, seed=i) for i in range(16)]
    expected = [session.run(None, {"x": x})[0] for x in inputs]
    runs, wrong, end = [0] * threads, [0] * threads, time.monotonic() + seconds

    def work(number: int) -> None:
        while time.monotonic() < end:
            for x, y in zip(inputs, expected, strict=True):
                wrong[number] += session.run(None, {"x": x})[0].tobytes() != y.tobytes()
            runs[number] += len(inputs)

    before = resident()
    workers = [threading.Thread(target=work, args=(i,)) for i in range(threads)]
    for each in workers:
        each.start()
    for each in workers:
        each.join()
    grown = resident() - before
    print(f"{sum(runs)} runs by {threads} threads, {sum(wrong)} wrong, {grown / 2**20:+.1f} MB")
    return int(sum(wrong) > 0 or grown > LIMIT or sum(runs) == 0)


if __name__ == "__main__":
    given = sys.argv[1:]
    sys.exit(main(float(given[0]) if given else 30, int(given[1]) if len(given) > 1 else 8))
