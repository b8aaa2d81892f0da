"""How a product is split into tasks, row blocks and strips. The only place for these decisions.

    strip    panels that fit half of L2: their weights are read from L2 once per row panel of the block
    block    rows quantized together by one thread: as many as its share, so that weights stream from L3 or memory
             as rarely as possible (a strip is fetched once per block), but no more than BLOCK_ROWS
    tasks    rows are split first (each row is then quantized once); when there are too few rows to give every
             thread two full row panels, columns are split as well and the few rows quantized by each thread
    threads  one, unless the work outweighs waking another thread

The machine's L2 comes in as an argument (the strip is a weight's, chosen when it is packed). The rates below are
avx512vnni's on a Zen 5, rounded. They only decide from which size on a second thread is used. For slower sets that size
is too large.
"""

from __future__ import annotations

import math

from ..base.jit import kernel

BLOCK_ROWS = 512
#: Tasks per thread when columns are split: what another thread can take over while one is descheduled.
PARTS = 2
#: Multiply-adds and weight bytes that one thread does in a microsecond, and the least microseconds to give a thread (a
#: helper that is awake joins in about 0.5): of rows, and of columns, for which each thread quantizes all rows.
MACS_PER_US = 450_000.0
BYTES_PER_US = 180_000.0
WORTH_US, COLUMNS_WORTH_US = 0.28, 0.75


@kernel
def share(i, parts, total):
    """(first, count) of part i when `total` is cut into `parts` that differ by at most one."""
    if parts == 1:  # as in every small call, to which the divisions would be a cost
        return 0, total
    first = i * total // parts
    return first, (i + 1) * total // parts - first


@kernel
def estimate(m, n, k, weight_bytes):
    """Microseconds that one thread needs for the products, about."""
    return max(m * n * k / MACS_PER_US, weight_bytes / BYTES_PER_US)


@kernel
def worthwhile_threads(micros):
    """As many threads as have at least WORTH_US of work each; at least one."""
    return max(1, int(micros / WORTH_US))


@kernel
def least_micros(m, tallest):
    """The least microseconds of a product of m rows that are worth a thread: as `cut` will share them between two."""
    return WORTH_US if m >= 4 * tallest else COLUMNS_WORTH_US


def rows_for_two(n, k, weight_bytes):
    """The least m for which `worthwhile_threads` is 2 or more."""
    if weight_bytes >= 2 * WORTH_US * BYTES_PER_US:
        return 1
    return math.ceil(2 * WORTH_US * MACS_PER_US / max(1, n * k))


def strip_panels(panels, panel_stride, l2_bytes):
    """Panels of a strip, for a weight of `panels` > 0 panels."""
    return max(1, min(panels, l2_bytes // 2 // panel_stride))


@kernel
def rows_in_blocks(m, block, least, threads):
    """Whether a chain (chain/worker.py) goes by blocks of rows: when each thread has one of at least `least` rows.

    `block` is 0 where it never does: what the steps' weights exceed the last cache, and would be fetched per block.
    """
    return block > 0 and m >= least * threads


def chain_block(row_bytes, weight_bytes, tallest, l2_bytes, last_cache_bytes):
    """(block, least) rows for a chain whose scratch takes `row_bytes` a row: half of L2, two row panels at least."""
    least = 2 * tallest
    if 2 * weight_bytes > last_cache_bytes:
        return 0, least
    return max(least, l2_bytes // 2 // max(1, row_bytes)), least


@kernel
def cut(m, panels, tallest, threads):
    """(row_tasks, column_tasks, row_block) for m > 0 rows and panels > 0 weight panels."""
    if threads == 1 and m <= BLOCK_ROWS:
        return 1, 1, m
    if m >= threads * 2 * tallest:
        per_thread = (m + threads - 1) // threads
        blocks = (per_thread + BLOCK_ROWS - 1) // BLOCK_ROWS
        row_tasks = threads * blocks
        column_tasks = 1
    else:
        row_tasks = max(1, min(threads, m // (2 * tallest)))
        column_tasks = 1
        if threads > 1:
            column_tasks = min(panels, (threads * PARTS + row_tasks - 1) // row_tasks)
    return row_tasks, column_tasks, (m + row_tasks - 1) // row_tasks
