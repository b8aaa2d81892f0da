"""Post-ops: what is done to a tile of the result while it is in L1.

    out[r, c] = epilogue(activation(out[r, c]) + residual[r, c])        float32, each step one rounding

One small function per combination, called once per strip of tiles through its address: so the products are compiled
once for all post-ops. A user's own jitted function is inlined into this loop and vectorised.
"""

from __future__ import annotations

from collections.abc import Callable

from numba import carray, float32

from ..base.jit import kernel
from ..base.memory import offset


@kernel
def identity(value):
    return value


def post_ops_of(activation: Callable, epilogue: Callable, *, residual: bool, variant: str, cached: bool) -> Callable:
    """Compile ``post_ops(out, out_stride, residual, residual_stride, rows, columns)``; strides in bytes."""

    @kernel(variant=f"{variant}:{residual}", cached=cached)
    def post_ops(out, out_stride, addend, addend_stride, rows, columns):
        for r in range(rows):
            y = carray(offset(out, r * out_stride), (columns,), float32)
            if residual:
                z = carray(offset(addend, r * addend_stride), (columns,), float32)
                for c in range(columns):
                    y[c] = float32(epilogue(float32(activation(y[c]) + z[c])))
            else:
                for c in range(columns):
                    y[c] = float32(epilogue(activation(y[c])))

    return post_ops
