"""The float operations for Python, on objects: plain calls need no checks in Python.

Every entry returns 0 when it has done its work. It returns 1, with nothing written, when a case is not plain. Then the
caller, in Python, raises an error, or makes the case plain and calls again with `trusted`: it has checked types, shapes
and overlap of the arrays, all are rows (`has_rows`), and helper threads are started.
"""

from __future__ import annotations

from ..base.jit import kernel
from ..base.memory import load_i32, load_int, load_ptr, null, offset, stack_zeros, store_int
from ..base.record import Pointer
from ..objects.arguments import (
    apart,
    c_contiguous,
    columns_of,
    has_rows,
    is_floats,
    is_none,
    is_vector,
    leading_same,
    row_stride,
    rows_of,
    same_or_apart,
    thread_count,
    writeable,
)
from ..objects.cpython import COUNT, DTYPE, TYPE, Known, data_of, dimension, integer, same, stride
from ..objects.view import DIMENSIONS
from ..threads.pool import Pool, worthwhile
from .call import map_into, norm_into, rotary_into, softmax_into

#: Least microseconds to give a thread.
WORTH_US = 1.0


class RowwiseDescriptor(Known):
    """An operation on an instruction set, and what its entry tells arguments apart by."""

    worker: Pointer
    pool: Pointer
    rate: int  # values that one thread does in a microsecond
    boolean: Pointer  # dtypes of a mask and of positions
    int64: Pointer


@kernel
def threads_for(words, threads, values, trusted):
    """Threads of a call on this many values; 0 where that is for Python to decide."""
    wanted, pool = thread_count(words, threads), words.pool
    if wanted == 0:
        wanted = worthwhile(pool, 0, values / words.rate, WORTH_US)
    return wanted if 0 < wanted and (trusted or wanted <= Pool(pool).helpers + 1) else 0


@kernel
def fits(words, array, like, columns, trusted):
    """Whether an array is float32 rows of `columns` values, its other axes those of `like`."""
    return (
        (trusted or is_floats(words, array))
        and leading_same(array, like)
        and columns_of(array) == columns
        and has_rows(array)
    )


@kernel
def beside(words, second, x, out, trusted):
    """Whether a second operand has x's shape, and can be read while `out` is written."""
    return fits(words, second, x, columns_of(x), trusted) and (trusted or same_or_apart(out, second))


@kernel
def data_or_null(words, value):
    return null() if is_none(words, value) else data_of(value)


@kernel
def stride_or_zero(words, value):
    return 0 if is_none(words, value) else row_stride(value)


@kernel
def mask_kind(words, mask, x):
    """1 for a boolean mask, 2 for float32: rows of x's length, the other axes broadcast to x's. Any other: -1."""
    if not same(load_ptr(mask, TYPE // 8), words.array_class):
        return -1
    axes = load_i32(mask, COUNT // 4)
    more = load_i32(x, COUNT // 4) - axes
    if axes == 0 or more < 0:
        return -1
    for axis in range(axes - 1):
        if dimension(mask, axis) != 1 and dimension(mask, axis) != dimension(x, axis + more):
            return -1
    kind = 1 if same(load_ptr(mask, DTYPE // 8), words.boolean) else 2
    contiguous = stride(mask, axes - 1) == (1 if kind == 1 else 4) or columns_of(x) == 1
    if columns_of(mask) != columns_of(x) or not contiguous or not (kind == 1 or is_floats(words, mask)):
        return -1
    return kind


@kernel
def unfit(words, x, out, columns, trusted):
    """Whether x and out are not float32 rows, out of `columns` values and writable; or there is nothing to do."""
    return (
        not (trusted or (is_floats(words, x) and is_floats(words, out) and writeable(out)))
        or not has_rows(x)
        or rows_of(x) * columns == 0
        or not fits(words, out, x, columns, trusted)
    )


@kernel
def softmax_entry(x, mask, out, threads, words, trusted):
    """`mask` has no byte of `out`."""
    x, mask, out, threads, words = x.at, mask.at, out.at, threads.at, RowwiseDescriptor(words.data)
    if not (trusted or is_floats(words, x)):
        return 1
    rows, k = rows_of(x), columns_of(x)
    kind = 0 if is_none(words, mask) else mask_kind(words, mask, x)
    if kind < 0 or unfit(words, x, out, k, trusted) or not (trusted or same_or_apart(out, x)):
        return 1
    count = threads_for(words, threads, rows * k, trusted)
    if count == 0:
        return 1
    axes = load_i32(x, COUNT // 4) - 1
    strides = stack_zeros(8 * axes + 8)
    if kind > 0:
        more = axes + 1 - load_i32(mask, COUNT // 4)
        for axis in range(more, axes):
            if dimension(mask, axis - more) != 1:
                store_int(strides, axis, stride(mask, axis - more))
    softmax_into(
        data_of(x), row_stride(x), rows, k, kind, data_or_null(words, mask), load_ptr(x, DIMENSIONS // 8), strides,
        axes, data_of(out), row_stride(out), words.worker, words.pool, count,
    )  # fmt: skip
    return 0


@kernel
def norm_entry(x, weight, bias, residual, total, out, eps, threads, words, trusted):
    """Both norms; an rms_norm has no bias. A bias needs a weight, and a total a residual."""
    x, weight, bias, residual, total, out = x.at, weight.at, bias.at, residual.at, total.at, out.at
    threads, words = threads.at, RowwiseDescriptor(words.data)
    if not (trusted or is_floats(words, x)):
        return 1
    rows, k = rows_of(x), columns_of(x)
    if unfit(words, x, out, k, trusted) or not (trusted or same_or_apart(out, x)):
        return 1
    for vector in (weight, bias):
        if not (is_none(words, vector) or (is_vector(words, vector, k) and (trusted or apart(vector, out)))):
            return 1
    if is_none(words, weight) and not is_none(words, bias):
        return 1
    if not is_none(words, residual) and not beside(words, residual, x, out, trusted):
        return 1
    if not is_none(words, total):
        if is_none(words, residual) or unfit(words, x, total, k, trusted):
            return 1
        if not (trusted or (apart(total, out) and same_or_apart(total, x) and same_or_apart(total, residual))):
            return 1
        for vector in (weight, bias):
            if not (is_none(words, vector) or trusted or apart(vector, total)):
                return 1
    count = threads_for(words, threads, rows * k, trusted)
    if count == 0:
        return 1
    norm_into(
        data_of(x), row_stride(x), rows, k, data_or_null(words, weight), data_or_null(words, bias),
        data_or_null(words, residual), stride_or_zero(words, residual), data_or_null(words, total),
        stride_or_zero(words, total), data_of(out), row_stride(out), eps, words.worker,
        words.pool, count,
    )  # fmt: skip
    return 0


@kernel
def map_entry(number, x, out, threads, words, trusted):
    """A function of one operand."""
    x, out, threads, words = x.at, out.at, threads.at, RowwiseDescriptor(words.data)
    if not (trusted or is_floats(words, x)):
        return 1
    rows, k = rows_of(x), columns_of(x)
    if unfit(words, x, out, k, trusted) or not (trusted or same_or_apart(out, x)):
        return 1
    count = threads_for(words, threads, rows * k, trusted)
    if count == 0:
        return 1
    map_into(
        number, data_of(x), row_stride(x), data_of(x), row_stride(x), rows, k, data_of(out), row_stride(out),
        words.worker, words.pool, count,
    )  # fmt: skip
    return 0


@kernel
def pair_entry(number, x, second, out, threads, words, trusted):
    """A function of two operands; where `second` is None, they are the halves of x's rows."""
    x, second, out, threads, words = x.at, second.at, out.at, threads.at, RowwiseDescriptor(words.data)
    if not (trusted or is_floats(words, x)):
        return 1
    halves = is_none(words, second)
    k = columns_of(x) // 2 if halves else columns_of(x)
    if unfit(words, x, out, k, trusted) or (halves and columns_of(x) % 2 != 0):
        return 1
    if halves:
        if not (trusted or apart(out, x)):
            return 1
        other, other_stride = offset(data_of(x), 4 * k), row_stride(x)
    else:
        if not (beside(words, second, x, out, trusted) and (trusted or same_or_apart(out, x))):
            return 1
        other, other_stride = data_of(second), row_stride(second)
    rows = rows_of(x)
    count = threads_for(words, threads, rows * k, trusted)
    if count == 0:
        return 1
    map_into(
        number, data_of(x), row_stride(x), other, other_stride, rows, k, data_of(out), row_stride(out),
        words.worker, words.pool, count,
    )  # fmt: skip
    return 0


@kernel
def places(words, positions, rows, period, limit):
    """How many int64 positions there are, one per row or one for each of the last axis but one, all below `limit`; 0:
    they are others."""
    if not (same(load_ptr(positions, TYPE // 8), words.array_class) and c_contiguous(positions)):
        return 0
    count = 1
    for axis in range(load_i32(positions, COUNT // 4)):
        count *= dimension(positions, axis)
    plain = count == rows or (count == period and load_i32(positions, COUNT // 4) == 1)
    if not plain or not same(load_ptr(positions, DTYPE // 8), words.int64):
        return 0
    given = data_of(positions)
    for i in range(count):
        if not 0 <= load_int(given, i) < limit:
            return 0
    return count


@kernel
def rotary_entry(x, cos, sin, positions, start, interleaved, out, threads, words, trusted):
    """`positions` as `places` says, or None: then row r stands at start + r % (the last axis but one)."""
    x, cos, sin, positions, start = x.at, cos.at, sin.at, positions.at, start.at
    out, threads, words = out.at, threads.at, RowwiseDescriptor(words.data)
    if not (trusted or (is_floats(words, x) and is_floats(words, cos) and is_floats(words, sin))):
        return 1
    rows, k, half, axes = rows_of(x), columns_of(x), columns_of(cos), load_i32(x, COUNT // 4)
    if unfit(words, x, out, k, trusted) or not (trusted or same_or_apart(out, x)):
        return 1
    tables = load_i32(cos, COUNT // 4) == 2 and fits(words, sin, cos, half, trusted) and has_rows(cos)
    if not tables or 2 * half > k or row_stride(cos) != row_stride(sin):
        return 1
    if not (trusted or (apart(out, cos) and apart(out, sin))):
        return 1
    period, first = (dimension(x, axes - 2) if axes > 1 else 1), integer(words, start)
    if is_none(words, positions):
        if not 0 <= first <= dimension(cos, 0) - period:
            return 1
    else:
        if not trusted:  # they are read again while the caller, or `out` itself, might change them: Python copies them
            return 1
        period = places(words, positions, rows, period, dimension(cos, 0))
        if period == 0:
            return 1
    count = threads_for(words, threads, rows * k, trusted)
    if count == 0:
        return 1
    rotary_into(
        data_of(x), row_stride(x), rows, k, data_of(cos), data_of(sin), row_stride(cos), half,
        data_or_null(words, positions), period, first, interleaved, data_of(out), row_stride(out),
        words.worker, words.pool, count,
    )  # fmt: skip
    return 0
