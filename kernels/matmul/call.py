"""From arrays to a running batch of products (see worker.py): fill a context, choose threads and tasks, run."""

from __future__ import annotations

from ..base.context import Context, new_context
from ..base.jit import kernel
from ..base.memory import insist
from ..gemm.pack import padded_length
from ..isa.base import K_STEP
from ..threads.partition import BYTES_PER_US, MACS_PER_US, WORTH_US
from ..threads.pool import run, worthwhile
from .context import MatmulContext, MatmulDescriptor, Products

#: Tasks for each thread, at least.
TASKS = 2
#: The least microseconds to give a thread where a product's columns are shared: each thread quantizes all of its rows.
CUT_WORTH_US = 2.0


@kernel
def estimate(m, n, k, products):
    """Microseconds that one thread needs, about: the dots, and reading, converting and laying out both sides."""
    return products * (m * n * k / MACS_PER_US + 4 * (m + 4 * n) * k / BYTES_PER_US)


@kernel
def matmul_into(a, b, out, sizes, descriptor, threads):
    """out[i] = a[i] · b[i], float32; `sizes` are Products, `threads` 0 chooses."""
    descriptor, given = MatmulDescriptor(descriptor), Products(sizes)
    m, n, k = given.m, given.n, given.k
    products = given.outer * given.inner
    if m == 0 or n == 0 or products == 0:
        return
    pool, nr = descriptor.pool, descriptor.nr
    least = WORTH_US if products >= 2 * TASKS else CUT_WORTH_US
    threads = worthwhile(pool, threads, estimate(m, n, k, products), least)
    panels, stride = (n + nr - 1) // nr, padded_length(k) * nr
    parts = 1
    if products < TASKS * threads and threads > 1:
        parts = min(panels, (TASKS * threads + products - 1) // products)
    threads = min(threads, products * parts)
    context = new_context(MatmulContext, threads)
    context.worker = descriptor.worker
    context.pool = pool
    context.tasks = products * parts
    context.products = given
    context.a = a
    context.b = b
    context.out = out
    context.words = max(1, (k + K_STEP - 1) // K_STEP) * K_STEP // descriptor.k_per_word
    context.strip_panels = max(1, descriptor.l2_bytes // 2 // stride)
    context.parts = parts
    insist(run(Context(context), threads))


@kernel
def matmul_entry(a, b, out, sizes, descriptor, threads):
    """`matmul_into` on addresses of arrays."""
    matmul_into(a.data, b.data, out.data, sizes.data, descriptor.data, threads)
