"""From arrays to a running worker: fill a context, choose the cut, go. Callable from Python and from jitted code.

    descriptor   int64 [DESCRIPTOR_WORDS], one per packed weight and instruction set (built by dynq_numba.packed):
                 addresses of the worker and of the packed arrays, and the sizes that go with them
"""

from __future__ import annotations

import numpy as np

from .blocking import cut, worthwhile_threads
from .jit import kernel
from .linear import (
    COLUMN_TASKS,
    CONTEXT_WORDS,
    COUNTERS,
    DESCRIPTOR_WORDS,
    FINISH,
    FIXED_PARAMETERS,
    L2_BYTES,
    MR,
    NR,
    OUT,
    OUT_STRIDE,
    PANEL_STRIDE,
    PER_TENSOR,
    REGION,
    RESIDUAL,
    RESIDUAL_STRIDE,
    ROW_BLOCK,
    ROW_TASKS,
    STRIP_PANELS,
    THREADS,
    X_STRIDE,
    K,
    M,
    N,
    X,
    row_parameters,
)
from .memory import (
    data_ptr,
    keep,
    null,
    offset,
    store_f32,
    store_i32,
    store_ptr,
)
from .parallel import LINE, run, thread_setting
from .quantize import range_of_row


@kernel
def tensor_parameters(x):
    """One scale and zero point for all of x [M, K]."""
    lo, hi, total = np.float32(0), np.float32(0), np.float32(0)
    bounds = np.empty(3, np.float32)
    for r in range(x.shape[0]):
        range_of_row(x, r, bounds)
        lo, hi = min(lo, bounds[0]), max(hi, bounds[1])
        if bounds[2] != bounds[2]:
            total = np.float32(np.nan)
    return row_parameters(lo, hi, total)


@kernel
def linear_into(x, out, residual, residual_stride, descriptor, finish, threads):
    """out [M, N] = finish(x [M, K] · packed weight): float32, last axes contiguous; `finish` is an address or 0.

    `residual` is an address (NULL for none) of rows `residual_stride` bytes apart; `threads` 0 chooses.
    """
    m, n, k = x.shape[0], descriptor[N], descriptor[K]
    if m == 0 or n == 0:
        return
    panels = (n + descriptor[NR] - 1) // descriptor[NR]
    stride = descriptor[PANEL_STRIDE]
    if threads == 0:
        threads = worthwhile_threads(m, n, k, panels * stride, thread_setting(descriptor[REGION]))
    context = np.zeros(CONTEXT_WORDS + LINE * threads, np.int64)
    words = data_ptr(context)
    for i in range(DESCRIPTOR_WORDS):
        context[i] = descriptor[i]
    row_tasks, column_tasks, row_block, strip_panels = cut(
        m, panels, descriptor[MR], stride, threads, descriptor[L2_BYTES]
    )
    context[M] = m
    store_ptr(words, X, data_ptr(x))
    context[X_STRIDE] = x.strides[0]
    store_ptr(words, OUT, data_ptr(out))
    context[OUT_STRIDE] = out.strides[0]
    store_ptr(words, RESIDUAL, residual)
    context[RESIDUAL_STRIDE] = residual_stride
    context[FINISH] = finish
    fixed = np.empty(2, np.int32)
    store_ptr(words, FIXED_PARAMETERS, null())
    if descriptor[PER_TENSOR]:
        scale, zero_point = tensor_parameters(x)
        store_f32(data_ptr(fixed), 0, scale)
        store_i32(data_ptr(fixed), 1, zero_point)
        store_ptr(words, FIXED_PARAMETERS, data_ptr(fixed))
    context[ROW_TASKS], context[COLUMN_TASKS] = row_tasks, column_tasks
    context[ROW_BLOCK], context[STRIP_PANELS] = row_block, strip_panels
    threads = min(threads, row_tasks * column_tasks)
    context[THREADS] = threads
    store_ptr(words, COUNTERS, offset(words, 8 * CONTEXT_WORDS))
    run(words, threads)
    keep(context)
    keep(fixed)
    keep(x)
    keep(out)
    keep(descriptor)


@kernel
def plain(x, out, descriptor, finish, threads):
    """Entry without a residual; `finish` is an address or 0."""
    linear_into(x, out, null(), 0, descriptor, finish, threads)


@kernel
def with_residual(x, out, residual, descriptor, finish, threads):
    """Entry with a residual [M, N], last axis contiguous."""
    linear_into(x, out, data_ptr(residual), residual.strides[0], descriptor, finish, threads)
    keep(residual)
