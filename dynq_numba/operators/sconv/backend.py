"""What float32 convolutions run on: the kernels, or under NUMBA_DISABLE_JIT=1 the numpy reference."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache

import numpy as np

from ...arguments.checks import F32
from ...kernels.activations.reference import ACTIVATIONS
from ...kernels.base.jit import address, entry
from ...kernels.base.memory import NO_MEMORY, WORKER_SIGNATURE
from ...kernels.objects.view import ADDRESS
from ...kernels.sconv import call, reference
from ...kernels.sconv.reference_winograd import winograd
from ...runtime import threads
from ...runtime.backend import choose
from ...runtime.post_ops import post_ops_address
from ...runtime.signatures import WORD
from .pack import TILES, FloatConvWeight


@cache
def step_address() -> int:
    """Address of the step: ``step(record, threads)`` of a FloatConv; 0, or 1 where memory is too short."""
    return address(call.convolution_step, WORKER_SIGNATURE)


@cache
def step_entry() -> Callable[[np.ndarray, int], int]:
    """The step for Python."""
    return entry(call.convolution_entry, (ADDRESS, WORD))


def _compiled(
    x: np.ndarray, w: FloatConvWeight, out: np.ndarray, residual: np.ndarray | None, activation: str | None, count: int
) -> None:
    threads.ready(count)
    post_ops = post_ops_address(activation, None, residual is not None)
    if step_entry()(w.record(x, out, residual, post_ops), count):
        raise MemoryError(NO_MEMORY)


def _reference(
    x: np.ndarray, w: FloatConvWeight, out: np.ndarray, residual: np.ndarray | None, activation: str | None, count: int
) -> None:
    geometry = w.geometry
    if w.way in TILES:
        y = winograd(TILES[w.way], x, w.weight, w.bias, geometry.padding)
    else:
        y = reference.convolve(
            x, w.weight, w.bias, geometry.stride, geometry.padding, geometry.dilation, geometry.groups
        )  # fmt: skip
    y = y if activation is None else ACTIVATIONS[activation](y)
    out[...] = y if residual is None else y + residual


_convolve = choose(_compiled, _reference)


def convolve(
    x: np.ndarray, w: FloatConvWeight, *, residual: np.ndarray | None = None, activation: str | None = None,
    out: np.ndarray | None = None, threads: int = 0,
) -> np.ndarray:  # fmt: skip
    """activation(x * w + bias) + residual, float32 [N, O, OH, OW], of contiguous float32 x [N, C, H, W]."""
    if out is None:
        sizes = w.geometry.output((x.shape[2], x.shape[3]), (w.weight.shape[2], w.weight.shape[3]))
        out = np.empty((len(x), len(w.weight), *sizes), F32)
    _convolve(x, w, out, residual, activation, threads)
    return out
