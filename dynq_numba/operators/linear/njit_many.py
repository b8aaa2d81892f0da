"""linear_many inside compiled code (see njit.py). `weights` is a tuple."""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import types
from numba.core.errors import TypingError

from ...kernels.activations.jitted import ACTIVATIONS
from ...kernels.base.memory import POST_OPS_SIGNATURE, address_value, data_ptr, keep, load_ptr, null, offset
from ...kernels.linear import call
from ...kernels.linear import many as linear_many_call
from ...kernels.linear.context import Weight
from ...njit.arguments import (
    address_of,
    float_array,
    literal,
    rows_function,
    threads_function,
)
from ...njit.overloads import overload_of
from ...runtime.post_ops import post_ops_kernel
from .many import linear_many
from .njit import PackedLinearType

N, K = Weight.n, Weight.k


def _split(block: np.ndarray, weights: Any, outer: tuple, rows: int) -> Any:
    """Only compiled code calls it, by the overload below."""
    raise NotImplementedError


@overload_of(_split)
def split_overload(block, weights, outer, rows):  # type: ignore[no-untyped-def]
    """Views of the block, one for each weight."""

    def last(block, weights, outer, rows):  # type: ignore[no-untyped-def]
        return (block.reshape(outer + (weights[0].descriptor[N],)),)  # noqa: RUF005 - numba knows no stars

    def first(block, weights, outer, rows):  # type: ignore[no-untyped-def]
        n = weights[0].descriptor[N]
        return (block[: rows * n].reshape(outer + (n,)),) + _split(block[rows * n :], weights[1:], outer, rows)  # noqa: RUF005

    return last if len(weights) == 1 else first


@overload_of(linear_many, prefer_literal=True)
def linear_many_overload(x, weights, activation=None, threads=None):  # type: ignore[no-untyped-def]
    if not (isinstance(weights, types.BaseTuple) and len(weights) and set(weights) == {PackedLinearType()}):
        raise TypingError(f"weights must be a tuple of PackedLinear in compiled code; got {weights}")
    float_array("x", x)
    post_ops = post_ops_kernel(literal("activation", activation, (*ACTIVATIONS, None), None), None, False)
    address = null if post_ops is None else address_of(post_ops, POST_OPS_SIGNATURE)
    count_of, number = threads_function(threads), len(weights)
    x_rows = rows_function(x)

    def run(x, weights, activation=None, threads=None):  # type: ignore[no-untyped-def]
        k, columns = weights[0].descriptor[K], 0
        table = np.empty((2, number), np.int64)
        for i in range(number):
            descriptor = weights[i].descriptor
            if descriptor[K] != x.shape[-1]:
                raise ValueError("x must have as many columns as each of the packed weights")
            table[0, i] = address_value(data_ptr(descriptor))
            columns += descriptor[N]
        count = count_of(threads)
        rows = x_rows(x, k)
        m, block = rows.shape[0], np.empty(rows.shape[0] * columns, np.float32)
        out = data_ptr(block)
        for i in range(number):
            table[1, i] = address_value(out)
            out = offset(out, 4 * m * weights[i].descriptor[N])
        done = linear_many_call.linear_many_into(
            data_ptr(rows), m, rows.strides[0], data_ptr(table), number, address(), count
        )  # fmt: skip
        if done != linear_many_call.DONE:
            for i in range(number):
                descriptor = weights[i].descriptor
                out = load_ptr(data_ptr(table), number + i)
                call.linear_into(
                    data_ptr(rows), m, rows.strides[0], out, 4 * descriptor[N], null(), 0, data_ptr(descriptor),
                    address(), count,
                )  # fmt: skip
        keep(rows)
        keep(table)
        keep(weights)
        return _split(block, weights, x.shape[:-1], m)

    return run
