"""What pooling runs on: the kernels, or under NUMBA_DISABLE_JIT=1 the numpy reference."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import cache

import numpy as np

from ...arguments.checks import F32
from ...kernels.base.jit import address, entry
from ...kernels.base.memory import NO_MEMORY, WORKER_SIGNATURE
from ...kernels.objects.view import ADDRESS
from ...kernels.pooling import call, reference
from ...kernels.pooling.context import GlobalPooling, Pooling
from ...runtime import isa, kernel_table, scratch, threads
from ...runtime.backend import choose
from ...runtime.signatures import WORD

Pair = tuple[int, int]
ONES, ZEROS = (1, 1), ((0, 0), (0, 0))


@cache
def step_address(all_of_it: bool = False) -> int:
    """Address of `step(record, threads)` of a Pooling or a GlobalPooling: 0, or 1 where memory is too short."""
    return address(call.global_pooling_step if all_of_it else call.pooling_step, WORKER_SIGNATURE)


@cache
def step_entry(all_of_it: bool = False) -> Callable[[np.ndarray, int], int]:
    """The same step for Python."""
    return entry(call.global_pooling_entry if all_of_it else call.pooling_entry, (ADDRESS, WORD))


def sizes_of(
    size: Pair, taps: Pair, stride: Pair, padding: tuple[Pair, Pair], dilation: Pair, ceil_mode: bool
) -> Pair:
    """Height and width of the result, as ONNX has it: with ceil_mode no window begins behind the image."""
    found = []
    for n, k, step, (before, after), apart in zip(size, taps, stride, padding, dilation, strict=True):
        room = n + before + after - apart * (k - 1) - 1
        count = (-(-room // step) if ceil_mode else room // step) + 1
        if ceil_mode and (count - 1) * step >= n + before:
            count -= 1
        found.append(count)
    return found[0], found[1]


def record(
    x: np.ndarray, out: np.ndarray, average: bool, taps: Pair, stride: Pair, padding: tuple[Pair, Pair],
    dilation: Pair, count_padding: bool,
) -> np.ndarray:  # fmt: skip
    """The Pooling of contiguous float32 x [N, C, H, W] and out [N, C, OH, OW], which must outlive it."""
    (top, bottom), (left, right) = padding
    return Pooling.array(
        worker=kernel_table.worker_address("pooling", isa.active()), pool=threads.POOL, slots=scratch.ADDRESS,
        average=int(average), x=x.ctypes.data, out=out.ctypes.data, planes=x.shape[0] * x.shape[1],
        height=x.shape[2], width=x.shape[3], out_height=out.shape[2], out_width=out.shape[3],
        k_high=taps[0], k_wide=taps[1], step_y=stride[0], step_x=stride[1], top=top, bottom=bottom, left=left,
        right=right, dilate_y=dilation[0], dilate_x=dilation[1], count_padding=int(count_padding),
    )  # fmt: skip


def global_record(x: np.ndarray, out: np.ndarray, average: bool) -> np.ndarray:
    """The GlobalPooling of contiguous float32 x [N, C, …] and out of N·C values, which must outlive it."""
    return GlobalPooling.array(
        worker=kernel_table.worker_address("global_pooling", isa.active()), pool=threads.POOL, average=int(average),
        x=x.ctypes.data, out=out.ctypes.data, planes=x.shape[0] * x.shape[1], values=math.prod(x.shape[2:]),
    )  # fmt: skip


def _compiled(
    x: np.ndarray, out: np.ndarray, average: bool, taps: Pair, stride: Pair, padding: tuple[Pair, Pair],
    dilation: Pair, count_padding: bool, count: int,
) -> None:  # fmt: skip
    threads.ready(count)
    if step_entry()(record(x, out, average, taps, stride, padding, dilation, count_padding), count):
        raise MemoryError(NO_MEMORY)


def _reference(
    x: np.ndarray, out: np.ndarray, average: bool, taps: Pair, stride: Pair, padding: tuple[Pair, Pair],
    dilation: Pair, count_padding: bool, count: int,
) -> None:  # fmt: skip
    sizes = (out.shape[2], out.shape[3])
    out[...] = reference.pool(x, average, taps, sizes, stride, padding, dilation, count_padding)


def _compiled_global(x: np.ndarray, out: np.ndarray, average: bool, count: int) -> None:
    threads.ready(count)
    if step_entry(True)(global_record(x, out, average), count):
        raise MemoryError(NO_MEMORY)


def _reference_global(x: np.ndarray, out: np.ndarray, average: bool, count: int) -> None:
    out[...] = reference.global_pool(x.reshape(out.size, math.prod(x.shape[2:])), average).reshape(out.shape)


_pool = choose(_compiled, _reference)
_global_pool = choose(_compiled_global, _reference_global)


def pool(
    x: np.ndarray, taps: Pair, *, average: bool = False, stride: Pair = ONES, padding: tuple[Pair, Pair] = ZEROS,
    dilation: Pair = ONES, ceil_mode: bool = False, count_padding: bool = False, out: np.ndarray | None = None,
    threads: int = 0,
) -> np.ndarray:  # fmt: skip
    """float32 [N, C, OH, OW] of contiguous float32 x [N, C, H, W]."""
    sizes = sizes_of((x.shape[2], x.shape[3]), taps, stride, padding, dilation, ceil_mode)
    target = np.empty((*x.shape[:2], *sizes), F32) if out is None else out
    _pool(x, target, average, taps, stride, padding, dilation, count_padding, threads)
    return target


def global_pool(
    x: np.ndarray, *, average: bool = False, out: np.ndarray | None = None, threads: int = 0
) -> np.ndarray:  # fmt: skip
    """float32 [N, C, 1, …] of contiguous float32 x [N, C, …]."""
    target = np.empty((*x.shape[:2], *(1,) * (x.ndim - 2)), F32) if out is None else out
    _global_pool(x, target, average, threads)
    return target
