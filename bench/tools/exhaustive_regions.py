"""The worst error of the functions of kernels/region/reference_functions.py over all 2^32 float32 inputs.

    python -m bench exhaustive_regions [log softplus sin cos] [--negative]         the last: x < 0 alone

Errors are in ulp of the float64 result, as in exhaustive_activations. Takes minutes for each function, so no test runs
it; its figures stand in reference_functions.py. What runs is the compiled code, on the set in force.
"""

from __future__ import annotations

import math

import numpy as np
from numba import njit, prange

from bench.tools.exhaustive_activations import BLOCK, ulp
from dynq_numba.kernels.region.call import run_arrays
from dynq_numba.kernels.region.reference import Region
from dynq_numba.runtime import isa, threads

INFINITY, SIGN = 0x7F800000, 0x80000000


@njit
def softplus(x: float) -> float:
    return max(x, 0.0) + math.log1p(math.exp(-abs(x)))


ORACLES = {
    "log": njit(lambda x: math.log(x) if x > 0 else (-math.inf if x == 0 else math.nan)), "softplus": softplus,
    "sin": njit(lambda x: math.sin(x)), "cos": njit(lambda x: math.cos(x)),
}  # fmt: skip


def worst_of(oracle):  # type: ignore[no-untyped-def]
    """A function that gives the worst ulp error of results, and where."""

    @njit(parallel=True, error_model="numpy")
    def run(inputs, results, errors):  # type: ignore[no-untyped-def]
        for i in prange(inputs.size):
            want = oracle(np.float64(inputs[i]))
            got = np.float64(results[i])
            # Where both are NaN, or the same infinity, there is no error; a NaN beside a number is one.
            errors[i] = 0.0 if got == want or (got != got and want != want) else abs(got - want) / ulp(want)

    return run


def main(argv: list[str]) -> int:
    last = 2 * BLOCK if "--smoke" in argv else INFINITY
    count = threads.default_threads()
    threads.ready(count)
    errors, results = np.empty(BLOCK), np.empty(BLOCK, np.float32)
    for name in [name for name in argv if name in ORACLES] or ORACLES:
        region, compare = Region(("float32",), ((name.capitalize(), (0,), "float32"),), (1,)), worst_of(ORACLES[name])
        for label, first in (("x ≥ 0", 0), ("x < 0", SIGN))["--negative" in argv :]:
            worst, where = 0.0, np.float32(0)
            for block in range(first, first + last, BLOCK):
                x = np.arange(block, block + BLOCK, dtype=np.uint64).astype(np.uint32).view(np.float32)
                run_arrays(region, isa.active(), [x], [results], threads.POOL, count)
                compare(x, results, errors)
                at = int(errors.argmax())
                if not errors[at] <= worst:
                    worst, where = errors[at], x[at]
            print(f"{name:10s} {label}   {worst:14.6f} ulp at {where!r}", flush=True)
    return 0
