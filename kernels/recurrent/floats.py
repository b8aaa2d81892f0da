"""Float32 weights: the worker of a job whose product is one of float32 (kernels/sgemm), and nothing is quantized.

    weights    panels [⌈N / NR⌉][K][NR] of float32        columns    bias [N]
    out        bias + x · weights, one chain of fma for each sum, k ascending

A part's columns are whole panels, so the bits do not depend on how a step is shared.
"""

from __future__ import annotations

from ..base.jit import kernel
from ..base.memory import stack_zeros
from ..base.record import bytes_of
from ..base.status import FINE
from ..sgemm.call import product_step
from ..sgemm.context import Product
from .context import Job


@kernel
def float_product(context, index):
    """What `Weight.worker` is for float32 weights; the context is a Job. Without memory nothing is done."""
    job = Job(context)
    g = Product(stack_zeros(bytes_of(Product)))
    g.multiplier = job.multiplier
    g.m, g.n, g.k = job.m, job.n, job.k
    g.a, g.a_row, g.a_column = job.x, job.x_stride, 4
    g.b, g.packed = job.weights, 1
    g.bias = job.columns
    g.out, g.out_row = job.out, job.out_stride
    g.axis_0 = g.axis_1 = g.axis_2 = g.axis_3 = 1
    if product_step(g, 1) == FINE:
        job.done = job.tasks
