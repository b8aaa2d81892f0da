"""matmul and matmul_integer inside compiled code (see operators/linear/njit.py).

Equally many dimensions in both operands, two at least. On one thread, on the instruction set that was in force at
compilation.
"""

from __future__ import annotations

import numpy as np
from numba import types
from numba.core.errors import TypingError

from ...kernels.base.memory import WORKER_SIGNATURE, data_ptr, insist, keep, null
from ...kernels.gemm.pack import MAX_K
from ...kernels.matmul import call as matmul_call
from ...kernels.matmul import integer
from ...kernels.matmul.context import MatmulDescriptor, Products
from ...kernels.objects import arrays
from ...njit.arguments import address_of, float_array, out_array, result_function, rows_function, value_type
from ...njit.overloads import overload_of
from ...runtime import cpu, isa, kernel_table
from .api import matmul, quantized_matmul
from .integer import matmul_integer

L2_BYTES = cpu.l2_bytes()
WORDS, SIZES = MatmulDescriptor.size, Products.size
TOO_LONG = f"a must have at most {MAX_K:,} columns in compiled code"


@overload_of(matmul, quantized_matmul)
def matmul_overload(a, b, out=None):  # type: ignore[no-untyped-def]
    float_array("a", a)
    float_array("b", b)
    if a.ndim != b.ndim or a.ndim < 2:
        raise TypingError(f"a and b must have equally many dimensions, 2 or more, in compiled code; got {a} and {b}")
    has_out, ndim = out_array(out, a.ndim), a.ndim
    kernel = kernel_table.kernel_for("matmul", isa.active())
    nr, k_per_word = kernel.form.columns, kernel.form.k_per_word
    worker = address_of(kernel.worker(), WORKER_SIGNATURE)
    a_rows, b_rows, result_of = rows_function(a), rows_function(b), result_function(has_out)

    def run(a, b, out=None):  # type: ignore[no-untyped-def]
        m, k, n = a.shape[ndim - 2], a.shape[ndim - 1], b.shape[ndim - 1]
        fits = b.shape[ndim - 2] == k
        for axis in range(ndim - 2):
            fits &= a.shape[axis] == b.shape[axis]
        if not fits:
            raise ValueError("b must have as many rows as a has columns, and a's leading dimensions")
        if k > MAX_K:
            raise ValueError(TOO_LONG)
        shape = a.shape[:-1] + (n,)  # noqa: RUF005 - numba knows no stars
        y = result_of(out, shape, np.float32)
        left, right, products = a_rows(a, k), b_rows(b, n), 1
        for axis in range(ndim - 2):
            products *= a.shape[axis]
        target = arrays.apart(arrays.apart(y, left), right) if has_out else y
        sizes, words = np.zeros(SIZES, np.int64), np.zeros(WORDS, np.int64)
        given = (m, n, k, 1, products, 4 * k, 4 * n, 4, 4 * n, 0, 4 * m * k, 0, 4 * k * n, 0, 4 * m * n)
        for i in range(SIZES):
            sizes[i] = given[i]
        descriptor = MatmulDescriptor(data_ptr(words))
        descriptor.worker, descriptor.nr, descriptor.k_per_word = worker(), nr, k_per_word
        descriptor.l2_bytes = L2_BYTES
        matmul_call.matmul_into(data_ptr(left), data_ptr(right), data_ptr(target), data_ptr(sizes), descriptor, 1)
        keep(left)
        keep(right)
        keep(sizes)
        keep(words)
        arrays.deliver(target, y)
        keep(target)
        return y

    return run


@overload_of(matmul_integer)
def matmul_integer_overload(a, b, a_zero_point=0, b_zero_point=0):  # type: ignore[no-untyped-def]
    for name, operand in (("a", a), ("b", b)):
        if not (isinstance(operand, types.Array) and operand.ndim == 2 and operand.dtype in (types.int8, types.uint8)):
            raise TypingError(f"{name} must be an int8 or uint8 matrix in compiled code; got {operand}")
    for name, zero in (("a_zero_point", a_zero_point), ("b_zero_point", b_zero_point)):
        kind = zero.dtype if isinstance(zero, types.Array) else value_type(zero)
        if kind not in types.integer_domain:
            raise TypingError(f"{name} must be an integer or an array of integers; got {zero}")
    low_a, low_b = (-128 if a.dtype == types.int8 else 0), (-128 if b.dtype == types.int8 else 0)
    target = isa.active()
    worker = address_of(kernel_table.kernel_for("matmul_integer", target).worker(), WORKER_SIGNATURE)
    nr, k_per_word = target.columns, target.k_per_word
    flip_a, flip_b = (128 if a.dtype == types.int8 else 0), (128 if b.dtype == types.uint8 else 0)
    zero_a = arrays.zero_array if isinstance(a_zero_point, types.Array) else arrays.zero_vector
    zero_b = arrays.zero_array if isinstance(b_zero_point, types.Array) else arrays.zero_vector

    def run(a, b, a_zero_point=0, b_zero_point=0):  # type: ignore[no-untyped-def]
        if a.shape[1] != b.shape[0]:
            raise ValueError("b must have as many rows as a has columns")
        out = np.empty((a.shape[0], b.shape[1]), np.int32)
        left = np.ascontiguousarray(a)
        za = zero_a(a_zero_point, a.shape[0], low_a, flip_a)
        zb = zero_b(b_zero_point, b.shape[1], low_b, -flip_b)
        insist(integer.matmul_integer(worker(), null(), nr, k_per_word, left, flip_a, za, b, flip_b, zb, out, 1))
        return out

    return run
