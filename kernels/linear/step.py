"""`linear` and `linear_many` as steps of a program (kernels/program/run.py)."""

from __future__ import annotations

from ..base.jit import kernel
from ..base.memory import offset
from ..base.record import Pointer, Record
from ..base.status import FINE, NO_MEMORY
from .call import product_into
from .context import Weight
from .many import products_into


class LinearStep(Record):
    """float32 out [M, N] = post_ops(x [M, K] · packed weight), rows any distance apart."""

    x: Pointer
    m: int
    x_stride: int
    out: Pointer
    out_stride: int
    residual: Pointer  # or NULL
    residual_stride: int
    weight: Pointer  # its descriptor, of a weight that is not rotated
    post_ops: Pointer  # or NULL


@kernel
def linear_step(record, threads):
    s = LinearStep(record)
    fine = product_into(
        s.x, s.m, s.x_stride, s.out, s.out_stride, s.residual, s.residual_stride, Weight(s.weight), s.post_ops, threads
    )
    return FINE if fine else NO_MEMORY


class LinearManyStep(Record):
    """Several weights for one x. Behind it: their descriptors, then the results [M, Ni], contiguous."""

    x: Pointer
    m: int
    x_stride: int
    weights: int
    post_ops: Pointer  # or NULL, for all


@kernel
def linear_many_step(record, threads):
    s = LinearManyStep(record)
    if s.m == 0:
        return FINE
    fine = products_into(s.x, s.m, s.x_stride, offset(record, 8 * 5), s.weights, s.post_ops, threads)
    return FINE if fine else NO_MEMORY
