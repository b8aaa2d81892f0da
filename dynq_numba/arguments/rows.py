"""The slower way of the float operations: arguments that are not plain are checked and turned into rows of float32."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy import may_share_memory, ndarray

from . import checks
from .checks import F32

BOOL = np.dtype(np.bool_)


def apart(mask: Any, out: Any) -> bool:
    return type(mask) is ndarray is type(out) and not may_share_memory(mask, out)


def canonical(array: np.ndarray) -> np.ndarray:
    """A float32 array as exactly the type numpy.ndarray, with numpy's own float32 object."""
    return np.asarray(array).view(F32)


def float_axes(name: str, value: Any) -> np.ndarray:
    array = checks.float_array(name, value)
    if not array.ndim:
        raise ValueError(f"{name} must have at least one dimension; got {checks.describe(value)}")
    return canonical(array)


def vector(name: str, value: Any, k: int) -> np.ndarray:
    array = float_axes(name, value)
    if array.shape != (k,):
        raise ValueError(f"{name} must have shape {(k,)}, x's last axis; got {array.shape}")
    return np.ascontiguousarray(array)


def same_shape(name: str, value: Any, shape: tuple[int, ...], of: str) -> np.ndarray:
    array = float_axes(name, value)
    if array.shape != shape:
        raise ValueError(f"{name} must have the shape of {of}, {shape}; got {array.shape}")
    return array


def broadcast_mask(mask: Any, x: np.ndarray) -> np.ndarray:
    """A mask broadcast to x."""
    given = checks.mask_array("mask", mask)
    array = given.view(BOOL) if given.dtype == BOOL else canonical(checks.float_array("mask", given))
    try:
        return np.broadcast_to(array, x.shape)
    except ValueError:
        raise ValueError(f"mask must broadcast to the shape of x, {x.shape}; got {array.shape}") from None


def threads_asked(threads: Any) -> int | None:
    return None if threads is None else checks.thread_count("threads", threads)


def check_out(out: Any, shape: tuple[int, ...]) -> None:
    if out is not None:
        checks.out_array(out, F32, shape)


def check_sum(sum_out: Any, residual: np.ndarray | None, out: Any, shape: tuple[int, ...]) -> None:
    if sum_out is None:
        return
    if residual is None:
        raise ValueError("sum_out needs a residual; got None")
    checks.out_array(sum_out, F32, shape, "sum_out")
    if out is not None and may_share_memory(sum_out, out):
        raise ValueError("sum_out and out must not overlap")
