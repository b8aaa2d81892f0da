"""gelu, silu, swiglu and rotary inside compiled code (see njit_norms.py). Tables for rotary are made outside."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numba import types
from numba.core.errors import TypingError

from ...kernels.base.memory import data_ptr, keep, null
from ...kernels.objects import arrays
from ...kernels.rowwise import call as floats_call
from ...kernels.rowwise.intrinsics import MAP_NAMES
from ...njit.arguments import absent, float_array, literal, out_array, result_function, rows_function
from ...njit.overloads import jitable, overload_of
from . import elementwise
from . import rotary as rotaries
from .njit_norms import given_array, place_for, worker_of


def _map_run(name: str, x: Any, out: Any) -> Callable:
    """``run(x, out)`` of a function of one operand."""
    float_array("x", x)
    has_out, rows_of = out_array(out), rows_function(x)
    result_of = result_function(has_out)
    worker, number = worker_of("map"), MAP_NAMES.index(name)

    def run(x, out):  # type: ignore[no-untyped-def]
        y = result_of(out, x.shape, np.float32)
        if x.size == 0:
            return y
        k = x.shape[-1]
        rows, result = rows_of(x, k), arrays.view_rows(y, k)
        target = place_for(result, rows) if has_out else result
        floats_call.map_into(
            number, data_ptr(rows), 4 * k, data_ptr(rows), 4 * k, rows.shape[0], k, data_ptr(target), 4 * k,
            worker(), null(), 1,
        )  # fmt: skip
        keep(rows)
        arrays.deliver(target, result)
        keep(target)
        return y

    return jitable(run)


@overload_of(elementwise.gelu, prefer_literal=True)
def gelu_overload(x, approximate=None, out=None, threads=None):  # type: ignore[no-untyped-def]
    tanh = literal("approximate", approximate, (None, "tanh"), None) == "tanh"
    do = _map_run("gelu_tanh" if tanh else "gelu", x, out)

    def run(x, approximate=None, out=None, threads=None):  # type: ignore[no-untyped-def]
        return do(x, out)

    return run


@overload_of(elementwise.silu)
def silu_overload(x, out=None, threads=None):  # type: ignore[no-untyped-def]
    do = _map_run("silu", x, out)

    def run(x, out=None, threads=None):  # type: ignore[no-untyped-def]
        return do(x, out)

    return run


@overload_of(elementwise.swiglu)
def swiglu_overload(gate, up=None, out=None, threads=None):  # type: ignore[no-untyped-def]
    float_array("gate", gate)
    has_up, has_out = given_array("up", up, False), out_array(out)
    result_of = result_function(has_out)
    rows_of, up_of = rows_function(gate), rows_function(up if has_up else gate)
    worker, number = worker_of("map"), MAP_NAMES.index("swiglu")

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
        y = result_of(out, shape, np.float32)
        if y.size == 0:
            return y
        rows, result = rows_of(gate, wide), arrays.view_rows(y, k)
        others = up_of(up, k) if has_up else rows[:, k:]
        target = place_for(result, rows) if has_out else result
        if has_out and has_up:
            target = place_for(target, others)
        floats_call.map_into(
            number, data_ptr(rows), 4 * wide, data_ptr(others), 4 * wide, rows.shape[0], k, data_ptr(target), 4 * k,
            worker(), null(), 1,
        )  # fmt: skip
        keep(rows)
        keep(others)
        arrays.deliver(target, result)
        keep(target)
        return y

    return run


@overload_of(rotaries.rotary, prefer_literal=True)
def rotary_overload(  # type: ignore[no-untyped-def]
    x, cos, sin, positions=None, offset=0, interleaved=False, out=None, threads=None
):
    for name, value in (("x", x), ("cos", cos), ("sin", sin)):
        float_array(name, value)
        if name != "x" and value.ndim != 2:
            raise TypingError(f"{name} must have 2 dimensions; got {value}")
    has_positions, has_out, rows_of = not absent(positions), out_array(out), rows_function(x)
    result_of = result_function(has_out)
    if has_positions and not (isinstance(positions, types.Array) and isinstance(positions.dtype, types.Integer)):
        raise TypingError(f"positions must be an array of integers; got {positions}")
    worker = worker_of("rotary")
    axes = x.ndim

    def run(  # type: ignore[no-untyped-def]
        x, cos, sin, positions=None, offset=0, interleaved=False, out=None, threads=None
    ):
        k, half, limit = x.shape[-1], cos.shape[1], cos.shape[0]
        if cos.shape != sin.shape:
            raise ValueError("sin must have the shape of cos")
        if 2 * half > k:
            raise ValueError("cos must have at most half as many columns as x")
        y = result_of(out, x.shape, np.float32)
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
        target = place_for(result, rows) if has_out else result
        if has_out and (arrays.overlap(target, c) or arrays.overlap(target, s)):
            target = np.empty(result.shape, np.float32)
        floats_call.rotary_into(
            data_ptr(rows), 4 * k, rows.shape[0], k, data_ptr(c), data_ptr(s), 4 * half, half, data_ptr(places),
            places.size, 0, 1 if interleaved else 0, data_ptr(target), 4 * k, worker(), null(), 1,
        )  # fmt: skip
        keep(c)
        keep(s)
        keep(places)
        keep(rows)
        arrays.deliver(target, result)
        keep(target)
        return y

    return run
