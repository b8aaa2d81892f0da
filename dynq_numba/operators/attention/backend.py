"""Runs attention: the kernel, compiled on first use, or its numpy reference if nothing is compiled."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache

import numpy as np
from numba import types

from ...kernels.attention import call, reference
from ...kernels.attention.context import AttentionDescriptor
from ...kernels.attention.emit import max_vectors
from ...kernels.base.jit import entry
from ...kernels.base.memory import NO_MEMORY
from ...kernels.isa.base import InstructionSet
from ...kernels.objects.view import ADDRESS
from ...runtime import isa, kernel_table, threads
from ...runtime.backend import choose
from ...runtime.signatures import WORD

_FLOATS_4D = types.Array(types.float32, 4, "A")
_ARRAYS = (_FLOATS_4D, _FLOATS_4D, _FLOATS_4D, _FLOATS_4D)
#: The operation of the kernel table for each `bits`.
OPERATIONS = {None: "attention", 8: "attention_int8"}
_OPTIONS = (WORD, types.float64, ADDRESS, WORD)


@cache
def descriptor(target: InstructionSet, bits: int | None) -> np.ndarray:
    """What stays the same from call to call."""
    return AttentionDescriptor.array(
        worker=kernel_table.worker_address(OPERATIONS[bits], target), pool=threads.POOL,
        most_vectors=max_vectors(target), decodes=bits is None,
    )  # fmt: skip


@cache
def _plain() -> Callable:
    return entry(call.attend_entry, (*_ARRAYS, *_OPTIONS))


@cache
def _masked() -> Callable:
    return entry(call.attend_masked_entry, (*_ARRAYS, ADDRESS, WORD, WORD, WORD, WORD, ADDRESS, WORD, *_OPTIONS))


def _compiled(
    q: np.ndarray,
    k: np.ndarray,
    v: np.ndarray,
    out: np.ndarray,
    mask: np.ndarray | None,
    seen: np.ndarray | None,
    causal: bool,
    scale: float,
    count: int,
    bits: int | None,
) -> None:
    """Fill out [B, H, S, Dv] from q, k, v of four axes, last axes contiguous; `count` threads, 0 chooses.

    mask [B, H, S, T], boolean or float32, last axis contiguous; seen [B], int64, C contiguous: keys of each batch.
    """
    if count != 1:
        batch, heads, rows, dim = q.shape
        if count or batch * heads * rows * k.shape[2] * (dim + v.shape[3]) >= call.FOR_TWO:
            threads.ready(count)
    words = descriptor(isa.active(), bits)
    if mask is None and seen is None:
        fine = _plain()(q, k, v, out, causal, scale, words, count)
    else:
        strides = (0, 0, 0, 0) if mask is None else (mask.itemsize, *mask.strides[:3])
        fine = _masked()(
            q, k, v, out, words if mask is None else mask, *strides, words if seen is None else seen, seen is not None,
            causal, scale, words, count,
        )  # fmt: skip
    if not fine:
        raise MemoryError(NO_MEMORY)


def _uncompiled(
    q: np.ndarray,
    k: np.ndarray,
    v: np.ndarray,
    out: np.ndarray,
    mask: np.ndarray | None,
    seen: np.ndarray | None,
    causal: bool,
    scale: float,
    count: int,
    bits: int | None,
) -> None:
    """The same by the reference."""
    lengths = np.full(q.shape[0], k.shape[2]) if seen is None else seen
    bias = mask
    if mask is not None and mask.dtype == np.bool_:
        bias = np.where(mask, np.float32(0), np.float32(-np.inf))
    limits = reference.limits(lengths, q.shape[2], causal)
    out[...] = reference.attention(q, k, v, np.float32(scale), bias, limits, bits)


attention = choose(_compiled, _uncompiled)
