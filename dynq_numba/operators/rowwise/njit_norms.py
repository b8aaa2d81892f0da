"""softmax, layer_norm and rms_norm inside compiled code (see operators/linear/njit.py).

And what njit_elementwise.py shares.

On one thread, along the last axis; arrays are copied where they are not C contiguous, as everywhere there.
`threads` is accepted, since it says how many there may be at most.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numba import types
from numba.core.errors import TypingError

from ...kernels.base.memory import WORKER_SIGNATURE, address_value, data_ptr, keep, null
from ...kernels.objects import arrays
from ...kernels.rowwise import call as floats_call
from ...kernels.rowwise.worker import WORKERS
from ...njit.arguments import absent, address_of, float_array, literal, out_array, result_function, rows_function
from ...njit.overloads import jitable, overload_of
from . import norms as floats


def given_array(name: str, value: Any, required: bool = True) -> bool:
    """Whether an array of floats is given."""
    if absent(value) and not required:
        return False
    float_array(name, value)
    return True


def worker_of(name: str) -> Callable:
    return address_of(WORKERS[name], WORKER_SIGNATURE)


@jitable
def place_for(out, read):  # type: ignore[no-untyped-def]
    """Where to write rows: `out` itself, unless it overlaps what is read without being the same."""
    same = address_value(data_ptr(out)) == address_value(data_ptr(read)) and out.size == read.size
    return np.empty(out.shape, np.float32) if arrays.overlap(out, read) and not same else out


def _vector_function(name: str, given: bool) -> Callable:
    """(values, k) -> k float32: a contiguous copy of what is given, else ones."""
    wrong = f"{name} must have the length of x's last axis"

    def vector(values, k):  # type: ignore[no-untyped-def]
        if values.shape != (k,):
            raise ValueError(wrong)
        return np.ascontiguousarray(values).astype(np.float32)

    return jitable(vector) if given else _ones


@jitable
def _ones(values, k):  # type: ignore[no-untyped-def]
    return np.ones(k, np.float32)


@overload_of(floats.softmax, prefer_literal=True)
def softmax_overload(x, mask=None, axis=-1, out=None, threads=None):  # type: ignore[no-untyped-def]
    float_array("x", x)
    if literal("axis", axis, (-1,), -1) != -1:
        raise TypingError("axis must be -1 in compiled code")
    has_mask, has_out = not absent(mask), out_array(out)
    result_of = result_function(has_out)
    rows_of, worker = rows_function(x), worker_of("softmax")
    boolean = has_mask and isinstance(mask, types.Array) and mask.dtype == types.boolean
    if has_mask and not boolean:
        float_array("mask", mask)
    kind, element = (1, np.bool_) if boolean else (2, np.float32)

    def run(x, mask=None, axis=-1, out=None, threads=None):  # type: ignore[no-untyped-def]
        k = x.shape[-1]
        y = result_of(out, x.shape, np.float32)
        if x.size == 0:
            return y
        rows, result = rows_of(x, k), arrays.view_rows(y, k)
        target = place_for(result, rows) if has_out else result
        table = np.array([rows.shape[0], 0])
        if has_mask:
            full = np.broadcast_to(mask, x.shape)
            masks: Any = np.ascontiguousarray(full).astype(element)
            table[1] = k * masks.itemsize
            floats_call.softmax_into(
                data_ptr(rows), 4 * k, rows.shape[0], k, kind, data_ptr(masks), data_ptr(table),
                data_ptr(table[1:]), 1, data_ptr(target), 4 * k, worker(), null(), 1,
            )  # fmt: skip
            keep(masks)
        else:
            floats_call.softmax_into(
                data_ptr(rows), 4 * k, rows.shape[0], k, 0, null(), null(), null(), 0, data_ptr(target), 4 * k,
                worker(), null(), 1,
            )  # fmt: skip
        keep(table)
        keep(rows)
        arrays.deliver(target, result)
        keep(target)
        return y

    return run


def _norm_run(name: str, x: Any, weight: Any, bias: Any, residual: Any, sum_out: Any, out: Any) -> Callable:
    """``run(x, weight, bias, eps, residual, sum_out, out)`` for these types."""
    float_array("x", x)
    has_weight, has_bias = given_array("weight", weight, False), given_array("bias", bias, False)
    has_residual = given_array("residual", residual, False)
    has_sum, has_out = out_array(sum_out, name="sum_out"), out_array(out)
    result_of = result_function(has_out)
    if has_sum and not has_residual:
        raise TypingError("sum_out needs a residual")
    rows_of, residual_of = rows_function(x), rows_function(residual if has_residual else x)
    weight_of, bias_of = _vector_function("weight", has_weight), _vector_function("bias", has_bias)
    affine = has_weight or has_bias
    worker = worker_of(name)

    def run(x, weight, bias, eps, residual, sum_out, out):  # type: ignore[no-untyped-def]
        k = x.shape[-1]
        if not 0 <= eps <= floats.MAX_EPS:
            raise ValueError("eps must be finite in float32 and not negative")
        weights = weight_of(weight, k)
        biases = bias_of(bias, k)
        y = result_of(out, x.shape, np.float32)
        if has_residual:  # noqa: SIM102 - numba prunes plain conditions only
            if residual.shape != x.shape:
                raise ValueError("residual must have the shape of x")
        if has_sum:
            if sum_out.shape != x.shape:
                raise ValueError("sum_out must have the shape of x")
            if arrays.overlap(sum_out, y):
                raise ValueError("sum_out and out must not overlap")
        if x.size == 0:
            return y
        rows, result = rows_of(x, k), arrays.view_rows(y, k)
        target = place_for(result, rows) if has_out else result
        w, b, extra, total = null(), null(), null(), null()
        if affine:
            w = data_ptr(weights)
        if has_bias:
            b = data_ptr(biases)
        if has_out and (arrays.overlap(target, weights) or arrays.overlap(target, biases)):
            target = np.empty(result.shape, np.float32)
        if has_residual:
            addend = residual_of(residual, k)
            extra = data_ptr(addend)
            if has_out:
                target = place_for(target, addend)
        if has_sum:
            sums = arrays.view_rows(sum_out, k)
            totals = place_for(place_for(sums, rows), addend)
            if arrays.overlap(totals, weights) or arrays.overlap(totals, biases):
                totals = np.empty(result.shape, np.float32)
            total = data_ptr(totals)
        floats_call.norm_into(
            data_ptr(rows), 4 * k, rows.shape[0], k, w, b, extra, 4 * k, total, 4 * k, data_ptr(target), 4 * k,
            np.float32(eps), worker(), null(), 1,
        )  # fmt: skip
        keep(weights)
        keep(biases)
        keep(rows)
        if has_residual:
            keep(addend)
        if has_sum:
            arrays.deliver(totals, sums)
            keep(totals)
        arrays.deliver(target, result)
        keep(target)
        return y

    return jitable(run)


@overload_of(floats.layer_norm)
def layer_norm_overload(  # type: ignore[no-untyped-def]
    x, weight=None, bias=None, eps=1e-5, residual=None, sum_out=None, out=None, threads=None
):
    do = _norm_run("layer_norm", x, weight, bias, residual, sum_out, out)

    def run(  # type: ignore[no-untyped-def]
        x, weight=None, bias=None, eps=1e-5, residual=None, sum_out=None, out=None, threads=None
    ):
        return do(x, weight, bias, eps, residual, sum_out, out)

    return run


@overload_of(floats.rms_norm)
def rms_norm_overload(  # type: ignore[no-untyped-def]
    x, weight=None, eps=1e-6, residual=None, sum_out=None, out=None, threads=None
):
    do = _norm_run("rms_norm", x, weight, None, residual, sum_out, out)

    def run(x, weight=None, eps=1e-6, residual=None, sum_out=None, out=None, threads=None):  # type: ignore[no-untyped-def]
        return do(x, weight, None, eps, residual, sum_out, out)

    return run
