"""An 8-bit convolution as a step of a program (kernels/program/run.py)."""

from __future__ import annotations

from ..base.jit import kernel
from ..base.record import Pointer, Record
from ..base.status import FINE, NO_MEMORY
from .call import convolve_at


class ConvStep(Record):
    """float32 out [images, outputs, …] of x [images, channels, height, width], both contiguous."""

    x: Pointer
    images: int
    height: int
    width: int
    out: Pointer
    weight: Pointer  # its descriptor
    post_ops: Pointer  # or NULL


@kernel
def conv_step(record, threads):
    s = ConvStep(record)
    fine = convolve_at(s.x, s.images, s.height, s.width, s.out, s.weight, s.post_ops, threads)
    return FINE if fine else NO_MEMORY
