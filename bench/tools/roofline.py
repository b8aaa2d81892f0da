"""How close to the machine's limit: the register peak, the plain tile and the whole linear, in one run.

    python -m bench roofline                     every instruction set, 1 thread and all threads
    python -m bench roofline --threads 2 --isa avx512vnni
    python -m bench roofline --smoke             one tiny round, to see that it runs

Each round times the three in turn, so that a busy or slow moment hits them alike; a percentage is the median over
rounds of (rate / peak of that round). A multiply-add counts as two operations.
"""

from __future__ import annotations

import argparse
import os
import statistics
import time
from collections.abc import Callable
from functools import cache

import numba
import numpy as np
from numba import prange

import dynq_numba as dq
from bench.harness.peak import register_loop
from dynq_numba.kernels.base.jit import kernel
from dynq_numba.kernels.base.memory import ALIGN, address_value, data_ptr, keep, offset
from dynq_numba.kernels.gemm.intrinsics import matrix_registers, matrix_strip
from dynq_numba.kernels.gemm.portable import strip_for
from dynq_numba.kernels.gemm.tile import Output, Scheme, max_rows
from dynq_numba.kernels.isa.base import InstructionSet
from dynq_numba.runtime import isa as isas

#: k and weight panels of the plain tile: one of weights and one of activations fit L1 together. On matrix registers the
#: epilogue of a panel runs beside the products of the next one: so a strip of them, 1 MB in L2, as in a call.
TILE_K, TILE_PANELS = 768, 1
MATRIX_K, MATRIX_PANELS = 1024, 32


@kernel(cached=False)
def aligned_zeros(count):
    """`count` zero bytes that start at a multiple of ALIGN."""
    room = np.zeros(count + ALIGN, np.uint8)
    skip = -address_value(data_ptr(room)) % ALIGN
    return room[skip : skip + count]


@cache
def tile_loop(isa: InstructionSet, scheme: Scheme = Scheme()) -> tuple[Callable, int]:  # noqa: B008
    """``(run(repeats, threads), multiply-adds per repeat and thread)``: a row panel on operands in L1 (see TILE_K)."""
    isa = isa.form("linear", scheme.group, scheme.bits)
    matrix = isa.matrix_rows > 0
    strip = matrix_strip(isa) if matrix else strip_for(isa, scheme, Output.DEQUANTIZED)
    rows = isa.matrix_rows if matrix else max_rows(isa, scheme)
    k, panels = (MATRIX_K, MATRIX_PANELS) if matrix else (TILE_K, TILE_PANELS)
    nr, words = isa.columns, k // isa.k_per_word
    configure, free = matrix_registers(isa, "configure"), matrix_registers(isa, "release")
    weight_bytes, row_bytes = words * isa.word_bytes, 4 * words * isa.parts

    @kernel(parallel=True, cached=False)
    def run(repeats, threads):
        for _thread in prange(threads):
            a, b = aligned_zeros(row_bytes * rows), aligned_zeros(weight_bytes * panels)
            parameters, out = aligned_zeros(12 * nr * panels + 8 * rows), aligned_zeros(4 * rows * nr * panels)
            columns = data_ptr(parameters)
            configure()
            for _ in range(repeats):
                scale = offset(columns, 12 * nr * panels)
                zero_point = offset(scale, 4 * rows)
                strip(
                    rows, data_ptr(a), data_ptr(b), words, scale, zero_point,
                    columns, data_ptr(out), 4 * nr * panels, panels, weight_bytes, nr, data_ptr(a), 0,
                )  # fmt: skip
            free()
            keep(a)
            keep(b)
            keep(parameters)
            keep(out)

    return run, rows * nr * k * panels


def seconds(function: Callable[[], object]) -> float:
    start = time.perf_counter()
    function()
    return time.perf_counter() - start


def measure(isa: InstructionSet, threads: int, shape: tuple[int, int, int], rounds: int, slice_s: float) -> list[str]:
    """One table row: peak, tile and linear."""
    m, k, n = shape
    rng = np.random.default_rng(0)
    x = rng.standard_normal((m, k), dtype=np.float32)
    out = np.zeros((m, n), np.float32)
    with dq.force_isa(isa.name):
        w = dq.pack_linear(rng.standard_normal((n, k), dtype=np.float32), granularity="per_channel")

        def linear() -> None:
            dq.linear(x, w, out=out, threads=threads)

        kinds = [(linear, m * n * k)]
        for loop, macs in (tile_loop(isa), register_loop(isa)):
            repeats = 1
            loop(repeats, threads)
            while min(seconds(lambda f=loop, r=repeats: f(r, threads)) for _ in range(3)) < slice_s:
                repeats *= 2
            kinds.append((lambda f=loop, r=repeats: f(r, threads), repeats * macs * threads))
        linear()
        rates = [[2 * macs / seconds(run) / 1e9 for run, macs in kinds] for _ in range(rounds)]
    peak = statistics.median(r[2] for r in rates)
    tile = statistics.median(r[1] / r[2] for r in rates)
    whole = statistics.median(r[0] / r[2] for r in rates)
    micros = 2 * m * n * k / peak / whole / 1e3
    return [isa.name, str(threads), f"{peak:.0f}", f"{tile:.1%}", f"{whole:.1%}", f"{micros:.0f}"]


def mkn(text: str) -> tuple[int, int, int]:
    """M,K,N from the command line."""
    m, k, n = (int(word) for word in text.split(","))
    if min(m, k, n) < 1:
        raise ValueError("M, K and N must be positive")
    return m, k, n


def main(argv: list[str]) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m bench roofline", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--threads", type=int, nargs="*", help="thread counts (default: 1 and all)")
    sets = [name for name in dq.available_isas() if name != "portable"]
    parser.add_argument("--isa", nargs="*", default=sets, choices=sets, help="instruction sets (default: all of these)")
    parser.add_argument("--shape", type=mkn, default="1024,4096,4096", help="M,K,N (default: %(default)s)")
    parser.add_argument("--rounds", type=int, default=15, help="rounds to take medians over (default: %(default)s)")
    parser.add_argument("--smoke", action="store_true", help="one round of a tiny shape")
    args = parser.parse_args(argv)
    shape = args.shape
    rounds, slice_s = (1, 0.001) if args.smoke else (args.rounds, 0.05)
    if args.smoke:
        shape = (16, 64, 64)
    os.environ.setdefault("OMP_WAIT_POLICY", "passive")  # the loops' threads must not spin on our helpers' cores
    threads = args.threads or sorted({1, numba.get_num_threads()})
    usable = {isa.name: isa for isa in isas.INSTRUCTION_SETS}
    print(f"linear M,K,N = {shape}; % of the register peak measured in the same rounds")
    print(f"{'set':<12}{'threads':>8}{'peak GOP/s':>12}{'tile':>9}{'linear':>9}{'linear us':>11}")
    for name in args.isa:
        for count in threads:
            row = measure(usable[name], count, shape, rounds, slice_s)
            print("{:<12}{:>8}{:>12}{:>9}{:>9}{:>11}".format(*row), flush=True)
    return 0
