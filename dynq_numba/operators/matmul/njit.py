"""matmul inside compiled code (see operators/linear/njit.py): equally many dimensions in both operands, two at least.

On one thread, on the instruction set that was in force at compilation.
"""

from __future__ import annotations

import numpy as np
from numba import types
from numba.core.errors import TypingError
from numba.extending import overload

from ...kernels.base import context as at
from ...kernels.base.memory import WORKER_SIGNATURE, data_ptr, keep, store_ptr
from ...kernels.gemm.pack import MAX_K
from ...kernels.matmul import call as batched_call
from ...kernels.objects import arrays
from ...runtime import cpu, isa
from ...runtime import kernel_table as registry
from ..linear.njit import absent, address_of, float_array, rows_function
from .api import matmul, quantized_matmul

L2_BYTES = cpu.l2_bytes()
WORDS, SIZES = batched_call.DESCRIPTOR_WORDS, len(batched_call.SIZES)


@overload(matmul)
@overload(quantized_matmul)
def _matmul(a, b, out=None):  # type: ignore[no-untyped-def]
    float_array("a", a)
    float_array("b", b)
    if a.ndim != b.ndim or a.ndim < 2:
        raise TypingError(f"a and b must have equally many dimensions, 2 or more, in compiled code; got {a} and {b}")
    has_out, ndim = not absent(out), a.ndim
    if has_out and out != types.Array(types.float32, ndim, "C"):
        raise TypingError(f"out must be a writable C-contiguous float32 array in compiled code; got {out}")
    target = isa.active()
    form = target.form(0)
    nr, k_per_word = form.columns, form.k_per_word
    worker = address_of(registry.kernel_for("matmul", target).build(), WORKER_SIGNATURE)
    a_rows, b_rows = rows_function(a), rows_function(b)

    def run(a, b, out=None):  # type: ignore[no-untyped-def]
        m, k, n = a.shape[ndim - 2], a.shape[ndim - 1], b.shape[ndim - 1]
        fits = b.shape[ndim - 2] == k
        for axis in range(ndim - 2):
            fits &= a.shape[axis] == b.shape[axis]
        if not fits:
            raise ValueError("b must have as many rows as a has columns, and a's leading dimensions")
        if k > MAX_K:
            raise ValueError("a must have at most 65,793 columns in compiled code")
        shape = a.shape[:-1] + (n,)  # noqa: RUF005 - numba knows no stars
        if has_out:
            y = out
            if y.shape != shape:
                raise ValueError("out must have the shape of the product")
        else:
            y = np.empty(shape, np.float32)
        left, right, products = a_rows(a, k), b_rows(b, n), 1
        for axis in range(ndim - 2):
            products *= a.shape[axis]
        result = y
        if has_out and (arrays.overlap(y, left) or arrays.overlap(y, right)):
            result = np.empty(shape, np.float32)
        sizes, words = np.zeros(SIZES, np.int64), np.zeros(WORDS, np.int64)
        given = (m, n, k, 1, products, 4 * k, 4 * n, 4, 4 * n, 0, 4 * m * k, 0, 4 * k * n, 0, 4 * m * n)
        for i in range(SIZES):
            sizes[i] = given[i]
        words[batched_call.NR], words[batched_call.K_PER_WORD] = nr, k_per_word
        words[batched_call.L2_BYTES] = L2_BYTES
        store_ptr(data_ptr(words), at.WORKER, worker())
        batched_call.matmul_into(data_ptr(left), data_ptr(right), data_ptr(result), data_ptr(sizes), data_ptr(words), 1)
        keep(left)
        keep(right)
        keep(sizes)
        keep(words)
        arrays.deliver(result, y)
        keep(result)
        return y

    return run
