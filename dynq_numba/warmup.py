"""Compile everything ahead, so that no later call does: for container images and servers."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import get_args

import numpy as np

from .arguments import checks
from .arguments.literals import Activation
from .kernels.base.jit import JIT_ENABLED, cache_directory
from .operators.attention.api import attention
from .operators.chain import step
from .operators.chain.api import Chain
from .operators.conv.api import conv
from .operators.conv.packed import pack_conv
from .operators.embedding.api import embedding, embedding_bag
from .operators.embedding.packed import pack_embedding
from .operators.linear import api as ops
from .operators.linear.many import linear_many
from .operators.linear.pack import pack_linear
from .operators.matmul import integer
from .operators.matmul.api import quantized_matmul
from .operators.quantize import api as quantization
from .operators.recurrent.api import gru, lstm, rnn
from .operators.recurrent.pack import pack_gru, pack_lstm, pack_rnn
from .operators.rowwise import elementwise
from .operators.rowwise import norms as floats
from .operators.rowwise.rotary import rotary
from .runtime import isa
from .runtime import kernel_table as registry
from .runtime.compiling import silently


def _steps() -> Iterator[tuple[str, Callable[[], object]]]:
    """What there is to compile, by name."""
    target = isa.active()
    for kernel in registry.kernels().values():
        if kernel.isa is target:
            yield kernel.name, partial(registry.worker_address, kernel.operation, kernel.isa, kernel.scheme)
    x = np.ones((2, 64), np.float32)
    w = pack_linear(x)
    residual = np.ones((2, 2), np.float32)
    yield "packing in groups", lambda: [pack_linear(x, bits=b, granularity="per_group").qweight for b in (8, 4)]
    yield "packing with zero points", lambda: pack_linear(x, bits=4, granularity="per_group", symmetric=False).qweight
    yield "linear", lambda: [ops.linear(x, w, threads=t) for t in (1, 2)]
    yield "linear, residual", lambda: ops.linear(x, w, residual=residual)
    for name in get_args(Activation):
        yield f"linear, {name}", partial(ops.linear, x, w, activation=name)
        yield f"linear, {name}, residual", partial(ops.linear, x, w, activation=name, residual=residual)
    yield "linear_many", lambda: [linear_many(x, [w, w], threads=t) for t in (1, 2)]
    yield "matmul", lambda: [quantized_matmul(x, x.T, threads=t) for t in (1, 2)]
    taps = pack_conv(np.ones((2, 2, 1, 1), np.float32))
    yield "conv", lambda: [conv(np.ones((2, 2, 2), np.float32), taps, threads=t) for t in (1, 2)]
    chain = Chain({"a": step.Linear(w), "y": step.Linear(w, x="x")}, "y")
    yield "Chain", lambda: [chain(np.ones((m, 64), np.float32), threads=2) for m in (1, 200)]
    yield "quantize, dequantize", lambda: quantization.dequantize(quantization.quantize(x))
    yield "softmax, norms", lambda: [f(x) for f in (floats.softmax, floats.layer_norm, floats.rms_norm)]
    yield "gelu, swiglu, rotary", lambda: [
        elementwise.gelu(x), elementwise.swiglu(x), rotary(x, x[:, :32], x[:, :32]),
    ]  # fmt: skip
    whole = np.ones((2, 2), np.int8)
    yield "matmul_integer", lambda: integer.matmul_integer(whole, whole)
    table, ids = pack_embedding(x), np.zeros((1, 2), np.int64)
    yield "embedding", lambda: [embedding(ids, table), *(embedding_bag(ids, None, table, m) for m in ("sum", "max"))]
    steps, wide = np.ones((1, 1, 2), np.float32), np.ones((4, 2), np.float32)
    yield "lstm, gru, rnn", lambda: [
        lstm(steps, pack_lstm(np.tile(wide, (2, 1)), np.tile(wide, (2, 1)), layout="onnx")),
        rnn(steps, pack_rnn(wide[:2], wide[:2])),
        *(gru(steps, pack_gru(*[np.ones((6, 2))] * 2, linear_before_reset=b, layout="onnx")) for b in (False, True)),
    ]  # fmt: skip
    q = np.ones((1, 1, 2, 2), np.float32)
    yield "attention", lambda: [attention(q, q, q, mask=m, threads=2) for m in (None, np.ones((2, 2), bool))]


def _share(index: int, jobs: int) -> None:
    """Every `jobs`-th step, from `index` on."""
    with silently():
        for i, (_, build) in enumerate(_steps()):
            if i % jobs == index:
                build()


def _in_processes(jobs: int) -> None:
    """Share the steps between processes, which leave what they compile in the disk cache."""
    package = Path(__file__).parent
    paths = [str(package.parent), *filter(None, [os.environ.get("PYTHONPATH")])]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(paths), "DYNQ_ISA": isa.active().name}
    code = f"import sys; from {__name__} import _share; _share(*map(int, sys.argv[1:]))"
    children = [
        subprocess.Popen([sys.executable, "-c", code, str(i), str(jobs)], env=environment, stderr=subprocess.PIPE)
        for i in range(jobs)
    ]
    said = [child.communicate()[1] for child in children]
    for child, errors in zip(children, said, strict=True):
        if child.returncode:
            raise RuntimeError(f"a process of warmup(jobs={jobs}) failed:\n{errors.decode(errors='replace')}")


def warmup(*, progress: Callable[[str], object] | None = None, jobs: int = 1) -> float:
    """Compile, or load from the disk cache, every kernel of the instruction set in force, and what leads to it.

    Not: a user's own epilogues and jitted functions, and recurrent layers with other activations than the default, or a
    clip, peepholes, coupled gates or a projection, whose cells are made when one is packed.

    Parameters
    ----------
    progress : callable, optional
        Called with the name of each step before it starts, such as ``print``.
    jobs : int, default 1
        Processes that compile at the same time where there is a disk cache; this one then loads from it.

    Returns
    -------
    float
        Seconds it took (0 under NUMBA_DISABLE_JIT=1, where there is nothing to do).

    Raises
    ------
    TypeError, ValueError
        When progress is not callable, or jobs no positive integer.
    RuntimeError
        When one of the processes failed; with what it said.

    Examples
    --------
    >>> warmup() > 0
    True
    """
    if progress is not None and not callable(progress):
        raise TypeError(f"progress must be callable or None; got {progress!r}")
    if isinstance(jobs, bool) or not isinstance(jobs, (int, np.integer)):
        raise TypeError(f"jobs must be a positive integer; got {checks.describe(jobs)}")
    if jobs < 1:
        raise ValueError(f"jobs must be a positive integer; got {jobs}")
    start = time.perf_counter()
    if not JIT_ENABLED:
        return 0.0
    if jobs > 1 and cache_directory():
        _in_processes(jobs)
    with silently():
        steps = list(_steps())
        for i, (name, build) in enumerate(steps, 1):
            if progress is not None:
                progress(f"[{i}/{len(steps)}] {name}")
            build()
    return time.perf_counter() - start
