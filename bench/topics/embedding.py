"""embedding and embedding_bag beside PyTorch's, on tables that fit a cache and that do not.

    python -m bench embedding [threads ...]        # in the environment of the peers; times with the ratio to PyTorch's

Ours and theirs take turns, a few calls at a time; of each the median counts. Ids are drawn evenly, new ones for every
call of a cold table. A case that was disturbed is measured again; if it was disturbed again, its line says so.
PyTorch: quantized::embedding_bag_byte_rowwise_offsets and _4bit_, the kernels of FBGEMM.
"""

from __future__ import annotations

from functools import partial
from statistics import median
from time import perf_counter
from typing import Any

import numpy as np

import dynq_numba as dq
from bench.harness.awake import rest
from bench.harness.disturbance import disturbed, quiet_part, spread, steady

#: Name, rows, columns, ids, bags.
CASES = (
    ("hot", 1000, 64, 2_000, 100),
    ("hot", 1000, 128, 20_000, 1000),
    ("hot", 500, 384, 4_000, 200),
    ("one id a bag", 30_522, 384, 128, 128),
    ("cold", 4_000_000, 64, 100_000, 5000),
    ("cold", 1_000_000, 384, 20_000, 1000),
)
ROUNDS, CALLS = 7, 8


def timed(functions: list, arguments: list) -> dict:
    """Median "us" of a call of each function, and "disturbed"; they take turns, and arguments change between calls."""
    times: list[list[float]] = [[] for _ in functions]
    quiet = []
    for round_ in range(ROUNDS + 1):
        for which, function in enumerate(functions):
            given = arguments[(round_ * len(functions) + which) % len(arguments)]
            quiet.append(rest())  # the other's threads go on spinning for a while
            function(*given[-1])  # untimed: wakes this one's up
            start = perf_counter()
            for call in range(CALLS):
                function(*given[call % len(given)])
            if round_:
                times[which].append((perf_counter() - start) / CALLS)
    shaken = disturbed(map(spread, times), quiet_part(quiet))
    return {"us": [1e6 * median(values) for values in times], "disturbed": shaken}


def random_table(rows: int, columns: int, bits: int) -> tuple[dq.PackedEmbedding, Any]:
    """The same table packed by both, made from a small float one again and again."""
    import torch

    base = np.random.default_rng(0).standard_normal((min(rows, 1000), columns)).astype(np.float32)
    ours = dq.PackedEmbedding((rows, columns), bits)
    part = dq.pack_embedding(base, bits=bits)._store.rows
    peer = torch.ops.quantized
    theirs = (peer.embedding_bag_byte_prepack if bits == 8 else peer.embedding_bag_4bit_prepack)(torch.from_numpy(base))
    for first in range(0, rows, len(part)):
        count = min(len(part), rows - first)
        ours._store.rows[first : first + count] = part[:count]
    return ours, theirs.repeat(-(-rows // len(base)), 1)[:rows].contiguous()


def main(argv: list[str]) -> int:
    """Print the table."""
    import torch

    rng = np.random.default_rng(1)
    print(f"{'':14}{'rows x D':>16}{'ids/bags':>14}{'bits':>5}{'threads':>8}{'ours':>10}{'torch µs':>10}{'ratio':>7}")
    for threads in [int(a) for a in argv] or [1, 2]:
        torch.set_num_threads(threads)
        dq.set_num_threads(threads)
        for name, rows, columns, ids, bags in CASES:
            for bits in (8, 4):
                ours, theirs = random_table(rows, columns, bits)
                offsets = np.arange(bags, dtype=np.int64) * (ids // bags)
                sets = []
                for _ in range(8 if name == "cold" else 1):
                    drawn = [rng.integers(0, rows, ids) for _ in range(CALLS if name == "cold" else 1)]
                    sets.append([(d, torch.from_numpy(d)) for d in drawn])
                t_offsets = torch.from_numpy(offsets)
                kind = "byte" if bits == 8 else "4bit"
                operation = getattr(torch.ops.quantized, f"embedding_bag_{kind}_rowwise_offsets")

                def mine(i, t, ours=ours, offsets=offsets):
                    return dq.embedding_bag(i, offsets, ours)

                def peer(i, t, operation=operation, theirs=theirs, t_offsets=t_offsets):
                    return operation(theirs, t, t_offsets, False, 0, False)

                a, b = mine(*sets[0][0]), peer(*sets[0][0]).numpy()
                near = 0.2 if bits == 4 else 0.02  # of float16 parameters, and of ties
                assert np.linalg.norm(a - b) <= near * np.linalg.norm(b), "results differ"
                found = steady(partial(timed, [mine, peer], sets))
                times = found["us"]
                print(f"{name:14}{f'{rows} x {columns}':>16}{f'{ids}/{bags}':>14}{bits:>5}{threads:>8}"
                      f"{times[0]:>10.1f}{times[1]:>10.1f}{times[1] / times[0]:>7.2f}"
                      f"{'  disturbed' if found['disturbed'] else ''}", flush=True)  # fmt: skip
    return 0
