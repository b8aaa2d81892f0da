"""What matmul runs on: the kernels, or under NUMBA_DISABLE_JIT=1 the numpy reference."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache

import numpy as np

from ...kernels.base.jit import entry
from ...kernels.base.memory import NO_MEMORY
from ...kernels.gemm import pack
from ...kernels.isa.base import InstructionSet
from ...kernels.matmul import call as matmul_call
from ...kernels.matmul import integer, reference
from ...kernels.matmul.context import MatmulDescriptor
from ...kernels.objects.view import ADDRESS, NUMBER
from ...kernels.threads import partition as blocking
from ...runtime import cpu, isa, kernel_table, threads
from ...runtime.backend import choose
from ...runtime.signatures import BYTE_MATRIX, INTS, INTS_2D, WORD


@cache
def product(target: InstructionSet, long: bool) -> tuple[Callable, np.ndarray]:
    """The entry, and the descriptor of an instruction set."""
    kernel = kernel_table.kernel_for("matmul_long" if long else "matmul", target)
    words = MatmulDescriptor.array(
        worker=kernel_table.worker_address(kernel.operation, target), pool=threads.POOL,
        nr=kernel.form.columns, k_per_word=kernel.form.k_per_word, l2_bytes=cpu.l2_bytes(),
    )  # fmt: skip
    return entry(matmul_call.matmul_entry, (*(ADDRESS,) * 5, WORD)), words


def _compiled(a: np.ndarray, b: np.ndarray, out: np.ndarray, count: int) -> None:
    (outer, inner, m, k), n = a.shape, b.shape[-1]
    micros = matmul_call.estimate.py_func(m, n, k, outer * inner)
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


#: Multiply-adds from which a second thread pays in matmul_integer.
PARALLEL_FROM = 4_000_000


@cache
def _integer_entry() -> Callable:
    packed = (NUMBER, NUMBER, WORD, WORD)
    return entry(
        integer.matmul_integer_entry, (*packed, BYTE_MATRIX, WORD, INTS, BYTE_MATRIX, WORD, INTS, INTS_2D, WORD)
    )  # fmt: skip


def _integer_compiled(a: np.ndarray, b: np.ndarray, a_zero: np.ndarray, b_zero: np.ndarray, out: np.ndarray) -> None:
    """Fill int32 out [M, N] from bytes a [M, K], b [K, N] and their int32 zero points."""
    target: InstructionSet = isa.active()
    (m, k), n = a.shape, b.shape[1]
    count = 1
    if m * n * k >= PARALLEL_FROM:
        count = threads.get_num_threads()
        threads.ready(count)
    flip_a, flip_b = (128 if a.dtype == np.int8 else 0), (128 if b.dtype == np.uint8 else 0)
    fine = _integer_entry()(
        kernel_table.worker_address("matmul_integer", target), threads.POOL,
        target.columns, target.k_per_word,
        np.ascontiguousarray(a).view(np.uint8), flip_a, a_zero + flip_a,
        b.view(np.uint8), flip_b, b_zero - flip_b,
        out, count,
    )  # fmt: skip
    if not fine:
        raise MemoryError(NO_MEMORY)


def _integer_reference(a: np.ndarray, b: np.ndarray, a_zero: np.ndarray, b_zero: np.ndarray, out: np.ndarray) -> None:
    """Fill int32 out [M, N]."""
    out[...] = reference.matmul_integer(a, b, a_zero, b_zero)


#: Fill float32 out [outer, inner, M, N] from a [outer, inner, M, K] (rows contiguous) and b [outer, inner, K, N].
matmul = choose(_compiled, _reference)
matmul_integer = choose(_integer_compiled, _integer_reference)
