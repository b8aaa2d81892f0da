"""Benchmarks of the linear layer on pytest-benchmark: ours beside numpy's float32, one group a shape.

    pytest bench                                        # times them
    pytest bench --benchmark-disable                    # runs each once: what CI does
    pytest bench --benchmark-group-by=group --benchmark-columns=median,iqr,ops

Every contestant's result is checked against float64 before it is timed.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

import dynq_numba as dq

#: M, K, N
SHAPES = [(1, 768, 768), (1, 4096, 4096), (8, 768, 768), (32, 768, 3072), (128, 768, 768), (128, 3072, 768)]
#: Relative error (norms) that 8-bit weights and activations may have on normal data: about 1 % is usual.
ERROR = {"int8": 0.02, "int8 in groups of 32": 0.02, "int4 in groups of 32": 0.15, "float32 numpy": 1e-5}


def contestant(name: str, weight: np.ndarray, threads: int) -> Callable[[np.ndarray], np.ndarray]:
    """A function of x."""
    if name == "float32 numpy":
        transposed = weight.T
        return lambda x: x @ transposed
    bits = 4 if "int4" in name else 8
    w = dq.pack_linear(weight, bits=bits, granularity="per_group" if "groups" in name else "per_channel")
    return lambda x: dq.linear(x, w, threads=threads)


@pytest.mark.parametrize("name", list(ERROR))
@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("shape", SHAPES, ids=lambda s: "x".join(map(str, s)))
def test_linear(benchmark, shape, threads, name):
    if name == "float32 numpy" and threads == 1:
        pytest.skip("numpy's BLAS takes its thread count from the environment, for the whole process")
    m, k, n = shape
    rng = np.random.default_rng(0)
    weight, x = rng.standard_normal((n, k), dtype=np.float32), rng.standard_normal((m, k), dtype=np.float32)
    run = contestant(name, weight, threads)
    exact = x.astype(np.float64) @ weight.T.astype(np.float64)
    assert np.linalg.norm(run(x) - exact) <= ERROR[name] * np.linalg.norm(exact)
    benchmark.group = f"M,K,N = {m},{k},{n}, {threads} thread{'s'[: threads - 1]}"
    benchmark(run, x)
