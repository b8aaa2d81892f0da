"""From a record to a running product (see worker.py): choose threads, tasks and blocks, run."""

from __future__ import annotations

from ..base.context import Context, new_context
from ..base.jit import kernel
from ..base.memory import copy_bytes, is_null, stack_bytes
from ..base.status import FINE, NO_MEMORY
from ..threads.partition import COLUMNS_WORTH_US, PARTS, WORTH_US, cut
from ..threads.pool import run, worthwhile
from .context import Multiplier, Product, ProductContext

PRODUCT_BYTES = 8 * Product.size
#: Multiply-adds, and bytes of either side, that one thread does in a microsecond (avx512, rounded).
MACS_PER_US, BYTES_PER_US = 70_000.0, 20_000.0
#: How much of K a tile goes through before its sums wait in out, so that a row panel stays in L1.
K_BLOCK = 512
#: Rows up to which K is not cut: their panels are short, and b streams.
FEW = 4
#: Row panels up to which b is read in place, if its rows are contiguous: packing would cost more.
IN_PLACE = 2


@kernel
def estimate(m, n, k, products):
    """Microseconds that one thread needs, about."""
    return products * (m * n * k / MACS_PER_US + 4 * (m + n) * k / BYTES_PER_US)


@kernel
def is_column(g):
    """Whether out is a contiguous column, which is a row of the transposed product; b of one column would fill a panel
    with zeros."""
    plain = g.packed == 0 and is_null(g.bias) and is_null(g.post_ops)
    return plain and g.n == 1 and g.m > 1 and g.out_row == 4


@kernel
def turn(g):
    """Make it the transposed product, outᵀ = bᵀ · aᵀ: fma has the same bits with its factors exchanged."""
    m, n, a, a_row, a_column = g.m, g.n, g.a, g.a_row, g.a_column
    a_0, a_1, a_2, a_3 = g.a_0, g.a_1, g.a_2, g.a_3
    g.m, g.n = n, m
    g.a, g.a_row, g.a_column = g.b, g.b_column, g.b_row
    g.b, g.b_row, g.b_column = a, a_column, a_row
    g.a_0, g.a_1, g.a_2, g.a_3 = g.b_0, g.b_1, g.b_2, g.b_3
    g.b_0, g.b_1, g.b_2, g.b_3 = a_0, a_1, a_2, a_3


@kernel
def product_step(product, threads):
    """Do what a Product says; `threads` 0 chooses. A status."""
    g = Product(product)
    if is_column(g):
        space = stack_bytes(PRODUCT_BYTES)
        copy_bytes(space, g, PRODUCT_BYTES)
        g = Product(space)
        turn(g)
    d = Multiplier(g.multiplier)
    m, n, k = g.m, g.n, g.k
    products = g.axis_0 * g.axis_1 * g.axis_2 * g.axis_3
    if m == 0 or n == 0 or products == 0:
        return FINE
    nr, mr = d.nr, d.mr
    panels = (n + nr - 1) // nr
    least = WORTH_US if products > 1 or m >= 4 * mr else COLUMNS_WORTH_US
    threads = worthwhile(d.pool, threads, estimate(m, n, k, products), least)
    row_tasks, column_tasks = 1, 1
    if products < PARTS * threads:
        row_tasks, column_tasks, _ = cut(m, panels, mr, (threads + products - 1) // products)
    tasks = products * row_tasks * column_tasks
    threads = min(threads, tasks)
    in_place = g.packed == 0 and g.b_column == 4 and m <= IN_PLACE * mr * row_tasks
    k_block = max(1, k if m <= FEW and (g.packed or in_place) else min(k, K_BLOCK))
    context = new_context(ProductContext, threads)
    context.worker = d.worker
    context.pool = d.pool
    context.tasks = tasks
    context.product = g
    context.row_tasks = row_tasks
    context.column_tasks = column_tasks
    context.panels = panels
    context.k_block = k_block
    context.strip_panels = max(4, d.l2_bytes // 2 // (4 * nr * k_block))
    context.in_place = in_place
    context.dots = m == 1 and g.packed == 0 and g.b_row == 4 and g.b_column != 4
    return FINE if run(Context(context), threads) else NO_MEMORY
