"""Millions of calls: resident memory stays where it is.

    python tests/programs/soak.py [SHARE]        of 10 million small calls and 10,000 large ones (default 1)

Ends with status 1 where memory has grown by more than 5 MB after the first tenth.
"""

from __future__ import annotations

import gc
import resource
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

import dynq_numba as dq

LIMIT = 5 << 20
SMALL, LARGE = 10_000_000, 10_000


def resident() -> int:
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * resource.getpagesize()


def calls() -> list[tuple[str, int, Callable[[], object]]]:
    """(name, how often, call)"""
    rng = np.random.default_rng(0)

    def normal(*shape: int) -> np.ndarray:
        return rng.standard_normal(shape, np.float32)

    small, large = dq.pack_linear(normal(16, 32)), dq.pack_linear(normal(768, 768), normal(768))
    x, rows, ids = normal(2, 32), normal(128, 768), np.arange(40)
    table, lstm = dq.pack_embedding(normal(1000, 64)), dq.pack_lstm(normal(1, 64, 32), normal(1, 64, 16), layout="onnx")
    q, bytes_of_x = normal(1, 12, 128, 32), dq.quantize(x)
    conv, image = dq.pack_conv(normal(16, 8, 3, 3), padding=1), normal(1, 8, 40, 40)
    chain = dq.Chain({"up": dq.step.Linear(small, activation="gelu"), "y": dq.step.LayerNorm(normal(16))})
    folder = tempfile.TemporaryDirectory()
    path = str(Path(folder.name) / "model")

    def save_and_load(_: object = folder) -> object:  # which keeps the folder
        dq.save(path, {"w": large})
        return dq.load(path)

    out = np.empty((2, 16), np.float32)
    return [
        ("linear, small", SMALL * 7 // 10, lambda: dq.linear(x, small)),
        ("linear, small, into out", SMALL // 10, lambda: dq.linear(x, small, out=out)),
        ("linear, small, residual", SMALL // 100, lambda: dq.linear(x, small, residual=out)),
        ("chain, small", SMALL // 100, lambda: chain(x)),
        ("linear_many, small", SMALL * 3 // 100, lambda: dq.linear_many(x, [small, small])),
        ("layer_norm, small", SMALL // 20, lambda: dq.layer_norm(x)),
        ("softmax, small", SMALL // 20, lambda: dq.softmax(x)),
        ("quantize, small", SMALL // 50, lambda: dq.quantize(x)),
        ("dequantize, small", SMALL // 100, lambda: dq.dequantize(bytes_of_x)),
        ("embedding, small", SMALL // 100, lambda: dq.embedding(ids, table)),
        ("embedding_bag, small", SMALL // 200, lambda: dq.embedding_bag(ids[None], None, table)),
        ("conv, small", SMALL // 400, lambda: dq.conv(image[:, :, :3, :3], conv)),
        ("matmul, small", SMALL // 400, lambda: dq.quantized_matmul(x, x.T)),
        ("lstm, small", SMALL // 100, lambda: dq.lstm(x[:, None], lstm)),
        ("linear, large", LARGE * 4 // 10, lambda: dq.linear(rows, large)),
        ("linear, large, gelu", LARGE // 4, lambda: dq.linear(rows, large, activation="gelu")),
        ("attention, large", LARGE // 8, lambda: dq.attention(q, q, q)),
        ("gelu, large", LARGE // 8, lambda: dq.gelu(rows)),
        ("conv, large", LARGE // 20, lambda: dq.conv(image, conv)),
        ("matmul, large", LARGE // 20, lambda: dq.quantized_matmul(q, q.swapaxes(2, 3))),
        ("attention in integers, large", LARGE // 100, lambda: dq.attention(q, q, q, bits=8)),
        ("save and load, large", LARGE // 100, save_and_load),
        ("pack_linear, large", LARGE // 100, lambda: dq.linear(rows[:1], dq.pack_linear(rows))),
    ]


def main() -> int:
    share, grown, counts = float(sys.argv[1]) if len(sys.argv) > 1 else 1.0, 0, {True: 0, False: 0}
    rows = calls()
    for _, _, call in rows:  # threads started, kernels loaded, allocator and caches in their final state
        for _ in range(20):
            call()
    for name, often, call in rows:
        count, begin = max(100, int(often * share)), time.perf_counter()
        for _ in range(count // 10):
            call()
        gc.collect()
        before = resident()
        for _ in range(count - count // 10):
            call()
        gc.collect()
        grown += (more := resident() - before)
        counts["large" in name] += count
        print(f"{name:26} {count:9,} calls {time.perf_counter() - begin:6.1f} s {more / 2**20:+6.2f} MB", flush=True)
    print(f"{counts[False]:,} small calls and {counts[True]:,} large ones: {grown / 2**20:+.2f} MB")
    return 1 if grown > LIMIT else 0


if __name__ == "__main__":
    sys.exit(main())
