"""From arrays to a running batch of products (see worker.py): fill a context, choose threads and tasks, run."""

from __future__ import annotations

from ..base import context as at
from ..base.jit import kernel
from ..base.memory import insist, load_int, load_ptr, offset, stack_zeros, store_int, store_ptr
from ..gemm.pack import padded_length
from ..isa.base import K_STEP
from ..threads.partition import BYTES_PER_US, MACS_PER_US, WORTH_US
from ..threads.pool import LINE, run, worthwhile
from .worker import A_INNER, A_OUTER, B_COLUMN, B_INNER, B_OUTER, B_ROW, INNER, OUT_INNER, OUT_OUTER, PRODUCT_WORDS, B

#: What a call says of its products, one int64 each: sizes, numbers of products in two levels, strides in bytes.
SIZES = ("m", "n", "k", "outer", "inner", "a_row", "b_row", "b_column", "out_row", "a_outer", "a_inner", "b_outer",
         "b_inner", "out_outer", "out_inner")  # fmt: skip
#: Words of a descriptor: what stays the same from call to call (WORKER and POOL are those of the context).
NR, K_PER_WORD, L2_BYTES = range(2, 5)
DESCRIPTOR_WORDS = 5
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
    """out[i] = a[i] · b[i], float32; `sizes` is the address of SIZES, `threads` 0 chooses."""
    m, n, k, outer, inner, a_row, b_row, b_column, out_row = (
        load_int(sizes, 0), load_int(sizes, 1), load_int(sizes, 2), load_int(sizes, 3), load_int(sizes, 4),
        load_int(sizes, 5), load_int(sizes, 6), load_int(sizes, 7), load_int(sizes, 8),
    )  # fmt: skip
    products = outer * inner
    if m == 0 or n == 0 or products == 0:
        return
    pool, nr = load_ptr(descriptor, at.POOL), load_int(descriptor, NR)
    least = WORTH_US if products >= 2 * TASKS else CUT_WORTH_US
    threads = worthwhile(pool, threads, estimate(m, n, k, products), least)
    panels, stride = (n + nr - 1) // nr, padded_length(k) * nr
    parts = 1
    if products < TASKS * threads and threads > 1:
        parts = min(panels, (TASKS * threads + products - 1) // products)
    threads = min(threads, products * parts)
    context = stack_zeros(8 * (PRODUCT_WORDS + LINE * threads))
    store_ptr(context, at.WORKER, load_ptr(descriptor, at.WORKER))
    store_ptr(context, at.POOL, pool)
    store_int(context, at.M, m)
    store_int(context, at.N, n)
    store_int(context, at.K, k)
    store_int(context, at.WORDS, max(1, (k + K_STEP - 1) // K_STEP) * K_STEP // load_int(descriptor, K_PER_WORD))
    store_int(context, at.STRIP_PANELS, max(1, load_int(descriptor, L2_BYTES) // 2 // stride))
    store_ptr(context, at.X, a)
    store_int(context, at.X_STRIDE, a_row)
    store_ptr(context, at.OUT, out)
    store_int(context, at.OUT_STRIDE, out_row)
    store_ptr(context, B, b)
    store_int(context, B_ROW, b_row)
    store_int(context, B_COLUMN, b_column)
    store_int(context, INNER, inner)
    for level, word in enumerate((A_OUTER, A_INNER, B_OUTER, B_INNER, OUT_OUTER, OUT_INNER)):
        store_int(context, word, load_int(sizes, 9 + level))
    store_int(context, at.ROW_TASKS, products)
    store_int(context, at.COLUMN_TASKS, parts)
    store_int(context, at.THREADS, threads)
    store_ptr(context, at.COUNTERS, offset(context, 8 * PRODUCT_WORDS))
    insist(run(context, threads, products * parts))


@kernel
def matmul_entry(a, b, out, sizes, descriptor, threads):
    """`matmul_into` on addresses of arrays."""
    matmul_into(a.data, b.data, out.data, sizes.data, descriptor.data, threads)
