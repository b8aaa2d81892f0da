"""softmax, the norms, gelu, silu, swiglu and rotary inside compiled code (see jitted.py).

On one thread, along the last axis; arrays are copied where they are not C contiguous, as everywhere there.
`threads` is accepted, since it says how many there may be at most. Tables for rotary are made outside.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numba import types
from numba.core.errors import TypingError
from numba.extending import overload, register_jitable

from . import elementwise, floats
from . import rotary as rotaries
from .jitted import absent, address_of, float_array, literal, rows_function
from .kernels import arrays, floats_call
from .kernels.emit.floats_intrinsics import MAP_NAMES
from .kernels.floats import WORKERS
from .kernels.memory import WORKER_SIGNATURE, address_value, data_ptr, keep, null


def _checked(name: str, value: Any, required: bool = True) -> bool:
    """Whether an array of floats is given."""
    if absent(value) and not required:
        return False
    float_array(name, value)
    return True


def _checked_out(name: str, value: Any) -> bool:
    if absent(value):
        return False
    if not (isinstance(value, types.Array) and value == types.Array(types.float32, value.ndim, "C")):
        raise TypingError(f"{name} must be a writable C-contiguous float32 array in compiled code; got {value}")
    return True


def _worker(name: str) -> Callable:
    return address_of(WORKERS[name], WORKER_SIGNATURE)


@register_jitable  # type: ignore[misc]
def _place(out, read):  # type: ignore[no-untyped-def]
    """Where to write rows: `out` itself, unless it overlaps what is read without being the same."""
    same = address_value(data_ptr(out)) == address_value(data_ptr(read)) and out.size == read.size
    return np.empty(out.shape, np.float32) if arrays.overlap(out, read) and not same else out


@register_jitable  # type: ignore[misc]
def _vector(values, k, name_and_shape):  # type: ignore[no-untyped-def]
    if values.shape != (k,):
        raise ValueError(name_and_shape)
    return np.ascontiguousarray(values).astype(np.float32)


@register_jitable  # type: ignore[misc]
def _ones(values, k, name_and_shape):  # type: ignore[no-untyped-def]
    return np.ones(k, np.float32)


@overload(floats.softmax, prefer_literal=True)
def _softmax(x, mask=None, axis=-1, out=None, threads=None):  # type: ignore[no-untyped-def]
    float_array("x", x)
    if literal("axis", axis, (-1,), -1) != -1:
        raise TypingError("axis must be -1 in compiled code")
    has_mask, has_out = not absent(mask), _checked_out("out", out)
    rows_of, worker = rows_function(x), _worker("softmax")
    boolean = has_mask and isinstance(mask, types.Array) and mask.dtype == types.boolean
    if has_mask and not boolean:
        float_array("mask", mask)
    kind, element = (1, np.bool_) if boolean else (2, np.float32)

    def run(x, mask=None, axis=-1, out=None, threads=None):  # type: ignore[no-untyped-def]
        k = x.shape[-1]
        if has_out:
            y = out
            if y.shape != x.shape:
                raise ValueError("out must have the shape of x")
        else:
            y = np.empty(x.shape, np.float32)
        if x.size == 0:
            return y
        rows, result = rows_of(x, k), arrays.view_rows(y, k)
        target = _place(result, rows) if has_out else result
        table = np.array([rows.shape[0], 0])
        if has_mask:
            full = np.broadcast_to(mask, x.shape)
            masks = np.ascontiguousarray(full).astype(element)
            table[1] = k * masks.itemsize
            floats_call.softmax_into(
                data_ptr(rows), 4 * k, rows.shape[0], k, kind, data_ptr(masks), data_ptr(table),
                data_ptr(table[1:]), 1, data_ptr(target), 4 * k, worker(), 0, 1,
            )  # fmt: skip
            keep(masks)
        else:
            floats_call.softmax_into(
                data_ptr(rows), 4 * k, rows.shape[0], k, 0, null(), null(), null(), 0, data_ptr(target), 4 * k,
                worker(), 0, 1,
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
    has_weight, has_bias = _checked("weight", weight, False), _checked("bias", bias, False)
    has_residual = _checked("residual", residual, False)
    has_sum, has_out = _checked_out("sum_out", sum_out), _checked_out("out", out)
    if has_sum and not has_residual:
        raise TypingError("sum_out needs a residual")
    rows_of, residual_of = rows_function(x), rows_function(residual if has_residual else x)
    weight_of, bias_of = _vector if has_weight else _ones, _vector if has_bias else _ones
    affine = has_weight or has_bias
    worker = _worker(name)

    def run(x, weight, bias, eps, residual, sum_out, out):  # type: ignore[no-untyped-def]
        k = x.shape[-1]
        if not 0 <= eps <= floats.MAX_EPS:
            raise ValueError("eps must be finite in float32 and not negative")
        weights = weight_of(weight, k, "weight must have the length of x's last axis")
        biases = bias_of(bias, k, "bias must have the length of x's last axis")
        if has_out:
            y = out
            if y.shape != x.shape:
                raise ValueError("out must have the shape of x")
        else:
            y = np.empty(x.shape, np.float32)
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
        target = _place(result, rows) if has_out else result
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
                target = _place(target, addend)
        if has_sum:
            sums = arrays.view_rows(sum_out, k)
            totals = _place(_place(sums, rows), addend)
            if arrays.overlap(totals, weights) or arrays.overlap(totals, biases):
                totals = np.empty(result.shape, np.float32)
            total = data_ptr(totals)
        floats_call.norm_into(
            data_ptr(rows), 4 * k, rows.shape[0], k, w, b, extra, 4 * k, total, 4 * k, data_ptr(target), 4 * k,
            np.float32(eps), worker(), 0, 1,
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

    return register_jitable(run)


@overload(floats.layer_norm)
def _layer_norm(  # type: ignore[no-untyped-def]
    x, weight=None, bias=None, eps=1e-5, residual=None, sum_out=None, out=None, threads=None
):
    do = _norm_run("layer_norm", x, weight, bias, residual, sum_out, out)

    def run(  # type: ignore[no-untyped-def]
        x, weight=None, bias=None, eps=1e-5, residual=None, sum_out=None, out=None, threads=None
    ):
        return do(x, weight, bias, eps, residual, sum_out, out)

    return run


@overload(floats.rms_norm)
def _rms_norm(  # type: ignore[no-untyped-def]
    x, weight=None, eps=1e-6, residual=None, sum_out=None, out=None, threads=None
):
    do = _norm_run("rms_norm", x, weight, None, residual, sum_out, out)

    def run(x, weight=None, eps=1e-6, residual=None, sum_out=None, out=None, threads=None):  # type: ignore[no-untyped-def]
        return do(x, weight, None, eps, residual, sum_out, out)

    return run


def _map_run(name: str, x: Any, out: Any) -> Callable:
    """``run(x, out)`` of a function of one operand."""
    float_array("x", x)
    has_out, rows_of, worker, number = _checked_out("out", out), rows_function(x), _worker("map"), MAP_NAMES.index(name)

    def run(x, out):  # type: ignore[no-untyped-def]
        if has_out:
            y = out
            if y.shape != x.shape:
                raise ValueError("out must have the shape of x")
        else:
            y = np.empty(x.shape, np.float32)
        if x.size == 0:
            return y
        k = x.shape[-1]
        rows, result = rows_of(x, k), arrays.view_rows(y, k)
        target = _place(result, rows) if has_out else result
        floats_call.map_into(
            number, data_ptr(rows), 4 * k, data_ptr(rows), 4 * k, rows.shape[0], k, data_ptr(target), 4 * k,
            worker(), 0, 1,
        )  # fmt: skip
        keep(rows)
        arrays.deliver(target, result)
        keep(target)
        return y

    return register_jitable(run)


@overload(elementwise.gelu, prefer_literal=True)
def _gelu(x, approximate=None, out=None, threads=None):  # type: ignore[no-untyped-def]
    tanh = literal("approximate", approximate, (None, "tanh"), None) == "tanh"
    do = _map_run("gelu_tanh" if tanh else "gelu", x, out)

    def run(x, approximate=None, out=None, threads=None):  # type: ignore[no-untyped-def]
        return do(x, out)

    return run


@overload(elementwise.silu)
def _silu(x, out=None, threads=None):  # type: ignore[no-untyped-def]
    do = _map_run("silu", x, out)

    def run(x, out=None, threads=None):  # type: ignore[no-untyped-def]
        return do(x, out)

    return run


@overload(elementwise.swiglu)
def _swiglu(gate, up=None, out=None, threads=None):  # type: ignore[no-untyped-def]
    float_array("gate", gate)
    has_up, has_out = _checked("up", up, False), _checked_out("out", out)
    rows_of, up_of = rows_function(gate), rows_function(up if has_up else gate)
    worker, number = _worker("map"), MAP_NAMES.index("swiglu")

    def run(gate, up=None, out=None, threads=None):  # type: ignore[no-untyped-def]
        wide = gate.shape[-1]
        if has_up:
            k = wide
            if up.shape != gate.shape:
                raise ValueError("up must have the shape of gate")
        else:
            k = wide // 2
            if wide % 2 != 0:
                raise ValueError("gate must have an even last axis where up is None")
        shape = gate.shape[:-1] + (k,)  # noqa: RUF005 - numba knows no stars
        if has_out:
            y = out
            if y.shape != shape:
                raise ValueError("out must have the shape of the gate's part")
        else:
            y = np.empty(shape, np.float32)
        if y.size == 0:
            return y
        rows, result = rows_of(gate, wide), arrays.view_rows(y, k)
        others = up_of(up, k) if has_up else rows[:, k:]
        target = _place(result, rows) if has_out else result
        if has_out and has_up:
            target = _place(target, others)
        floats_call.map_into(
            number, data_ptr(rows), 4 * wide, data_ptr(others), 4 * wide, rows.shape[0], k, data_ptr(target), 4 * k,
            worker(), 0, 1,
        )  # fmt: skip
        keep(rows)
        keep(others)
        arrays.deliver(target, result)
        keep(target)
        return y

    return run


@overload(rotaries.rotary, prefer_literal=True)
def _rotary(  # type: ignore[no-untyped-def]
    x, cos, sin, positions=None, offset=0, interleaved=False, out=None, threads=None
):
    for name, value in (("x", x), ("cos", cos), ("sin", sin)):
        float_array(name, value)
        if name != "x" and value.ndim != 2:
            raise TypingError(f"{name} must have 2 dimensions; got {value}")
    has_positions, has_out, rows_of = not absent(positions), _checked_out("out", out), rows_function(x)
    if has_positions and not (isinstance(positions, types.Array) and isinstance(positions.dtype, types.Integer)):
        raise TypingError(f"positions must be an array of integers; got {positions}")
    worker = _worker("rotary")
    axes = x.ndim

    def run(  # type: ignore[no-untyped-def]
        x, cos, sin, positions=None, offset=0, interleaved=False, out=None, threads=None
    ):
        k, half, limit = x.shape[-1], cos.shape[1], cos.shape[0]
        if cos.shape != sin.shape:
            raise ValueError("sin must have the shape of cos")
        if 2 * half > k:
            raise ValueError("cos must have at most half as many columns as x")
        if has_out:
            y = out
            if y.shape != x.shape:
                raise ValueError("out must have the shape of x")
        else:
            y = np.empty(x.shape, np.float32)
        if x.size == 0:
            return y
        rows, result = rows_of(x, k), arrays.view_rows(y, k)
        if has_positions:
            if offset != 0:
                raise ValueError("offset must be 0 where positions are given")
            spread = np.ascontiguousarray(np.broadcast_to(positions, x.shape[:-1]))
            places = spread.astype(np.int64).reshape(spread.size)
        else:
            places = offset + np.arange(x.shape[axes - 2] if axes > 1 else 1)
        for place in places:
            if not 0 <= place < limit:
                raise ValueError("positions must be rows of the tables")
        c, s = np.ascontiguousarray(cos).astype(np.float32), np.ascontiguousarray(sin).astype(np.float32)
        target = _place(result, rows) if has_out else result
        if has_out and (arrays.overlap(target, c) or arrays.overlap(target, s)):
            target = np.empty(result.shape, np.float32)
        floats_call.rotary_into(
            data_ptr(rows), 4 * k, rows.shape[0], k, data_ptr(c), data_ptr(s), 4 * half, half, data_ptr(places),
            places.size, 0, 1 if interleaved else 0, data_ptr(target), 4 * k, worker(), 0, 1,
        )  # fmt: skip
        keep(c)
        keep(s)
        keep(places)
        keep(rows)
        arrays.deliver(target, result)
        keep(target)
        return y

    return run
