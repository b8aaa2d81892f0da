"""Compile everything ahead, so that no later call does: for container images and servers."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from functools import partial

import numpy as np

from . import elementwise, floats, ops, quantization
from .attention import attention
from .convolution import conv
from .kernels.jit import JIT_ENABLED
from .kernels.reference_activations import ACTIVATIONS
from .packed_convolution import pack_conv
from .packing import pack_linear
from .rotary import rotary
from .runtime import isa, registry


def _steps() -> Iterator[tuple[str, Callable[[], object]]]:
    """What there is to compile, by name."""
    target = isa.active()
    for kernel in registry.kernels().values():
        if kernel.isa is target:
            yield kernel.name, partial(registry.worker_address, kernel.operation, kernel.isa, kernel.scheme)
    x = np.ones((2, 64), np.float32)
    w = pack_linear(x)
    residual = np.ones((2, 2), np.float32)
    yield "linear", lambda: [ops.linear(x, w, threads=t) for t in (1, 2)]
    yield "linear, residual", lambda: ops.linear(x, w, residual=residual)
    for name in ACTIVATIONS:
        yield f"linear, {name}", partial(ops.linear, x, w, activation=name)
        yield f"linear, {name}, residual", partial(ops.linear, x, w, activation=name, residual=residual)
    taps = pack_conv(np.ones((2, 2, 1, 1), np.float32))
    yield "conv", lambda: [conv(np.ones((2, 2, 2), np.float32), taps, threads=t) for t in (1, 2)]
    yield "quantize, dequantize", lambda: quantization.dequantize(quantization.quantize(x))
    yield "softmax, norms", lambda: [f(x) for f in (floats.softmax, floats.layer_norm, floats.rms_norm)]
    yield "gelu, swiglu, rotary", lambda: [
        elementwise.gelu(x), elementwise.swiglu(x), rotary(x, x[:, :32], x[:, :32]),
    ]  # fmt: skip
    ones = np.ones((2, 2), np.int8)
    yield "matmul_integer", lambda: quantization.matmul_integer(ones, ones)
    q = np.ones((1, 1, 2, 2), np.float32)
    yield "attention", lambda: [attention(q, q, q, mask=m, threads=2) for m in (None, np.ones((2, 2), bool))]


def warmup(*, progress: Callable[[str], object] | None = None) -> float:
    """Compile, or load from the disk cache, every kernel of the instruction set in force.

    Parameters
    ----------
    progress : callable, optional
        Called with the name of each step before it starts, such as ``print``.

    Returns
    -------
    float
        Seconds it took (0 under NUMBA_DISABLE_JIT=1, where there is nothing to do).

    Raises
    ------
    TypeError
        When progress is not callable.

    Examples
    --------
    >>> warmup() > 0
    True
    """
    if progress is not None and not callable(progress):
        raise TypeError(f"progress must be callable or None; got {progress!r}")
    start = time.perf_counter()
    if not JIT_ENABLED:
        return 0.0
    steps = list(_steps())
    for i, (name, step) in enumerate(steps, 1):
        if progress is not None:
            progress(f"[{i}/{len(steps)}] {name}")
        step()
    return time.perf_counter() - start
