"""What float32 products run on: the kernels, or under NUMBA_DISABLE_JIT=1 the numpy reference."""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np

from ...kernels.base.jit import address
from ...kernels.base.memory import NO_MEMORY, WORKER_SIGNATURE
from ...kernels.base.status import FINE
from ...kernels.isa.base import InstructionSet
from ...kernels.sgemm import call, reference
from ...kernels.sgemm.context import AXES, Multiplier, Product
from ...runtime import cpu, isa, kernel_table, scratch, threads
from ...runtime.backend import choose
from .pack import pack_matrix


@cache
def multiplier(target: InstructionSet) -> np.ndarray:
    """What a Product's `multiplier` points to on an instruction set; it lives as long as the process."""
    kernel = kernel_table.kernel_for("sgemm", target)
    return Multiplier.array(
        worker=kernel_table.worker_address("sgemm", target), pool=threads.POOL,
        nr=kernel.form.columns, mr=kernel.form.max_rows, l2_bytes=cpu.l2_bytes(), slots=scratch.ADDRESS,
    )  # fmt: skip


@cache
def step_address() -> int:
    """Address of the step: ``step(product, threads)``; 0, or 1 where memory is too short."""
    return address(call.product_step, WORKER_SIGNATURE)


@cache
def step() -> Callable[[int, int], int]:
    """The step for Python, of a Product's address and threads. Not an entry: that would be compiled for this alone."""
    return ctypes.CFUNCTYPE(ctypes.c_int64, ctypes.c_void_p, ctypes.c_int64)(step_address())


def record(
    a: np.ndarray,
    b: np.ndarray,
    out: np.ndarray,
    *,
    target: InstructionSet,
    bias: np.ndarray | None = None,
    residual: np.ndarray | None = None,
    post_ops: int = 0,
    panels: np.ndarray | None = None,
) -> np.ndarray:
    """The Product of arrays: a […, M, K], b […, K, N] or its `panels`, out […, M, N] with contiguous columns.

    Leading axes of a, b and residual broadcast to those of out, at most AXES. The caller keeps the arrays.
    """
    batch, values = out.shape[:-2], dict.fromkeys(Product.kinds, 0)
    shaped: dict[str, Any] = {"a": a, "b": b, "out": out}
    if residual is not None:
        shaped["residual"] = residual
    for name, array in shaped.items():
        whole = np.broadcast_to(array, (*batch, *array.shape[-2:]))
        values[name], values[f"{name}_row"] = whole.ctypes.data, whole.strides[-2]
        for axis, stride in enumerate(whole.strides[:-2], AXES - len(batch)):
            values[f"{name}_{axis}"] = stride
    for axis, length in enumerate((1,) * (AXES - len(batch)) + batch):
        values[f"axis_{axis}"] = length
    values |= {"m": a.shape[-2], "k": a.shape[-1], "n": out.shape[-1], "post_ops": post_ops,
               "a_column": a.strides[-1], "b_column": b.strides[-1],
               "multiplier": multiplier(target).ctypes.data}  # fmt: skip
    if panels is not None:
        values |= {"b": panels.ctypes.data, "packed": 1}
    if bias is not None:
        values["bias"] = bias.ctypes.data
    return Product.array(**values)


def _compiled(
    a: np.ndarray, b: np.ndarray, out: np.ndarray, bias: np.ndarray | None, packed: bool, count: int
) -> None:
    target = isa.active()
    threads.ready(count)
    panels = pack_matrix(b, kernel_table.kernel_for("sgemm", target).form) if packed else None
    words = record(a, b, out, target=target, bias=bias, panels=panels)
    if step()(words.ctypes.data, count) != FINE:
        raise MemoryError(NO_MEMORY)


def _reference(
    a: np.ndarray, b: np.ndarray, out: np.ndarray, bias: np.ndarray | None, packed: bool, count: int
) -> None:
    out[...] = reference.product(a, b, bias)


#: Fill float32 out […, M, N], columns contiguous, from a […, M, K], b […, K, N] (any strides) and bias [N] or None;
#: `packed`: b [K, N] as a constant is.
product = choose(_compiled, _reference)
