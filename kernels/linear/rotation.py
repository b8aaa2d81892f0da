"""Rows of float32 times a Hadamard matrix (emit_rotation.py), as a step of a program, on several threads.

    out [rows, k] = x [rows, k] · H, block by block         rows of x any distance apart, those of out side by side
"""

from __future__ import annotations

from ..base.context import Descriptor
from ..base.jit import address, kernel
from ..base.memory import WORKER_SIGNATURE, offset
from ..base.record import Pointer
from ..base.status import FINE
from ..region.call import shared
from ..region.worker import worker_of
from ..threads.pool import worthwhile
from .emit_rotation import rotate

#: Values that a thread does in a microsecond; least microseconds to give one.
RATE, WORTH_US = 4000, 1.0


class RotationStep(Descriptor):
    x: Pointer
    x_stride: int
    rows: int
    k: int
    out: Pointer
    block: int


@kernel
def do_rows(record, row, rows, column, columns):
    s = RotationStep(record)
    k = s.k
    rotate(s.block, offset(s.x, row * s.x_stride), s.x_stride, rows, k, offset(s.out, 4 * row * k))


worker = worker_of("rotation", do_rows)


@kernel
def rotation_step(record, threads):
    s = RotationStep(record)
    rows, k = s.rows, s.k
    if rows * k <= 0:
        return FINE
    threads = worthwhile(s.pool, threads, rows * k / RATE, WORTH_US)
    if threads > 1:
        return shared(s, rows, 1, threads)
    do_rows(s, 0, rows, 0, 1)
    return FINE


def worker_address() -> int:
    """For a record's `worker`."""
    return address(worker, WORKER_SIGNATURE)
