"""The public functions inside a user's own ``numba.njit`` code.

    @numba.njit
    def block(x, up, down):                                  # up, down: PackedLinear arguments
        return dq.linear(dq.linear(x, up, activation="gelu"), down)

A PackedLinear becomes its descriptor (see kernels/base/context.py), so a user's function compiles in moments: the
products are reached by address. Post-ops, or the worker of another operation, is linked into the user's own module.
Differences from Python: options that choose code (`activation`, `granularity`, `dtype`) must be literals; arrays are
float32 or float64 and are copied where they are not C contiguous; `out` must be C contiguous; `quantize` and
`dequantize` work along the last axis; `matmul_integer` takes matrices. These three run on one thread, on the
instruction set that was in force at compilation. Packing is done outside.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import types
from numba.core.errors import TypingError

from ...kernels.activations.jitted import ACTIVATIONS
from ...kernels.base.memory import POST_OPS_SIGNATURE, data_ptr, keep, null
from ...kernels.linear import call
from ...kernels.linear.context import Weight
from ...kernels.objects import arrays
from ...njit.arguments import (
    absent,
    address_of,
    float_array,
    literal,
    out_array,
    result_function,
    rows_function,
    threads_function,
)
from ...njit.overloads import jitable, overload_of
from ...njit.types import PackedType
from ...runtime.post_ops import post_ops_kernel
from .api import linear
from .packed import PackedLinear


class PackedLinearType(PackedType):
    """numba's view of a PackedLinear."""

    packed = (PackedLinear,)

    def __init__(self) -> None:
        super().__init__("PackedLinear")

    @classmethod
    def of(cls, value: PackedLinear, context: Any) -> PackedLinearType:
        return PACKED


PACKED = PackedLinearType()


@overload_of(linear, prefer_literal=True, jit_options={"forceinline": True})
def linear_overload(x, w, activation=None, residual=None, epilogue=None, out=None, threads=None):  # type: ignore[no-untyped-def]
    if not isinstance(w, PackedLinearType):
        raise TypingError(f"w must be a PackedLinear from pack_linear; got {w}")
    float_array("x", x)
    name = literal("activation", activation, (*ACTIVATIONS, None), None)
    has_residual, has_out = not absent(residual), out_array(out)
    if has_residual:
        float_array("residual", residual)
    user = None
    if not absent(epilogue):
        if not isinstance(epilogue, types.Dispatcher):
            raise TypingError(f"epilogue must be a function compiled by numba.njit; got {epilogue}")
        user = epilogue.dispatcher
    post_ops = post_ops_kernel(name, user, has_residual)
    address = null if post_ops is None else address_of(post_ops, POST_OPS_SIGNATURE)
    count_of, result_of = threads_function(threads), result_function(has_out)
    x_rows = rows_function(x)
    residual_rows = rows_function(residual if has_residual else x)

    @jitable
    def product(x, w, residual, out, threads):  # type: ignore[no-untyped-def]
        descriptor = w.descriptor
        weight = Weight(data_ptr(descriptor))
        n, k = weight.n, weight.k
        if x.shape[-1] != k:
            raise ValueError("x must have as many columns as the packed weight")
        shape = x.shape[:-1] + (n,)  # noqa: RUF005 - numba knows no stars
        y = result_of(out, shape, np.float32)
        count = count_of(threads)
        rows = x_rows(x, k)
        target = arrays.view_rows(y, n)
        if has_residual:
            if residual.shape != shape:
                raise ValueError("residual must have the result's shape")
            addend = residual_rows(residual, n)
            if has_out:
                target = arrays.apart(arrays.apart(target, rows), addend)
            call.linear_into(
                data_ptr(rows), rows.shape[0], rows.strides[0], data_ptr(target), target.strides[0],
                data_ptr(addend), addend.strides[0], weight, address(), count,
            )  # fmt: skip
            keep(addend)
        else:
            if has_out:
                target = arrays.apart(target, rows)
            call.linear_into(
                data_ptr(rows), rows.shape[0], rows.strides[0], data_ptr(target), target.strides[0],
                null(), 0, weight, address(), count,
            )  # fmt: skip
        keep(rows)
        keep(target)
        keep(descriptor)
        if has_out:
            arrays.deliver(target, arrays.view_rows(y, n))
        return y

    # Inlined, always: what numba makes of a function as an argument, its address in this process, is then used nowhere,
    # and the caller can be kept on disk.
    def run(x, w, activation=None, residual=None, epilogue=None, out=None, threads=None):  # type: ignore[no-untyped-def]
        return product(x, w, residual, out, threads)

    return run
