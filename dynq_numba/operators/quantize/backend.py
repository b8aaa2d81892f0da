"""What quantize and dequantize run on: the kernels, or under NUMBA_DISABLE_JIT=1 the numpy reference."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache

import numpy as np

from ...kernels.base.jit import entry
from ...kernels.isa.base import InstructionSet
from ...kernels.objects.view import ADDRESS, VIEW
from ...kernels.quantize import call as conversion
from ...kernels.quantize import reference
from ...kernels.quantize.context import ConversionDescriptor
from ...runtime import cpu, isa, kernel_table, threads
from ...runtime.backend import choose
from ...runtime.signatures import WORD

_CONVERT = (VIEW, VIEW, ADDRESS, ADDRESS, WORD, WORD, ADDRESS, WORD)


@cache
def converter(operation: str, target: InstructionSet, stream: bool = True) -> tuple[Callable, np.ndarray]:
    """The entry of "quantize" or "dequantize" and its descriptor; `stream`: large results go past the caches."""
    words = ConversionDescriptor.array(
        worker=kernel_table.worker_address(operation, target), pool=threads.POOL,
        last_cache=cpu.last_cache_bytes() if stream else 1 << 60,
    )  # fmt: skip
    return entry(conversion.quantize_entry if operation == "quantize" else conversion.dequantize_entry, _CONVERT), words


def _quantize_compiled(
    x: np.ndarray, symmetric: bool, flip: int, data: np.ndarray, scale: np.ndarray, zero: np.ndarray, count: int = 0
) -> None:
    """Fill byte matrix data, float32 scale and byte zero [M], all flipped, from float32 x [M, K]; `count` threads."""
    if count > 1 or (count == 0 and x.size >= conversion.FOR_TWO):
        threads.ready(count)
    run, words = converter("quantize", isa.active())
    run(x, data, scale, zero, symmetric, flip, words, count)


def _dequantize_compiled(
    data: np.ndarray, scale: np.ndarray, zero: np.ndarray, flip: int, out: np.ndarray, fresh: bool, count: int = 0
) -> None:
    """Fill float32 out [M, K] from bytes; float32 scale [M], zero [M] bytes like data's or int32.

    `fresh`: out is new, so the system clears its pages on the way, which leaves them in the cache.
    """
    if count > 1 or (count == 0 and data.size >= conversion.FOR_TWO):
        threads.ready(count)
    run, words = converter("dequantize", isa.active(), not fresh)
    run(data, out, scale, zero, zero.itemsize, flip, words, count)


def _quantize_reference(
    x: np.ndarray, symmetric: bool, flip: int, data: np.ndarray, scale: np.ndarray, zero: np.ndarray, count: int = 0
) -> None:
    """Fill byte matrix data, float32 scale and byte zero [M], all flipped, from float32 x [M, K]."""
    scale[...], zero_point = reference.row_parameters(x, symmetric)
    data.view(np.uint8)[...] = reference.quantize_rows(x, scale, zero_point, low=int(symmetric)) ^ np.uint8(flip)
    zero.view(np.uint8)[...] = zero_point.astype(np.uint8) ^ np.uint8(flip)


def _dequantize_reference(
    data: np.ndarray, scale: np.ndarray, zero: np.ndarray, flip: int, out: np.ndarray, fresh: bool, count: int = 0
) -> None:
    """Fill float32 out [M, K] from bytes."""
    with np.errstate(all="ignore"):
        out[...] = reference.dequantize(data, scale, zero)


quantize = choose(_quantize_compiled, _quantize_reference)
dequantize = choose(_dequantize_compiled, _dequantize_reference)
