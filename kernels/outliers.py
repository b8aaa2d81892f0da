"""Columns of x that stay float32 (`outliers=` of pack_linear): they stretch no row's range and are added on their own.

    y[r, n] = (the linear of x and W, each 0 in these columns) + t
    t = fma(x[r, c], W[n, c], t)        for the columns c in ascending order, from t = 0

A weight keeps them in a block of its own; the word OUTLIERS of its descriptor leads there:

    ┌ count ┬ bytes to each column ┬ mask                          ┬ W of the columns   ┐
    │ int64 │ int64 [count]        │ int32 [K], 0 in them, else -1 │ float32 [count, N] │
    └───────┴──────────────────────┴───────────────────────────────┴────────────────────┘

Nothing is taken out of x. The range pass looks at it through the mask; what the conversion makes of these columns is
some byte, whatever they hold, and is multiplied by weights that are 0. The sums t join a strip of out while it is in
L1, before its finisher. As LLM.int8() (Dettmers et al., 2022), whose columns change from call to call.
"""

from __future__ import annotations

from . import context as at
from .emit.outliers import add_products
from .jit import kernel
from .memory import is_null, load_int, load_ptr, null, offset


def block_bytes(count, n, k):
    """Where the parts of a block end: count and columns, mask, W."""
    head = 8 * (1 + count)
    return head, head + 4 * k, head + 4 * (k + count * n)


@kernel
def mask_of(context):
    """Address of the mask of a context or descriptor; NULL where there are no outliers."""
    block = load_ptr(context, at.OUTLIERS)
    return null() if is_null(block) else offset(block, 8 * (1 + load_int(block, 0)))


@kernel
def same_columns(first, second):
    """Whether two descriptors have the same outliers: then they take the same integers of x."""
    a, b = load_ptr(first, at.OUTLIERS), load_ptr(second, at.OUTLIERS)
    if is_null(a) or is_null(b):
        return is_null(a) and is_null(b)
    i, end = 0, load_int(a, 0) + 1
    while i < end and load_int(a, i) == load_int(b, i):  # the counts come first
        i += 1
    return i == end


@kernel
def add_outliers(context, first, rows, begin, columns, corner):
    """out += t in rows first … first+rows of x and columns begin … begin+columns, whose first value is at `corner`."""
    block = load_ptr(context, at.OUTLIERS)
    count, n, k = load_int(block, 0), load_int(context, at.N), load_int(context, at.K)
    x_stride = load_int(context, at.X_STRIDE)
    add_products(
        offset(load_ptr(context, at.X), first * x_stride), x_stride, rows, offset(block, 8), count,
        offset(block, 8 * (1 + count) + 4 * (k + begin)), 4 * n, corner, load_int(context, at.OUT_STRIDE), columns,
    )  # fmt: skip
