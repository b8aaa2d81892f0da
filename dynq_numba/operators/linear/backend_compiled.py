"""Runs linear layers: the kernels, compiled on first use. `backend_reference` does the same without a compiler.

Arguments are validated and shaped by the caller; every kernel is reached through the entry of one signature.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np
from numba import types

from ...kernels.base.jit import entry
from ...kernels.linear import many as linear_many_call
from ...kernels.linear import many_vectorcall, weights
from ...kernels.objects.view import ADDRESS, NUMBER, VIEW
from ...runtime import builtin, threads
from ...runtime.post_ops import post_ops_address
from ...runtime.signatures import BYTES_2D, FLOAT_MATRIX, FLOATS_2D, INT8_2D, WORD
from .layout import Layout as Layout


# -- linear -------------------------------------------------------------------------------------
def linear(
    x: np.ndarray,
    layout: Layout,
    activation: str | None,
    residual: np.ndarray | None,
    epilogue: Any,
    out: np.ndarray,
    count: int,
) -> None:
    """Fill out [M, N] from x [M, K]; float32, last axes contiguous; `count` threads, 0 chooses."""
    if count > 1 or (count == 0 and len(x) >= layout.rows_for_two):
        threads.ready(count)
    post_ops = 0
    if activation is not None or epilogue is not None or residual is not None:
        post_ops = post_ops_address(activation, epilogue, residual is not None)
    layout.run(x, out, x if residual is None else residual, layout.descriptor, post_ops, count)


_MANY = (VIEW, ADDRESS, WORD, NUMBER, WORD)


@cache
def _many() -> Callable:
    builtin.install("linear_many", many_vectorcall.linear_many_vectorcall)  # only now: few callers need it compiled
    return entry(linear_many_call.linear_many_entry, _MANY)


def linear_many(
    x: np.ndarray, layouts: list[Layout], activation: str | None, outs: list[np.ndarray], count: int
) -> bool:
    """Fill outs [M, Ni], contiguous, from x [M, K], or give False where the layouts do not go together."""
    if count > 1 or (count == 0 and len(x) >= min(layout.rows_for_two for layout in layouts)):
        threads.ready(count)
    post_ops = 0 if activation is None else post_ops_address(activation, None, False)
    table = np.array([*(layout.address for layout in layouts), *(out.ctypes.data for out in outs)], np.int64)
    return bool(_many()(x, table, len(layouts), post_ops, count) == linear_many_call.DONE)


def prepare_post_ops(activation: str | None, epilogue: Any, residual: bool) -> None:
    """Compile post-ops, so that an error of an epilogue that does not compile comes before anything is written."""
    post_ops_address(activation, epilogue, residual)


# -- the pieces ---------------------------------------------------------------------------------
def quantize_weight(weight: np.ndarray, group: int, limit: int, short: bool) -> tuple[np.ndarray, np.ndarray]:
    """int8 [N, K] and scale [N, groups] of float32 weight [N, K]; `short`: scales rounded up to bfloat16."""
    q, scale = _integers(weight, group)
    fill = entry(weights.quantize_weight, (FLOAT_MATRIX, WORD, WORD, types.boolean, FLOATS_2D, INT8_2D))
    fill(weight, group, limit, short, scale, q)
    return q, scale


def search_groups(weight: np.ndarray, group: int, zero_points: bool) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """int8 [N, K], scale and zero point (uint8) [N, groups] of float32 weight [N, K], in 4 bits."""
    q, scale = _integers(weight, group)
    zero = np.empty(scale.shape, np.uint8)
    fill = entry(weights.search_groups, (FLOAT_MATRIX, WORD, types.boolean, FLOATS_2D, BYTES_2D, INT8_2D))
    fill(weight, group, zero_points, scale, zero, q)
    return q, scale, zero


def _integers(weight: np.ndarray, group: int) -> tuple[np.ndarray, np.ndarray]:
    """Room for q and scales."""
    n, k = weight.shape
    return np.empty((n, k), np.int8), np.empty((n, max(1, -(-k // group))), np.float32)
