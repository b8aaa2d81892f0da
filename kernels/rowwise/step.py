"""Norms, softmax and functions of one value as steps of a program (kernels/program/run.py)."""

from __future__ import annotations

from ..base.jit import kernel
from ..base.memory import null, offset
from ..base.record import Float, Pointer, Record
from ..base.status import FINE
from ..threads.pool import worthwhile
from .call import map_into, norm_into, softmax_into
from .entry import WORTH_US


class RowsStep(Record):
    """float32 out [rows, k] of x [rows, k], rows any distance apart."""

    x: Pointer
    x_stride: int
    rows: int
    k: int
    out: Pointer
    out_stride: int
    worker: Pointer
    pool: Pointer
    rate: int  # values that one thread does in a microsecond


class NormStep(RowsStep):
    weight: Pointer  # float32 [k], or NULL
    bias: Pointer  # or NULL
    residual: Pointer  # added to x first, or NULL
    residual_stride: int
    total: Pointer  # gets x + residual, or NULL
    total_stride: int
    eps: Float


class SoftmaxStep(RowsStep):
    """mask: rows of booleans (kind 1) or float32 (kind 2) by the axes of x; behind it their lengths, then strides."""

    mask: Pointer
    kind: int
    axes: int


class MapStep(RowsStep):
    number: int  # of intrinsics.MAP_NAMES


@kernel
def threads_of(step, threads):
    return worthwhile(step.pool, threads, step.rows * step.k / step.rate, WORTH_US)


@kernel
def norm_step(record, threads):
    s = NormStep(record)
    if s.rows * s.k > 0:
        norm_into(
            s.x, s.x_stride, s.rows, s.k, s.weight, s.bias, s.residual, s.residual_stride, s.total, s.total_stride,
            s.out, s.out_stride, s.eps, s.worker, s.pool, threads_of(RowsStep(record), threads),
        )  # fmt: skip
    return FINE


@kernel
def softmax_step(record, threads):
    s = SoftmaxStep(record)
    lengths = offset(record, 8 * 12)
    if s.rows * s.k > 0:
        softmax_into(
            s.x, s.x_stride, s.rows, s.k, s.kind, s.mask, lengths, offset(lengths, 8 * s.axes), s.axes, s.out,
            s.out_stride, s.worker, s.pool, threads_of(RowsStep(record), threads),
        )  # fmt: skip
    return FINE


@kernel
def map_step(record, threads):
    s = MapStep(record)
    if s.rows * s.k > 0:
        map_into(
            s.number, s.x, s.x_stride, null(), s.x_stride, s.rows, s.k, s.out, s.out_stride, s.worker, s.pool,
            threads_of(RowsStep(record), threads),
        )  # fmt: skip
    return FINE
