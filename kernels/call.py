"""From arrays to a running worker: fill a context, choose the cut, go. Callable from Python and from jitted code.

    x          float32 [M, K], rows of any stride, last axis contiguous (as of `out` and `residual`)
    descriptor int64 [DESCRIPTOR_WORDS], see context.py

The arrays are kept alive by the caller for the length of the call; nothing is kept beyond it.
"""

from __future__ import annotations

import numpy as np

from . import context as at
from .blocking import cut, worthwhile_threads
from .jit import kernel
from .memory import data_ptr, keep, load_int, load_ptr, null, offset, store_f32, store_i32, store_ptr
from .parallel import LINE, SETTING, run
from .quantize import tensor_parameters


@kernel
def linear_into(x, out, residual, residual_stride, descriptor, finish, threads):
    """out [M, N] = finish(x [M, K] · packed weight): float32, last axes contiguous; `finish` is an address or 0.

    `residual` is an address (NULL for none) of rows `residual_stride` bytes apart; `threads` 0 chooses.
    """
    m, n, k = x.shape[0], descriptor[at.N], descriptor[at.K]
    if m == 0 or n == 0:
        return
    panels = (n + descriptor[at.NR] - 1) // descriptor[at.NR]
    stride = descriptor[at.PANEL_STRIDE]
    if threads == 0:
        threads = worthwhile_threads(m, n, k, panels * stride)
        if threads > 1:
            threads = min(threads, load_int(load_ptr(data_ptr(descriptor), at.POOL), SETTING))
    context = np.zeros(at.SIZE + LINE * threads, np.int64)
    words = data_ptr(context)
    for i in range(at.DESCRIPTOR_WORDS):
        context[i] = descriptor[i]
    row_tasks, column_tasks, row_block, strip_panels = cut(
        m, panels, descriptor[at.MR], stride, threads, descriptor[at.L2_BYTES]
    )
    context[at.M] = m
    store_ptr(words, at.X, data_ptr(x))
    context[at.X_STRIDE] = x.strides[0]
    store_ptr(words, at.OUT, data_ptr(out))
    context[at.OUT_STRIDE] = out.strides[0]
    store_ptr(words, at.RESIDUAL, residual)
    context[at.RESIDUAL_STRIDE] = residual_stride
    context[at.FINISH] = finish
    if descriptor[at.PER_TENSOR]:
        scale, zero_point = tensor_parameters(x)
        fixed = offset(words, 8 * at.SCRATCH)
        store_f32(fixed, 0, scale)
        store_i32(fixed, 1, zero_point)
        store_ptr(words, at.FIXED_PARAMETERS, fixed)
    context[at.ROW_TASKS], context[at.COLUMN_TASKS] = row_tasks, column_tasks
    context[at.ROW_BLOCK], context[at.STRIP_PANELS] = row_block, strip_panels
    tasks = row_tasks * column_tasks
    threads = min(threads, tasks)
    context[at.THREADS] = threads
    store_ptr(words, at.COUNTERS, offset(words, 8 * at.SIZE))
    run(words, threads, tasks)
    keep(context)
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
