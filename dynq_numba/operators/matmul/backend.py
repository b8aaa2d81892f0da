"""What matmul runs on: the kernels, or under NUMBA_DISABLE_JIT=1 the numpy reference."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np

from ...kernels.base import context as at
from ...kernels.base.jit import JIT_ENABLED, entry
from ...kernels.gemm import pack
from ...kernels.isa.base import InstructionSet
from ...kernels.linear import reference
from ...kernels.matmul import call as batched_call
from ...kernels.objects.view import ADDRESS
from ...kernels.threads import partition as blocking
from ...runtime import cpu, isa, threads
from ...runtime import kernel_table as registry
from ...runtime.signatures import WORD


@cache
def product(target: InstructionSet, long: bool) -> tuple[Callable, np.ndarray]:
    """The entry, and the descriptor of an instruction set."""
    words = np.zeros(batched_call.DESCRIPTOR_WORDS, np.int64)
    words[at.WORKER] = registry.worker_address("matmul_long" if long else "matmul", target)
    words[at.POOL] = threads.POOL
    form = target if long else target.form(0)
    words[batched_call.NR], words[batched_call.K_PER_WORD] = form.columns, form.k_per_word
    words[batched_call.L2_BYTES] = cpu.l2_bytes()
    return entry(batched_call.matmul_entry, (*(ADDRESS,) * 5, WORD)), words


def _compiled(a: np.ndarray, b: np.ndarray, out: np.ndarray, count: int) -> None:
    (outer, inner, m, k), n = a.shape, b.shape[-1]
    micros = batched_call.estimate.py_func(m, n, k, outer * inner)
    if count > 1 or (count == 0 and blocking.worthwhile_threads.py_func(micros) > 1):
        threads.ready(count)
    run, words = product(isa.active(), k > pack.MAX_K)
    a_strides, b_strides, out_strides = a.strides, b.strides, out.strides
    sizes = np.array([
        m, n, k, outer, inner, a_strides[2], b_strides[2], b_strides[3], out_strides[2],
        *a_strides[:2], *b_strides[:2], *out_strides[:2],
    ])  # fmt: skip
    run(a, b, out, sizes, words, count)


def _reference(a: np.ndarray, b: np.ndarray, out: np.ndarray, count: int) -> None:
    for i in np.ndindex(a.shape[:2]):
        out[i] = reference.matmul(a[i], b[i])


#: Fill float32 out [outer, inner, M, N] from a [outer, inner, M, K] (rows contiguous) and b [outer, inner, K, N].
matmul: Callable[[np.ndarray, np.ndarray, np.ndarray, int], Any] = _compiled if JIT_ENABLED else _reference
