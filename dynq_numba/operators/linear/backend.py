"""What the public functions run on: the kernels, compiled on first use. `uncompiled` is its twin without a compiler.

Arguments are validated and shaped by the caller; every kernel is reached through the entry of one signature.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np
from numba import types
from numba.core.errors import NumbaError

from ...kernels.activations.jitted import ACTIVATIONS
from ...kernels.base import context as at
from ...kernels.base.jit import address, entry
from ...kernels.base.memory import FINISH_SIGNATURE, NO_MEMORY
from ...kernels.gemm.epilogue import finisher, identity
from ...kernels.isa.base import InstructionSet
from ...kernels.linear import many as call_many
from ...kernels.linear import many_vectorcall as quick_many
from ...kernels.linear import weights
from ...kernels.matmul import integer
from ...kernels.objects.view import ADDRESS, VIEW
from ...kernels.quantize import call as conversion
from ...runtime import builtin, cpu, isa, threads
from ...runtime import kernel_table as registry
from ...runtime.signatures import BYTE_MATRIX, BYTES_2D, FLOAT_MATRIX, FLOATS_2D, INT8_2D, INTS, INTS_2D, WORD
from .layout import Layout as Layout

#: Multiply-adds from which a second thread pays in matmul_integer.
PARALLEL_FROM = 4_000_000


# -- linear -------------------------------------------------------------------------------------
def finishing_kernel(activation: str | None, epilogue: Any, residual: bool) -> Callable | None:
    """The jitted finisher for a combination, or None where nothing is to be done."""
    if activation is None and epilogue is None and not residual:
        return None
    first = identity if activation is None else ACTIVATIONS[activation]
    last = identity if epilogue is None else epilogue
    return finisher(first, last, residual=residual, variant=str(activation), cached=epilogue is None)


@cache
def finish_address(activation: str | None, epilogue: Any, residual: bool) -> int:
    finish = finishing_kernel(activation, epilogue, residual)
    if finish is None:
        return 0
    try:
        found = address(finish, FINISH_SIGNATURE)
    except NumbaError as error:
        raise TypeError(f"epilogue must take and return one float32; {epilogue} does not compile: {error}") from error
    if activation is not None and epilogue is None and not residual:
        builtin.know_finisher(activation, found)
    return found


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
    finish = 0
    if activation is not None or epilogue is not None or residual is not None:
        finish = finish_address(activation, epilogue, residual is not None)
    layout.run(x, out, x if residual is None else residual, layout.descriptor, finish, count)


_MANY = (VIEW, ADDRESS, WORD, WORD, WORD)


@cache
def _many() -> Callable:
    builtin.install("linear_many", quick_many.quick_linear_many)  # only now: few callers need it compiled
    return entry(call_many.many_entry, _MANY)


def linear_many(
    x: np.ndarray, layouts: list[Layout], activation: str | None, outs: list[np.ndarray], count: int
) -> bool:
    """Fill outs [M, Ni], contiguous, from x [M, K], or give False where the layouts do not go together."""
    if count > 1 or (count == 0 and len(x) >= min(layout.rows_for_two for layout in layouts)):
        threads.ready(count)
    finish = 0 if activation is None else finish_address(activation, None, False)
    table = np.array([*(layout.address for layout in layouts), *(out.ctypes.data for out in outs)], np.int64)
    return bool(_many()(x, table, len(layouts), finish, count) == call_many.DONE)


def prepare_finish(activation: str | None, epilogue: Any, residual: bool) -> None:
    """Compile a finisher, so that an epilogue that does not compile is told before anything is written."""
    finish_address(activation, epilogue, residual)


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


_CONVERT = (VIEW, VIEW, ADDRESS, ADDRESS, WORD, WORD, ADDRESS, WORD)


@cache
def converter(operation: str, target: InstructionSet, stream: bool = True) -> tuple[Callable, np.ndarray]:
    """The entry of "quantize" or "dequantize" and its descriptor; `stream`: large results go past the caches."""
    words = np.zeros(conversion.DESCRIPTOR_WORDS, np.int64)
    words[at.WORKER], words[at.POOL] = registry.worker_address(operation, target), threads.POOL
    words[conversion.LAST_CACHE] = cpu.last_cache_bytes() if stream else 1 << 60
    return entry(conversion.quantize_entry if operation == "quantize" else conversion.dequantize_entry, _CONVERT), words


def quantize(
    x: np.ndarray, symmetric: bool, flip: int, data: np.ndarray, scale: np.ndarray, zero: np.ndarray, count: int = 0
) -> None:
    """Fill byte matrix data, float32 scale and byte zero [M], all flipped, from float32 x [M, K]; `count` threads."""
    if count > 1 or (count == 0 and x.size >= conversion.FOR_TWO):
        threads.ready(count)
    run, words = converter("quantize", isa.active())
    run(x, data, scale, zero, symmetric, flip, words, count)


def dequantize(
    data: np.ndarray, scale: np.ndarray, zero: np.ndarray, flip: int, out: np.ndarray, fresh: bool, count: int = 0
) -> None:
    """Fill float32 out [M, K] from bytes; float32 scale [M], zero [M] bytes like data's or int32.

    `fresh`: out is new, so the system clears its pages on the way, which leaves them in the cache.
    """
    if count > 1 or (count == 0 and data.size >= conversion.FOR_TWO):
        threads.ready(count)
    run, words = converter("dequantize", isa.active(), not fresh)
    run(data, out, scale, zero, zero.itemsize, flip, words, count)


@cache
def _matmul() -> Callable:
    packed = (WORD, WORD, WORD, WORD)
    return entry(
        integer.matmul_integer, (*packed, BYTE_MATRIX, WORD, INTS, BYTE_MATRIX, WORD, INTS, INTS_2D, WORD)
    )  # fmt: skip


def matmul_integer(a: np.ndarray, b: np.ndarray, a_zero: np.ndarray, b_zero: np.ndarray, out: np.ndarray) -> None:
    """Fill int32 out [M, N] from bytes a [M, K], b [K, N] and their int32 zero points."""
    target: InstructionSet = isa.active()
    (m, k), n = a.shape, b.shape[1]
    count = 1
    if m * n * k >= PARALLEL_FROM:
        count = threads.get_num_threads()
        threads.ready(count)
    flip_a, flip_b = (128 if a.dtype == np.int8 else 0), (128 if b.dtype == np.uint8 else 0)
    fine = _matmul()(
        registry.worker_address("matmul_integer", target), threads.POOL,
        target.columns, target.k_per_word,
        np.ascontiguousarray(a).view(np.uint8), flip_a, a_zero + flip_a,
        b.view(np.uint8), flip_b, b_zero - flip_b,
        out, count,
    )  # fmt: skip
    if not fine:
        raise MemoryError(NO_MEMORY)
