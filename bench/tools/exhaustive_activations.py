"""The worst error of every activation over all 2^32 float32 inputs.

Errors are in ulp of the float64 result, denormals included; an overflow counts as 2^128. Of the composed functions
gelu, gelu_tanh and silu, the ulp figure says something for x ≥ 0 only: the bounds that hold for x < 0 are in
tests/operators/rowwise/test_activations.py. Takes minutes, so no test runs it; its figures stand in
kernels/activations/jitted.py.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
from numba import njit, prange

from dynq_numba.kernels.activations import jitted as activations

BLOCK = 1 << 21


@njit
def sigmoid(x: float) -> float:
    return 1 / (1 + math.exp(-x))


@njit
def gelu(x: float) -> float:
    return x * math.erfc(-x * math.sqrt(0.5)) / 2


@njit
def gelu_tanh(x: float) -> float:
    return x * sigmoid(math.sqrt(8 / math.pi) * (x + 0.044715 * x**3))


@njit
def silu(x: float) -> float:
    return x * sigmoid(x)


ORACLES = {
    "exp": njit(lambda x: math.exp(x)), "tanh": njit(lambda x: math.tanh(x)), "erf": njit(lambda x: math.erf(x)),
    "sigmoid": sigmoid, "gelu": gelu, "gelu_tanh": gelu_tanh, "silu": silu,
}


@njit
def ulp(y: float) -> float:
    """The distance between float32 neighbours at |y|, by putting together its exponent field."""
    exponent = (np.float64(y).view(np.int64) >> 52) & 0x7FF
    return np.int64((min(max(exponent, 1023 - 126), 1023 + 127) - 23) << 52).view(np.float64)


def sweep(function: Callable, oracle: Callable, first: int, last: int) -> tuple[float, np.float32]:
    """The worst ulp error, and where, over the finite floats whose bits are in [first, last)."""

    @njit(parallel=True, error_model="numpy")
    def run(worst, where):
        for block in prange(worst.size):
            for bits in range(first + block * BLOCK, min(last, first + (block + 1) * BLOCK)):
                x = np.uint32(bits).view(np.float32)
                want = min(max(oracle(np.float64(x)), -(2.0**128)), 2.0**128)
                got = min(max(np.float64(function(x)), -(2.0**128)), 2.0**128)
                error = abs(got - want) / ulp(want)
                if not error <= worst[block]:  # a NaN is an error, too
                    worst[block], where[block] = error, x

    blocks = -(-(last - first) // BLOCK)
    worst, where = np.zeros(blocks), np.zeros(blocks, np.float32)
    run(worst, where)
    return worst.max(), where[worst.argmax()]


def main(argv: list[str]) -> int:
    infinity, sign = 0x7F800000, 0x80000000
    if "--smoke" in argv:  # two blocks of each half, to see that it runs
        infinity = 2 * BLOCK
    for name, oracle in ORACLES.items():
        for label, first in (("x ≥ 0", 0), ("x < 0", sign)):
            ulp, x = sweep(getattr(activations, name), oracle, first, first + infinity)
            print(f"{name:10s} {label}   {ulp:14.4f} ulp at {x!r}", flush=True)
    return 0
