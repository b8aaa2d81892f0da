"""Along one axis, value by value: ArgMax, ArgMin (the place of the largest, of the least), CumSum, CumProd (running).

    ArgMax, ArgMin    of equal values the first, or with `last` the last; a NaN counts as the largest, and as the least
    CumSum, CumProd   ascending, or with `reverse` descending, from 0 or 1; with `exclusive` without the value itself

    out[i_0, i_1, i_2, i_3(, k)] = of x[i_0, i_1, i_2, i_3, k] over k, in one of typed.TYPES; places are int64
"""

from __future__ import annotations

from ..base.jit import address, kernel
from ..base.memory import WORKER_SIGNATURE, offset, store_int
from ..base.typed import of_types
from ..region.call import PICOSECONDS, WORTH_US, shared
from ..region.worker import worker_of
from ..threads.pool import worthwhile
from .context import KEPT, OUT_KEPT, X_KEPT, KeptRecord, place

ARG_MAX, ARG_MIN, CUM_SUM, CUM_PROD = range(4)
COST = 1000


class ScanRecord(KeptRecord):
    operation: int
    kind: int  # of typed.TYPES
    last: int  # of equal ones the last; of sums, from the end
    exclusive: int
    n: int  # values along the axis
    x_step: int
    out_step: int


def _place_of(load, store, kind, name):
    @kernel(variant=name)
    def place_of(x, step, n, least, last):
        """The place of the largest of n > 0 values, or with `least` of the least."""
        best, found = load(x, 0), 0
        for i in range(1, n):
            value = load(offset(x, i * step), 0)
            better = value < best if least else value > best
            if better or (value != value and best == best) or (last and (value == best or value != value)):
                best, found = value, i
        return found

    return place_of


def _sums_of(load, store, kind, name):
    zero, one = kind(0), kind(1)

    @kernel(variant=name)
    def sums_of(x, step, out, out_step, n, reverse, exclusive, products):
        total = one if products else zero
        for k in range(n):
            i = n - 1 - k if reverse else k
            value = load(offset(x, i * step), 0)
            if exclusive:
                store(offset(out, i * out_step), 0, total)
            total = kind(total * value) if products else kind(total + value)
            if not exclusive:
                store(offset(out, i * out_step), 0, total)

    return sums_of


place_of_f32, place_of_f64, place_of_i64, place_of_i32 = of_types(_place_of)
sums_of_f32, sums_of_f64, sums_of_i64, sums_of_i32 = of_types(_sums_of)


@kernel
def do_lines(record, row, rows, column, columns):
    record = ScanRecord(record)
    kind, n, step, last = record.kind, record.n, record.x_step, record.last != 0
    least, exclusive, products = record.operation == ARG_MIN, record.exclusive != 0, record.operation == CUM_PROD
    for index in range(row, row + rows):
        x = offset(record.x, place(record, index, KEPT, X_KEPT))
        out = offset(record.out, place(record, index, KEPT, OUT_KEPT))
        if record.operation >= CUM_SUM:
            if kind == 0:
                sums_of_f32(x, step, out, record.out_step, n, last, exclusive, products)
            elif kind == 1:
                sums_of_f64(x, step, out, record.out_step, n, last, exclusive, products)
            elif kind == 2:
                sums_of_i64(x, step, out, record.out_step, n, last, exclusive, products)
            else:
                sums_of_i32(x, step, out, record.out_step, n, last, exclusive, products)
        elif kind == 0:
            store_int(out, 0, place_of_f32(x, step, n, least, last))
        elif kind == 1:
            store_int(out, 0, place_of_f64(x, step, n, least, last))
        elif kind == 2:
            store_int(out, 0, place_of_i64(x, step, n, least, last))
        else:
            store_int(out, 0, place_of_i32(x, step, n, least, last))


worker = worker_of("scan", do_lines)


@kernel
def step(record, threads):
    """The step of a `ScanRecord`; n must be above 0 for places. 0."""
    record = ScanRecord(record)
    rows = record.kept_0 * record.kept_1 * record.kept_2 * record.kept_3
    if rows * record.n <= 0:
        return 0
    threads = worthwhile(record.pool, threads, rows * record.n * COST * PICOSECONDS, WORTH_US)
    if threads > 1:
        return shared(record, rows, 1, threads)
    do_lines(record, 0, rows, 0, 1)
    return 0


def step_address() -> int:
    """The step's address."""
    return address(step, WORKER_SIGNATURE)


def worker_address() -> int:
    """For a record's `worker`."""
    return address(worker, WORKER_SIGNATURE)
